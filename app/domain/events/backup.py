"""The events of backups."""

from __future__ import annotations

from app.domain.events.name import EventName, Level


class BackupEvent(EventName):
    """An event of backups."""

    STARTED = "backup started", Level.INFO, "A run has begun.", "database tier run label by"
    CREATED = (
        "backup created",
        Level.INFO,
        "The backup stands under its name, and is recorded.",
        "backup database tier bytes rows tables seconds label by",
    )
    VERIFIED = (
        "backup verified",
        Level.INFO,
        "The file was read back, and has the digests of its manifest.",
        "backup database tier bytes",
    )
    PRUNED = "backup pruned", Level.INFO, "Retention removed a backup.", "backup bytes"
    DELETED = (
        "backup deleted",
        Level.INFO,
        "Somebody removed a backup; the line says who, and why.",
        "backup reason bytes by",
    )
    PINNED = "backup pinned", Level.INFO, "Retention keeps the backup until it is released.", "backup reason by"
    RELEASED = "backup released", Level.INFO, "The pin is gone; retention decides again.", "backup reason by"
    SLOT_STANDS = (
        "backup of this slot stands already",
        Level.INFO,
        "An earlier run made the scheduled backup.",
        "backup database tier slot",
    )
    RENAMED_BESIDE = (
        "backup renamed, to keep it beside the one that replaces it",
        Level.INFO,
        "The earlier backup of the period holds more, or is of another server: it is now a pinned manual backup.",
        "backup renamed",
    )
    RENAMED_YEAR = (
        "backup renamed, to keep its year",
        Level.INFO,
        "A weekly backup of an earlier year got the year into its name.",
        "backup renamed",
    )
    REPLACED_MEANWHILE = (
        "backup replaced while it was read, looked at again",
        Level.INFO,
        "Another run replaced the backup; the new one is read.",
        "backup",
    )
    PRUNED_MEANWHILE = (
        "backup pruned while it was looked at, left out",
        Level.INFO,
        "Another process removed the backup.",
        "backup",
    )
    NAME_TAKEN = (
        "backup not pruned: a newer one has taken its name meanwhile",
        Level.INFO,
        "The backup that was to be removed is replaced already.",
        "backup",
    )
    REINSTATED = (
        "backup kept: its deletion was cut short, and it must stay now",
        Level.INFO,
        "A crash interrupted the deletion of a backup that is needed by now.",
        "backup reason",
    )
    LEFTOVER_REMOVED = (
        "backup leftover removed",
        Level.INFO,
        "A temporary file of a run that died is gone.",
        "file",
    )
    FILE_REMOVED = (
        "backup file removed: a newer one of its id stands beside it",
        Level.INFO,
        "A run that died had replaced this file by one of another compression.",
        "file",
    )
    MANIFEST_PLACED = (
        "backup manifest put in its place",
        Level.INFO,
        "A run died before it could give the manifest its name.",
        "backup",
    )
    MANIFEST_REBUILT = (
        "backup manifest rebuilt",
        Level.INFO,
        "A backup without a usable manifest was read and has a new one.",
        "backup origin",
    )
    RUNS_THINNED = (
        "backup old runs forgotten",
        Level.INFO,
        "Of the catalog's runs of more than a year ago only the last of each tier and month stay.",
        "runs",
    )
    FORGOTTEN = "backup forgotten", Level.INFO, "The catalog's row of a file that is gone was removed.", "backup"
    SERVER_ADOPTED = (
        "backup server adopted",
        Level.INFO,
        "From now on the backups of the database are of this server.",
        "system_identifier database_oid",
    )
    FAILED = (
        "backup failed",
        Level.ERROR,
        "A run ended without a backup; earlier backups are as they were.",
        "database tier error reason hint",
    )
    KILLED = (
        "backup failed: the process was killed, or is out of reach",
        Level.ERROR,
        "A run gave no sign of life; a scheduled one is tried again.",
        "database tier hint slot run",
    )
    OTHER_SERVER = (
        "backup not begun: the backups in the folder are of another server",
        Level.ERROR,
        "DATABASE_URL leads to another server than the backups are of; told once for each slot.",
        "tier error reason hint slot",
    )
    MARKER_UNREADABLE = (
        "backup not begun: the folder's marker cannot be read",
        Level.ERROR,
        "Nobody can tell whether the folder is the right one; told once for each slot.",
        "tier error reason hint slot",
    )
    NOT_VERIFIED = (
        "backup not verified",
        Level.ERROR,
        "The file or its manifest cannot be read, or they differ.",
        "backup error reason hint",
    )
    VERIFICATION_FAILED = (
        "backup verification failed",
        Level.ERROR,
        "It was cancelled, or there was nothing to read; damage that is found has lines of its own.",
        "error reason hint",
    )
    PRUNE_FAILED = (
        "backup prune failed",
        Level.ERROR,
        "Retention could not be applied; no backup was removed, or some were not.",
        "error reason hint",
    )
    SYNC_FAILED = (
        "backup sync failed",
        Level.ERROR,
        "The catalog does not say what the files say; sync goes on from there.",
        "error reason hint",
    )
    NOT_DELETED = (
        "backup not deleted",
        Level.ERROR,
        "The backup must stay, or could not be removed.",
        "backup error reason hint",
    )
    RUNNING = (
        "backup not begun: another run of the tier is under way",
        Level.WARNING,
        "One run of a tier at a time.",
        "reason",
    )
    PREFLIGHT = (
        "backup preflight",
        Level.WARNING,
        "A check before the backup found something; an error ends the run.",
        "check found message",
    )
    INCOMPLETE = (
        "backup is made, but not of everything",
        Level.WARNING,
        "Something of the database is in no dump; the line says what.",
        "backup reason",
    )
    MADE_DOUBTFUL = (
        "backup is made, but does not restore by itself",
        Level.WARNING,
        "An object of the database relies on search_path.",
        "backup reason",
    )
    DOUBTFUL = (
        "backup is whole, but does not restore by itself",
        Level.WARNING,
        "The file is right, but an object in it relies on search_path.",
        "backup reason",
    )
    LACKING = (
        "backup is whole, but lacks what no dump carries",
        Level.WARNING,
        "The file is right, but something of the database is in no dump.",
        "backup reason",
    )
    KEPT_BESIDE = (
        "backup kept beside the one that replaces it",
        Level.WARNING,
        "The earlier backup of the period was not replaced; the line says why, and how to release it.",
        "backup reason",
    )
    MANIFEST_NOT_SAVED = (
        "backup manifest not saved",
        Level.WARNING,
        "The backup stands without a manifest, or waits for it; sync mends this.",
        "backup reason",
    )
    EARLIER_NOT_REMOVED = (
        "backup of the same period not removed",
        Level.WARNING,
        "The file that the new backup replaces is still there.",
        "backup reason",
    )
    CATALOG_NOT_SAVED = (
        "backup catalog not saved",
        Level.WARNING,
        "The files are right, the catalog does not say so; sync mends this.",
        "backup error reason",
    )
    FAILURE_NOT_SAVED = (
        "backup failure not saved in the catalog",
        Level.WARNING,
        "A run failed, and the catalog does not say so.",
        "error reason run",
    )
    CATALOG_UNREADABLE = "backup catalog not readable", Level.WARNING, "The catalog cannot be asked.", "error reason"
    BY_FILES = (
        "backup catalog not readable, going by the files",
        Level.WARNING,
        "The list of backups comes from the files and their manifests alone.",
        "error reason",
    )
    LIST_UNREADABLE = "backups not readable", Level.WARNING, "Nobody can tell which backups there are.", "error reason"
    MANIFEST_UNUSABLE = (
        "backup manifest not usable",
        Level.WARNING,
        "The manifest is corrupt, or of a newer version.",
        "backup error reason",
    )
    MANIFEST_NOT_PLACED = (
        "backup manifest not put in its place",
        Level.WARNING,
        "A manifest that a run left could not be given its name; the next run tries again.",
        "error reason file",
    )
    HEARTBEAT_NOT_SAVED = (
        "backup heartbeat not saved",
        Level.WARNING,
        "The catalog did not take the run's sign of life.",
        "error reason",
    )
    RUN_ABANDONED = (
        "backup run abandoned: its process is gone",
        Level.WARNING,
        "A run that died is recorded as failed.",
        "tier run",
    )
    REPAIR_WAITS = (
        "backup repair waits for a sign of life",
        Level.WARNING,
        "A run of another machine or container may still live.",
        "seconds",
    )
    LEFTOVERS_NOT_REMOVED = (
        "backup leftovers not removed",
        Level.WARNING,
        "Temporary files of runs that died are still there.",
        "error reason",
    )
    RETENTION_CUT_SHORT = (
        "backup retention was cut short",
        Level.WARNING,
        "The backup stands; the next run goes on with retention.",
        "backup reason",
    )
    RETENTION_FAILED = (
        "backup retention failed",
        Level.WARNING,
        "The backup stands; what retention does not keep is still there.",
        "backup error reason",
    )
    NOT_PRUNED = "backup not pruned", Level.WARNING, "One backup could not be removed.", "backup reason"
    NOT_SYNCED = "backup not synced", Level.WARNING, "The catalog could not be told of one file.", "backup error reason"
    CLOCK_DIFFERS = (
        "backup server's clock differs from this machine's",
        Level.WARNING,
        "One of the two clocks is wrong; no backup is from the future.",
        "ahead_seconds now",
    )
    FOLDER_RENEWED = (
        "backup folder taken for a new one",
        Level.WARNING,
        "BACKUP_DIR was taken as it is, by adopt --new-folder.",
        "folder",
    )
