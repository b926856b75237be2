"""The events of restores."""

from __future__ import annotations

from app.domain.events.name import EventName, Level


class RestoreEvent(EventName):
    """An event of restores."""

    STARTED = "restore started", Level.INFO, "A restore is recorded, and its checks begin.", "backup restore mode by"
    COMPLETED = (
        "restore completed",
        Level.INFO,
        "The database holds what the backup holds.",
        "backup restore rows seconds undo_until mode safety downtime by",
    )
    ROLLBACK_STARTED = (
        "restore rollback started",
        Level.INFO,
        "A rollback is recorded, and begins.",
        "restore method by",
    )
    ROLLED_BACK = (
        "restore rolled back",
        Level.INFO,
        "The database is what it was before the restore.",
        "restore method by",
    )
    PROVEN = (
        "restore proven: the database holds what the backup holds",
        Level.INFO,
        "Rows, sequences, large objects and schema were read back and compared.",
        "restore database",
    )
    PARTS_VERIFIED = (
        "restore verified what it reads of the backup",
        Level.INFO,
        "A restore of chosen tables has read its rows: every segment that it uses is what was dumped.",
        "backup restore segments of bytes",
    )
    SWAPPED = (
        "restore swapped the databases",
        Level.INFO,
        "The restored database has the live one's name; the replaced one is kept for a rollback.",
        "restore database downtime undo",
    )
    ROLLBACK_SWAPPED = (
        "restore rollback swapped the databases",
        Level.INFO,
        "The replaced database has its name again.",
        "restore downtime kept",
    )
    COMMAND_DONE = (
        "restore post command done",
        Level.INFO,
        "RESTORE_POST_COMMAND ended without an error.",
        "restore database",
    )
    BEFORE_DONE = (
        "restore before command done",
        Level.INFO,
        "RESTORE_BEFORE_COMMAND ended without an error.",
        "restore seconds lines_not_shown",
    )
    AFTER_DONE = (
        "restore after command done",
        Level.INFO,
        "RESTORE_AFTER_COMMAND ended without an error.",
        "restore seconds lines_not_shown",
    )
    MIGRATED = (
        "restore migrated a copy of the backup",
        Level.INFO,
        "--migrate, or RESTORE_MIGRATE_COMMAND, ended without an error on a database of its own.",
        "database",
    )
    COMMAND_PRINTED = (
        "restore command printed",
        Level.INFO,
        "A line that RESTORE_BEFORE_COMMAND or RESTORE_AFTER_COMMAND wrote.",
        "restore command line",
    )
    IN_PLACE = (
        "restore goes in place: the role may not create databases",
        Level.INFO,
        "The database is emptied and filled in one transaction.",
        "restore database",
    )
    FULL_STARTED = "restore of a full backup started", Level.INFO, "A full backup is being laid out.", "backup target"
    FULL_COMPLETED = (
        "restore of a full backup completed",
        Level.INFO,
        "The folder is whole, and a server can be started on it.",
        "backup target verified_by",
    )
    FAILED = "restore failed", Level.ERROR, "The live database is as before.", "restore error reason hint step"
    CLEAN_UP_FAILED = (
        "restore failed, and so did its clean-up",
        Level.ERROR,
        "The reason says what stands where; `residency-backup check --repair` goes on.",
        "restore error reason hint step",
    )
    NOT_ROLLED_BACK = (
        "restore not rolled back",
        Level.ERROR,
        "The database is as the restore left it; the hint says how to go on.",
        "restore error reason hint",
    )
    FULL_FAILED = (
        "restore of a full backup failed",
        Level.ERROR,
        "The target folder is as before.",
        "error reason hint",
    )
    CHECK = (
        "restore check",
        Level.WARNING,
        "A check before the restore found something; an error ends it.",
        "check found message",
    )
    CATALOG_NOT_SAVED = (
        "restore catalog not saved",
        Level.WARNING,
        "The restore or rollback is done, the catalog does not say so; `residency-backup check --repair` mends this.",
        "restore error reason",
    )
    FAILURE_NOT_SAVED = (
        "restore failure not saved in the catalog",
        Level.WARNING,
        "A restore failed, and the catalog does not say so.",
        "restore error reason",
    )
    DONE_ALL_THE_SAME = (
        "restore completed although it was cancelled or cut off after its commit",
        Level.WARNING,
        "The cancel came too late: the change was committed.",
        "restore",
    )
    RECOVERED = (
        "restore recovered",
        Level.WARNING,
        "What a restore left whose process died, or whose clean-up failed, is cleaned up and recorded.",
        "restore step state",
    )
    CLEAN_UP_WAITS = (
        "restore clean-up waits for its next try",
        Level.WARNING,
        "What was made beside the live database is still there.",
        "restore error reason",
    )
    CLEAN_UP_AGAIN = (
        "restore clean-up tried again",
        Level.WARNING,
        "The server was away for a moment.",
        "restore error reason",
    )
    COMMAND_NOT_FINISHED = (
        "restore post command not finished",
        Level.WARNING,
        "The restore is done, but its RESTORE_POST_COMMAND was interrupted.",
        "restore",
    )
    AFTER_FAILED = (
        "restore after command failed",
        Level.WARNING,
        "The restore has ended as its other lines say; what RESTORE_AFTER_COMMAND does must be done by hand.",
        "restore error reason hint outcome",
    )
    SUBSCRIPTION_LOST = (
        "restore cannot enable a subscription again: it is gone, or has no slot",
        Level.WARNING,
        "Create the subscription anew.",
        "restore subscription",
    )
    SUBSCRIPTIONS_DISABLED = (
        "restore subscriptions not enabled",
        Level.WARNING,
        "Subscriptions that the restore had disabled are still disabled.",
        "restore error reason hint",
    )
    SUBSCRIPTIONS_UNKNOWN = (
        "restore cannot look at subscriptions",
        Level.WARNING,
        "Nobody can tell whether subscriptions must be enabled.",
        "restore error reason",
    )
    ROLLED_BACK_UNSEEN = (
        "restore rolled back, and the server is away",
        Level.WARNING,
        "Nobody can tell whether what was there before the rollback is kept.",
        "restore error reason",
    )
    BY_FILE = (
        "restore goes by the file alone",
        Level.WARNING,
        "The manifest cannot be used, so nothing proves what the file held.",
        "backup error reason",
    )
    UNDO_REMOVED = (
        "restore undo removed",
        Level.INFO,
        "The time for a rollback is over, and what was kept for it is gone.",
        "restore database",
    )
    SAFETY_RELEASED = (
        "restore safety backup released",
        Level.INFO,
        "Nothing can undo the restore any more; retention decides on its safety backup.",
        "restore reason released",
    )
    UNDO_NOT_REMOVED = (
        "restore undo not removed",
        Level.WARNING,
        "What was kept for a rollback could not be removed; the next run tries again.",
        "restore error reason",
    )
    UNDOS_NOT_REMOVED = (
        "restore undos not all removed",
        Level.WARNING,
        "Some of what was kept for rollbacks is still there.",
        "error reason",
    )
    PIN_NOT_SET = (
        "restore pin not set",
        Level.WARNING,
        "It has no manifest, or the folder is read-only; the record of the restore keeps the backup.",
        "backup error reason",
    )
    PIN_NOT_RELEASED = (
        "restore pin not released",
        Level.WARNING,
        "The backup stays pinned until the next try.",
        "backup error reason",
    )
    HEARTBEAT_NOT_SAVED = (
        "restore heartbeat not saved",
        Level.WARNING,
        "The catalog did not take the restore's sign of life.",
        "error reason",
    )
    RECORDS_UNREADABLE = (
        "restores not readable",
        Level.WARNING,
        "The catalog cannot be asked for restores.",
        "error reason",
    )
    BY_PINS = (
        "restores not readable, going by the pins",
        Level.WARNING,
        "Only pins say which backups a restore needs.",
        "error reason",
    )
    BY_MARKER = (
        "restores not readable, going by the marker",
        Level.WARNING,
        "Only the folder's marker says which servers the backups are of.",
        "error reason",
    )
    SERVER_AWAY = (
        "restores not looked at: the server is away",
        Level.WARNING,
        "Nobody can tell whether what was kept for rollbacks is still there.",
        "error reason",
    )
