"""Errors of restores."""

from __future__ import annotations

from app.errors.base import ResidencyBackupError


class RestoreError(ResidencyBackupError):
    """A restore failed."""


class RestoreValidationError(RestoreError):
    """The restore was refused: bad mode, unverified or unfit backup, confirmation missing."""

    exit_code = 13


class RestoreDataError(RestoreError):
    """The data does not load, conflicts, or differs after loading."""

    exit_code = 18


class MergeConflictError(RestoreDataError):
    """Rows conflict and the policy is to fail, or tables cannot be restored exactly. Nothing was changed."""


class RestoreBusyError(RestoreError):
    """A lock or a session stood in the way for too long. Nothing was changed."""


class RestoreRunningError(RestoreError):
    """Another restore of the database is under way, or the message of this one was delivered twice."""

    exit_code = 11


class RestoreStorageError(RestoreError):
    """There is too little space for the restore, or a disk filled up. The live database is as before."""

    exit_code = 14


class RestorePostCommandError(RestoreError):
    """RESTORE_POST_COMMAND failed. The live database is as before."""


class RestoreHookError(RestoreError):
    """RESTORE_BEFORE_COMMAND failed, and nothing was changed; or RESTORE_AFTER_COMMAND did, which only warns."""


class RestoreMisfitError(RestoreValidationError):
    """Tables or columns of the backup have no place in the live schema. Nothing was changed."""


class RestoreMigrationError(RestoreError):
    """A copy of the backup could not be brought to the live schema. Nothing was changed."""


class RestoreCancelledError(RestoreError):
    """The restore was cancelled from outside. The live database is as before."""

    exit_code = 130


class RestoreNotFoundError(RestoreError):
    """No such restore."""

    exit_code = 10


class TargetUnavailableError(RestoreError):
    """The server that is restored on does not answer, or went away. Another try, from the beginning, may succeed."""

    transient = True


class RestorePermissionError(RestoreError):
    """The role may not create, rename or write."""

    exit_code = 12


class RestoreRollbackError(RestoreError):
    """The rollback of a failed restore failed."""

    exit_code = 19
