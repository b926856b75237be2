"""Which error of a restore says what an error of a backup says, for work on a server that serves both."""

from __future__ import annotations

from app.errors.backup import (
    BackupError,
    BackupPermissionError,
    BackupRunningError,
    BackupStorageError,
    ServerUnavailableError,
    TableLockedError,
)
from app.errors.restore import (
    RestoreBusyError,
    RestoreError,
    RestorePermissionError,
    RestoreRunningError,
    RestoreStorageError,
    TargetUnavailableError,
)

_CLASSES: dict[type[BackupError], type[RestoreError]] = {
    BackupStorageError: RestoreStorageError,
    BackupPermissionError: RestorePermissionError,
    BackupRunningError: RestoreRunningError,
    TableLockedError: RestoreBusyError,
    ServerUnavailableError: TargetUnavailableError,
}


def as_restore_error(error: BackupError, message: str | None = None, hint: str | None = None) -> RestoreError:
    """The error of a restore that failed for the reason of a backup's error.

    Args:
        error: the backup's.
        message: what to say instead of the backup's message.
        hint: what to say instead of the backup's hint.
    """
    found = next((_CLASSES[known] for known in _CLASSES if isinstance(error, known)), RestoreError)
    return found(error.message if message is None else message, error.hint if hint is None else hint)
