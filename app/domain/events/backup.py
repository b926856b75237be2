"""The events of backups."""

from __future__ import annotations

from app.domain.events.name import EventName, Level


class BackupEvent(EventName):
    """An event of backups."""

    STARTED = "backup started", Level.INFO, "A run has begun."
    CREATED = "backup created", Level.INFO, "The backup stands under its name, and is recorded."
    VERIFIED = "backup verified", Level.INFO, "The file was read back, and has the digests of its manifest."
    PRUNED = "backup pruned", Level.INFO, "Retention removed a backup."
    DELETED = "backup deleted", Level.INFO, "Somebody removed a backup; the line says who, and why."
    PINNED = "backup pinned", Level.INFO, "Retention keeps the backup until it is released."
    RELEASED = "backup released", Level.INFO, "The pin is gone; retention decides again."
    SLOT_STANDS = "backup of this slot stands already", Level.INFO, "An earlier run made the scheduled backup."
    RENAMED_BESIDE = (
        "backup renamed, to keep it beside the one that replaces it",
        Level.INFO,
        "The earlier backup of the period holds more, or is of another server: it is now a pinned manual backup.",
    )
    RENAMED_YEAR = (
        "backup renamed, to keep its year",
        Level.INFO,
        "A weekly backup of an earlier year got the year into its name.",
    )
    REPLACED_MEANWHILE = (
        "backup replaced while it was read, looked at again",
        Level.INFO,
        "Another run replaced the backup; the new one is read.",
    )
    PRUNED_MEANWHILE = (
        "backup pruned while it was looked at, left out",
        Level.INFO,
        "Another process removed the backup.",
    )
    NAME_TAKEN = (
        "backup not pruned: a newer one has taken its name meanwhile",
        Level.INFO,
        "The backup that was to be removed is replaced already.",
    )
    REINSTATED = (
        "backup kept: its deletion was cut short, and it must stay now",
        Level.INFO,
        "A crash interrupted the deletion of a backup that is needed by now.",
    )
    LEFTOVER_REMOVED = (
        "backup leftover removed",
        Level.INFO,
        "A temporary file of a run that died is gone.",
    )
    FILE_REMOVED = (
        "backup file removed: a newer one of its id stands beside it",
        Level.INFO,
        "A run that died had replaced this file by one of another compression.",
    )
    MANIFEST_PLACED = (
        "backup manifest put in its place",
        Level.INFO,
        "A run died before it could give the manifest its name.",
    )
    MANIFEST_REBUILT = (
        "backup manifest rebuilt",
        Level.INFO,
        "A backup without a usable manifest was read and has a new one.",
    )
    FORGOTTEN = "backup forgotten", Level.INFO, "The catalog's row of a file that is gone was removed."
    SERVER_ADOPTED = (
        "backup server adopted",
        Level.INFO,
        "From now on the backups of the database are of this server.",
    )
    FAILED = "backup failed", Level.ERROR, "A run ended without a backup; earlier backups are as they were."
    KILLED = (
        "backup failed: the process was killed, or is out of reach",
        Level.ERROR,
        "A run gave no sign of life; a scheduled one is tried again.",
    )
    OTHER_SERVER = (
        "backup not begun: the backups in the folder are of another server",
        Level.ERROR,
        "DATABASE_URL leads to another server than the backups are of; told once for each slot.",
    )
    MARKER_UNREADABLE = (
        "backup not begun: the folder's marker cannot be read",
        Level.ERROR,
        "Nobody can tell whether the folder is the right one; told once for each slot.",
    )
    NOT_VERIFIED = (
        "backup not verified",
        Level.ERROR,
        "The file or its manifest cannot be read, or they differ.",
    )
    VERIFICATION_FAILED = (
        "backup verification failed",
        Level.ERROR,
        "It was cancelled, or there was nothing to read; damage that is found has lines of its own.",
    )
    PRUNE_FAILED = (
        "backup prune failed",
        Level.ERROR,
        "Retention could not be applied; no backup was removed, or some were not.",
    )
    SYNC_FAILED = (
        "backup sync failed",
        Level.ERROR,
        "The catalog does not say what the files say; sync goes on from there.",
    )
    NOT_DELETED = "backup not deleted", Level.ERROR, "The backup must stay, or could not be removed."
    RUNNING = (
        "backup not begun: another run of the tier is under way",
        Level.WARNING,
        "One run of a tier at a time.",
    )
    PREFLIGHT = (
        "backup preflight",
        Level.WARNING,
        "A check before the backup found something; an error ends the run.",
    )
    INCOMPLETE = (
        "backup is made, but not of everything",
        Level.WARNING,
        "Something of the database is in no dump; the line says what.",
    )
    MADE_DOUBTFUL = (
        "backup is made, but does not restore by itself",
        Level.WARNING,
        "An object of the database relies on search_path.",
    )
    DOUBTFUL = (
        "backup is whole, but does not restore by itself",
        Level.WARNING,
        "The file is right, but an object in it relies on search_path.",
    )
    LACKING = (
        "backup is whole, but lacks what no dump carries",
        Level.WARNING,
        "The file is right, but something of the database is in no dump.",
    )
    KEPT_BESIDE = (
        "backup kept beside the one that replaces it",
        Level.WARNING,
        "The earlier backup of the period was not replaced; the line says why, and how to release it.",
    )
    MANIFEST_NOT_SAVED = (
        "backup manifest not saved",
        Level.WARNING,
        "The backup stands without a manifest, or waits for it; sync mends this.",
    )
    EARLIER_NOT_REMOVED = (
        "backup of the same period not removed",
        Level.WARNING,
        "The file that the new backup replaces is still there.",
    )
    CATALOG_NOT_SAVED = (
        "backup catalog not saved",
        Level.WARNING,
        "The files are right, the catalog does not say so; sync mends this.",
    )
    FAILURE_NOT_SAVED = (
        "backup failure not saved in the catalog",
        Level.WARNING,
        "A run failed, and the catalog does not say so.",
    )
    CATALOG_UNREADABLE = "backup catalog not readable", Level.WARNING, "The catalog cannot be asked."
    BY_FILES = (
        "backup catalog not readable, going by the files",
        Level.WARNING,
        "The list of backups comes from the files and their manifests alone.",
    )
    LIST_UNREADABLE = "backups not readable", Level.WARNING, "Nobody can tell which backups there are."
    MANIFEST_UNUSABLE = (
        "backup manifest not usable",
        Level.WARNING,
        "The manifest is corrupt, or of a newer version.",
    )
    MANIFEST_NOT_PLACED = (
        "backup manifest not put in its place",
        Level.WARNING,
        "A manifest that a run left could not be given its name; the next run tries again.",
    )
    HEARTBEAT_NOT_SAVED = (
        "backup heartbeat not saved",
        Level.WARNING,
        "The catalog did not take the run's sign of life.",
    )
    RUN_ABANDONED = (
        "backup run abandoned: its process is gone",
        Level.WARNING,
        "A run that died is recorded as failed.",
    )
    REPAIR_WAITS = (
        "backup repair waits for a sign of life",
        Level.WARNING,
        "A run of another machine or container may still live.",
    )
    LEFTOVERS_NOT_REMOVED = (
        "backup leftovers not removed",
        Level.WARNING,
        "Temporary files of runs that died are still there.",
    )
    RETENTION_CUT_SHORT = (
        "backup retention was cut short",
        Level.WARNING,
        "The backup stands; the next run goes on with retention.",
    )
    RETENTION_FAILED = (
        "backup retention failed",
        Level.WARNING,
        "The backup stands; what retention does not keep is still there.",
    )
    NOT_PRUNED = "backup not pruned", Level.WARNING, "One backup could not be removed."
    NOT_SYNCED = "backup not synced", Level.WARNING, "The catalog could not be told of one file."
    CLOCK_DIFFERS = (
        "backup server's clock differs from this machine's",
        Level.WARNING,
        "One of the two clocks is wrong; no backup is from the future.",
    )
    FOLDER_RENEWED = (
        "backup folder taken for a new one",
        Level.WARNING,
        "BACKUP_DIR was taken as it is, by adopt --new-folder.",
    )
