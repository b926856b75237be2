"""Errors of backups, and of settings."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors.base import ResidencyBackupError


class BackupError(ResidencyBackupError):
    """A backup failed."""


class BackupCreationError(BackupError):
    """The backup could not be created."""

    exit_code = 15


class ServerUnavailableError(BackupCreationError):
    """The server does not answer, or went away. Another try may succeed."""

    transient = True


class DatabaseMissingError(BackupCreationError):
    """The server has no database of that name."""


class TableLockedError(BackupCreationError):
    """A table stayed locked for too long. Another try may succeed."""

    transient = True


class LockTableFullError(BackupCreationError):
    """The server has no room for more locks. Another try may succeed when other sessions have released theirs."""

    transient = True


class PoolerError(BackupCreationError):
    """A connection pooler gives each transaction a different session of the server. Nothing was done."""


class StandbyConflictError(BackupCreationError):
    """A standby ended a session that read rows which its recovery had to remove. Another try may succeed."""

    transient = True


OUT_OF_MEMORY = (
    "was it out of memory? dmesg | grep -i 'killed process'; raise the memory limit of the machine or container"
)


class ProgramKilledError(BackupCreationError):
    """A program that the work needs was killed, usually for lack of memory. Another try may succeed."""

    transient = True


class BackupRunningError(BackupCreationError):
    """Another run of the same tier is under way."""

    exit_code = 11


class BackupCancelledError(BackupCreationError):
    """The run was cancelled from outside, or took too long. It is not repeated by itself."""

    exit_code = 130


class BackupInterruptedError(BackupCancelledError):
    """The worker was stopped during the run. The run is repeated when the worker is back."""

    transient = True


class Cancelled(KeyboardInterrupt):
    """Raised by signal handlers; the entry points (command line, task) raise its `error` instead.

    It is no Exception, so that no handler of a smaller failure catches it and goes on. It is a KeyboardInterrupt for
    every signal, because psycopg then cancels the statement that the server is running, and the connection can be used
    to roll back. After any other exception the statement would go on, and keep its locks.
    """

    def __init__(self, error: BackupCancelledError) -> None:
        super().__init__(error.message)
        self.error = error


class BackupReadError(BackupError):
    """A backup file cannot be read."""

    exit_code = 16


class DiskReadError(BackupReadError):
    """The disk could not read a file. This may be temporary, and says nothing about the file's content."""


class ManifestError(BackupReadError):
    """The manifest beside a backup is missing, corrupt or of a newer version."""


class NewerManifestError(ManifestError):
    """The manifest was written by a newer version of this program."""


class BackupWriteError(BackupError):
    """A backup file cannot be written."""

    exit_code = 17


class BackupNotFoundError(BackupError):
    """No such backup."""

    exit_code = 10


class BackupValidationError(BackupError):
    """The type is unsupported, or the content is not what it should be."""

    exit_code = 13


class ServerMismatchError(BackupValidationError):
    """The backups in the folder are of another server, or of another database of this name. Nothing was changed."""


class BackupPermissionError(BackupError):
    """The directory or the database role lacks a right."""

    exit_code = 12


class BackupStorageError(BackupError):
    """The disk is full or has too little free space."""

    exit_code = 14
    transient = True


class BackupFolderLostError(BackupStorageError):
    """The folder held backups before, and is empty or missing now. Nothing was written."""


class SettingsError(BackupError):
    """Settings are missing or wrong; the message lists every problem."""

    exit_code = 2

    @classmethod
    def of(cls, problems: Sequence[str]) -> SettingsError:
        """The error that lists these problems, one line for each."""
        count = f"{len(problems)} settings are" if len(problems) > 1 else "1 setting is"
        listed = "".join(f"\n  {problem}" for problem in sorted(problems))
        return cls(f"{count} missing or wrong:{listed}", "see docs/settings.md")
