"""The names of all events that operations tell of. Each is the text of a log line: docs and users search for it."""

from __future__ import annotations

from enum import Enum, StrEnum


class Level(StrEnum):
    """How much an event matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class EventName(Enum):
    """An event: its phrase, its level, and what it means.

    Attributes:
        phrase: what the log line says.
        level: how much it matters; of a failed check it is the check's own.
        meaning: one sentence for whoever reads the log.
    """

    BACKUP_STARTED = "backup started", Level.INFO, "A run has begun."
    BACKUP_CREATED = "backup created", Level.INFO, "The backup stands under its name, and is recorded."
    BACKUP_VERIFIED = "backup verified", Level.INFO, "The file was read back, and has the digests of its manifest."
    BACKUP_PRUNED = "backup pruned", Level.INFO, "Retention removed a backup."
    BACKUP_PINNED = "backup pinned", Level.INFO, "Retention keeps the backup until it is released."
    BACKUP_RELEASED = "backup released", Level.INFO, "The pin is gone; retention decides again."
    BACKUP_SLOT_STANDS = "backup of this slot stands already", Level.INFO, "An earlier run made the scheduled backup."
    BACKUP_RENAMED_BESIDE = (
        "backup renamed, to keep it beside the one that replaces it",
        Level.INFO,
        "The earlier backup of the period holds more, or is of another server: it is now a pinned manual backup.",
    )
    BACKUP_RENAMED_YEAR = (
        "backup renamed, to keep its year",
        Level.INFO,
        "A weekly backup of an earlier year got the year into its name.",
    )
    BACKUP_REPLACED_MEANWHILE = (
        "backup replaced while it was read, looked at again",
        Level.INFO,
        "Another run replaced the backup; the new one is read.",
    )
    BACKUP_PRUNED_MEANWHILE = (
        "backup pruned while it was looked at, left out",
        Level.INFO,
        "Another process removed the backup.",
    )
    BACKUP_NAME_TAKEN = (
        "backup not pruned: a newer one has taken its name meanwhile",
        Level.INFO,
        "The backup that was to be removed is replaced already.",
    )
    BACKUP_REINSTATED = (
        "backup kept: its deletion was cut short, and it must stay now",
        Level.INFO,
        "A crash interrupted the deletion of a backup that is needed by now.",
    )
    BACKUP_LEFTOVER_REMOVED = (
        "backup leftover removed",
        Level.INFO,
        "A temporary file of a run that died is gone.",
    )
    BACKUP_FILE_REMOVED = (
        "backup file removed: a newer one of its id stands beside it",
        Level.INFO,
        "A run that died had replaced this file by one of another compression.",
    )
    BACKUP_MANIFEST_PLACED = (
        "backup manifest put in its place",
        Level.INFO,
        "A run died before it could give the manifest its name.",
    )
    BACKUP_MANIFEST_REBUILT = (
        "backup manifest rebuilt",
        Level.INFO,
        "A backup without a usable manifest was read and has a new one.",
    )
    BACKUP_FORGOTTEN = "backup forgotten", Level.INFO, "The catalog's row of a file that is gone was removed."
    BACKUP_SERVER_ADOPTED = (
        "backup server adopted",
        Level.INFO,
        "From now on the backups of the database are of this server.",
    )
    BACKUP_FAILED = "backup failed", Level.ERROR, "A run ended without a backup; earlier backups are as they were."
    BACKUP_KILLED = (
        "backup failed: the process was killed, or is out of reach",
        Level.ERROR,
        "A run gave no sign of life; a scheduled one is tried again.",
    )
    BACKUP_OTHER_SERVER = (
        "backup not begun: the backups in the folder are of another server",
        Level.ERROR,
        "DATABASE_URL leads to another server than the backups are of; told once for each slot.",
    )
    BACKUP_MARKER_UNREADABLE = (
        "backup not begun: the folder's marker cannot be read",
        Level.ERROR,
        "Nobody can tell whether the folder is the right one; told once for each slot.",
    )
    BACKUP_NOT_VERIFIED = (
        "backup not verified",
        Level.ERROR,
        "The file or its manifest cannot be read, or they differ.",
    )
    BACKUP_RUNNING = (
        "backup not begun: another run of the tier is under way",
        Level.WARNING,
        "One run of a tier at a time.",
    )
    BACKUP_PREFLIGHT = (
        "backup preflight",
        Level.WARNING,
        "A check before the backup found something; an error ends the run.",
    )
    BACKUP_INCOMPLETE = (
        "backup is made, but not of everything",
        Level.WARNING,
        "Something of the database is in no dump; the line says what.",
    )
    BACKUP_MADE_DOUBTFUL = (
        "backup is made, but does not restore by itself",
        Level.WARNING,
        "An object of the database relies on search_path.",
    )
    BACKUP_DOUBTFUL = (
        "backup is whole, but does not restore by itself",
        Level.WARNING,
        "The file is right, but an object in it relies on search_path.",
    )
    BACKUP_LACKING = (
        "backup is whole, but lacks what no dump carries",
        Level.WARNING,
        "The file is right, but something of the database is in no dump.",
    )
    BACKUP_KEPT_BESIDE = (
        "backup kept beside the one that replaces it",
        Level.WARNING,
        "The earlier backup of the period was not replaced; the line says why, and how to release it.",
    )
    BACKUP_MANIFEST_NOT_SAVED = (
        "backup manifest not saved",
        Level.WARNING,
        "The backup stands without a manifest, or waits for it; sync mends this.",
    )
    BACKUP_EARLIER_NOT_REMOVED = (
        "backup of the same period not removed",
        Level.WARNING,
        "The file that the new backup replaces is still there.",
    )
    BACKUP_CATALOG_NOT_SAVED = (
        "backup catalog not saved",
        Level.WARNING,
        "The files are right, the catalog does not say so; sync mends this.",
    )
    BACKUP_FAILURE_NOT_SAVED = (
        "backup failure not saved in the catalog",
        Level.WARNING,
        "A run failed, and the catalog does not say so.",
    )
    BACKUP_CATALOG_UNREADABLE = "backup catalog not readable", Level.WARNING, "The catalog cannot be asked."
    BACKUP_BY_FILES = (
        "backup catalog not readable, going by the files",
        Level.WARNING,
        "The list of backups comes from the files and their manifests alone.",
    )
    BACKUPS_UNREADABLE = "backups not readable", Level.WARNING, "Nobody can tell which backups there are."
    BACKUP_MANIFEST_UNUSABLE = (
        "backup manifest not usable",
        Level.WARNING,
        "The manifest is corrupt, or of a newer version.",
    )
    BACKUP_MANIFEST_NOT_PLACED = (
        "backup manifest not put in its place",
        Level.WARNING,
        "A manifest that a run left could not be given its name; the next run tries again.",
    )
    BACKUP_HEARTBEAT_NOT_SAVED = (
        "backup heartbeat not saved",
        Level.WARNING,
        "The catalog did not take the run's sign of life.",
    )
    BACKUP_RUN_ABANDONED = (
        "backup run abandoned: its process is gone",
        Level.WARNING,
        "A run that died is recorded as failed.",
    )
    BACKUP_REPAIR_WAITS = (
        "backup repair waits for a sign of life",
        Level.WARNING,
        "A run of another machine or container may still live.",
    )
    BACKUP_LEFTOVERS_NOT_REMOVED = (
        "backup leftovers not removed",
        Level.WARNING,
        "Temporary files of runs that died are still there.",
    )
    BACKUP_RETENTION_CUT_SHORT = (
        "backup retention was cut short",
        Level.WARNING,
        "The backup stands; the next run goes on with retention.",
    )
    BACKUP_RETENTION_FAILED = (
        "backup retention failed",
        Level.WARNING,
        "The backup stands; what retention does not keep is still there.",
    )
    BACKUP_NOT_PRUNED = "backup not pruned", Level.WARNING, "One backup could not be removed."
    BACKUP_NOT_SYNCED = "backup not synced", Level.WARNING, "The catalog could not be told of one file."
    BACKUP_CLOCK_DIFFERS = (
        "backup server's clock differs from this machine's",
        Level.WARNING,
        "One of the two clocks is wrong; no backup is from the future.",
    )
    BACKUP_FOLDER_RENEWED = (
        "backup folder taken for a new one",
        Level.WARNING,
        "BACKUP_DIR was taken as it is, by adopt --new-folder.",
    )

    RESTORE_STARTED = "restore started", Level.INFO, "A restore has begun."
    RESTORE_CHECK = "restore check", Level.WARNING, "A check before a restore found something."
    RESTORE_PROVEN = (
        "restore proven: the database holds what the backup holds",
        Level.INFO,
        "Every table of the new database has the digest of the dump.",
    )
    RESTORE_SWAPPED = "restore swapped the databases", Level.INFO, "The restored database is live."
    RESTORE_GOES_IN_PLACE = (
        "restore goes in place: the role may not create databases",
        Level.INFO,
        "The live database is replaced in one transaction.",
    )
    RESTORE_POST_COMMAND_DONE = "restore post command done", Level.INFO, "RESTORE_POST_COMMAND has ended well."
    RESTORE_POST_COMMAND_UNFINISHED = (
        "restore post command not finished",
        Level.WARNING,
        "A crash cut RESTORE_POST_COMMAND off after the database was replaced.",
    )
    RESTORE_COMPLETED = "restore completed", Level.INFO, "The database is restored."
    RESTORE_COMPLETED_ALL_THE_SAME = (
        "restore completed although it was cancelled or cut off after its commit",
        Level.WARNING,
        "The change had been committed, and stands.",
    )
    RESTORE_FAILED = "restore failed", Level.ERROR, "The live database is as before."
    RESTORE_CLEANUP_FAILED = (
        "restore failed, and so did its clean-up",
        Level.ERROR,
        "The message says what stands where; check --repair goes on.",
    )
    RESTORE_CLEANUP_AGAIN = "restore clean-up tried again", Level.WARNING, "A transient failure cut a clean-up off."
    RESTORE_CLEANUP_WAITS = (
        "restore clean-up waits for its next try",
        Level.WARNING,
        "What a failed restore made beside the database is still there.",
    )
    RESTORE_RECOVERED = "restore recovered", Level.WARNING, "An interrupted restore is cleaned up and recorded."
    RESTORE_CATALOG_NOT_SAVED = (
        "restore catalog not saved",
        Level.WARNING,
        "The work is done; the catalog does not say so.",
    )
    RESTORE_FAILURE_NOT_SAVED = (
        "restore failure not saved in the catalog",
        Level.WARNING,
        "The catalog still shows the restore as running.",
    )
    RESTORE_BY_FILE = "restore goes by the file alone", Level.WARNING, "The backup has no manifest that can be used."
    RESTORE_SUBSCRIPTION_GONE = (
        "restore cannot enable a subscription again: it is gone, or has no slot",
        Level.WARNING,
        "The subscription has to be made anew.",
    )
    RESTORE_SUBSCRIPTIONS_DISABLED = "restore subscriptions not enabled", Level.WARNING, "They are still disabled."
    RESTORE_SUBSCRIPTIONS_UNSEEN = (
        "restore cannot look at subscriptions",
        Level.WARNING,
        "Whether the restored database has subscriptions is not known.",
    )
    RESTORE_ROLLBACK_STARTED = "restore rollback started", Level.INFO, "A rollback has begun."
    RESTORE_ROLLBACK_SWAPPED = (
        "restore rollback swapped the databases",
        Level.INFO,
        "The database from before the restore is live again.",
    )
    RESTORE_ROLLED_BACK = "restore rolled back", Level.INFO, "The restore is undone."
    RESTORE_ROLLED_BACK_SERVER_AWAY = (
        "restore rolled back, and the server is away",
        Level.WARNING,
        "Whether the restored database is kept is not known.",
    )
    RESTORE_NOT_ROLLED_BACK = "restore not rolled back", Level.ERROR, "The message says what stands where."

    RESTORE_UNDO_REMOVED = (
        "restore undo removed",
        Level.INFO,
        "The time for a rollback is over, and what was kept for it is gone.",
    )
    RESTORE_SAFETY_RELEASED = (
        "restore safety backup released",
        Level.INFO,
        "Nothing can undo the restore any more; retention decides on its safety backup.",
    )
    RESTORE_UNDO_NOT_REMOVED = (
        "restore undo not removed",
        Level.WARNING,
        "What was kept for a rollback could not be removed; the next run tries again.",
    )
    RESTORE_UNDOS_NOT_REMOVED = (
        "restore undos not all removed",
        Level.WARNING,
        "Some of what was kept for rollbacks is still there.",
    )
    RESTORE_PIN_NOT_SET = "restore pin not set", Level.WARNING, "A backup without a manifest cannot be pinned."
    RESTORE_PIN_NOT_RELEASED = (
        "restore pin not released",
        Level.WARNING,
        "The backup stays pinned until the next try.",
    )
    RESTORE_HEARTBEAT_NOT_SAVED = (
        "restore heartbeat not saved",
        Level.WARNING,
        "The catalog did not take the restore's sign of life.",
    )
    RESTORES_UNREADABLE = "restores not readable", Level.WARNING, "The catalog cannot be asked for restores."
    RESTORES_BY_PINS = (
        "restores not readable, going by the pins",
        Level.WARNING,
        "Only pins say which backups a restore needs.",
    )
    RESTORES_BY_MARKER = (
        "restores not readable, going by the marker",
        Level.WARNING,
        "Only the folder's marker says which servers the backups are of.",
    )
    RESTORES_SERVER_AWAY = (
        "restores not looked at: the server is away",
        Level.WARNING,
        "Nobody can tell whether what was kept for rollbacks is still there.",
    )

    def __init__(self, phrase: str, level: Level, meaning: str) -> None:
        self.phrase = phrase
        self.level = level
        self.meaning = meaning
