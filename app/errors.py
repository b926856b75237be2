"""The error tree.

::

    BackupError                         exit 1
    ├── BackupCreationError             15   could not be created: server down, dump failed
    │   ├── ServerUnavailableError      15   the server does not answer, or went away
    │   ├── DatabaseMissingError        15   the server has no database of that name
    │   ├── TableLockedError            15   a table stayed locked for too long
    │   ├── LockTableFullError          15   the server has no room for more locks
    │   ├── PoolerError                 15   a connection pooler shares the server's sessions among its clients
    │   ├── StandbyConflictError        15   a standby went on with its recovery, and ended the dump
    │   ├── ProgramKilledError          15   pg_dump, psql or the like was killed: out of memory?
    │   ├── BackupRunningError          11   another run of the same tier holds the claim
    │   └── BackupCancelledError       130   revoked, SIGTERM, SIGINT, time limit
    │       └── BackupInterruptedError 130   the worker was stopped
    ├── BackupReadError                 16   a file cannot be read: I/O, corrupt frame
    │   ├── DiskReadError               16   the disk could not read it
    │   └── ManifestError               16   the sidecar is missing or corrupt
    │       └── NewerManifestError      16   it was written by a newer version of this program
    ├── BackupWriteError                17   a file cannot be written
    ├── BackupNotFoundError             10   no such backup
    ├── BackupValidationError           13   unsupported type, or the content is not what it should be
    │   └── ServerMismatchError         13   the backups are another server's, or another database's
    ├── BackupPermissionError           12   the directory or the database role lacks a right
    ├── BackupStorageError              14   disk full, too little free space
    │   └── BackupFolderLostError       14   the folder held backups, and is empty: is it mounted?
    ├── CatalogError                     1   the catalog cannot be read or written
    │   ├── CorruptCatalogError          1   its file is damaged
    │   ├── CatalogStorageError         14   its disk is full; a BackupStorageError too
    │   ├── CatalogReadOnlyError        12   its disk or server takes no changes; a BackupPermissionError too
    │   └── NewerCatalogError            1   a newer version of this program made it
    └── SettingsError                    2   bad or missing settings, all listed
    RestoreError                         1
    ├── RestoreValidationError          13   bad mode, unverified or unfit backup
    ├── RestoreDataError                18   the data does not load, or differs after loading
    │   └── MergeConflictError          18   rows conflict, and the policy is to fail
    ├── TargetUnavailableError           1   the server that is loaded into went away
    ├── RestoreBusyError                 1   a lock or a session stood in the way for too long
    ├── RestoreRunningError             11   another restore of the database is under way
    ├── RestoreStorageError             14   too little space for the restore
    ├── RestorePostCommandError          1   RESTORE_POST_COMMAND failed
    ├── RestoreCancelledError          130   revoked, SIGTERM, SIGINT, time limit
    ├── RestoreNotFoundError            10   no such restore
    ├── RestorePermissionError          12   the role may not create, rename or write
    └── RestoreRollbackError            19   the rollback of a failed restore failed

Every error takes a message (what failed) and a hint (what to do now). Both are positional, so that an error survives
pickling and Celery's JSON result backend, which rebuilds it from its class and arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class ResidencyBackupError(Exception):
    """Root of everything this program raises on purpose.

    Attributes:
        exit_code: what the command line exits with.
        transient: whether trying again later, unchanged, can help.
        logged: whether the operation that it ended has said so in the log.
    """

    exit_code: ClassVar[int] = 1
    transient: ClassVar[bool] = False
    logged = False

    def __init__(self, message: str = "", hint: str = "") -> None:
        super().__init__(*((message, hint) if hint else (message,)))

    @property
    def message(self) -> str:
        """What failed."""
        return str(self.args[0])

    @property
    def hint(self) -> str:
        """What the operator should do now; empty where nothing useful can be said."""
        return str(self.args[1]) if len(self.args) > 1 else ""

    def __str__(self) -> str:
        return self.message


def as_logged(error: Exception) -> Exception:
    """The same error, marked as said in the log."""
    if isinstance(error, ResidencyBackupError):
        error.logged = True
    return error


class BackupError(ResidencyBackupError):
    """A backup failed."""


class BackupCreationError(BackupError):
    """The backup could not be created."""

    exit_code = 15


class ServerUnavailableError(BackupCreationError):
    """The server does not answer, or went away: trying again can help."""

    transient = True


class DatabaseMissingError(BackupCreationError):
    """The server has no database of that name."""


class TableLockedError(BackupCreationError):
    """A table stayed locked for too long: trying again can help."""

    transient = True


class LockTableFullError(BackupCreationError):
    """The server has no room for more locks: when others have let go of theirs, trying again can help."""

    transient = True


class PoolerError(BackupCreationError):
    """A connection pooler gives each transaction another session of the server. Nothing was done."""


class StandbyConflictError(BackupCreationError):
    """A standby ended a session that read what its recovery was to remove: trying again can help."""

    transient = True


OUT_OF_MEMORY = (
    "was it out of memory? dmesg | grep -i 'killed process'; raise the memory limit of the machine or container"
)


class ProgramKilledError(BackupCreationError):
    """A program that the work needs was killed, as a rule for lack of memory: trying again can help."""

    transient = True


class BackupRunningError(BackupCreationError):
    """Another run of the same tier is under way."""

    exit_code = 11


class BackupCancelledError(BackupCreationError):
    """The run was cancelled from outside, or took too long: whoever wants it starts it again."""

    exit_code = 130


class BackupInterruptedError(BackupCancelledError):
    """The worker was stopped while the run was under way: it goes on when the worker is back."""

    transient = True


class Cancelled(KeyboardInterrupt):
    """Raised by signal handlers, wherever the program happens to be; becomes its `error` at the edge.

    Not an Exception, so that no handler of a lesser failure takes it for one and goes on. A KeyboardInterrupt, whatever
    the signal: then the driver cancels the statement that the server is running, and the connection can be used to roll
    back; after anything else the statement goes on, and with it its locks.
    """

    def __init__(self, error: BackupCancelledError) -> None:
        super().__init__(error.message)
        self.error = error


class BackupReadError(BackupError):
    """A backup file cannot be read."""

    exit_code = 16


class DiskReadError(BackupReadError):
    """The disk could not read a file: that may pass, and says nothing of the file's content."""


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
    """The backups in the folder are of another server, or of another database of the name. Nothing was touched."""


class BackupPermissionError(BackupError):
    """The directory or the database role lacks a right."""

    exit_code = 12


class BackupStorageError(BackupError):
    """The disk is full or has too little free space."""

    exit_code = 14
    transient = True


class BackupFolderLostError(BackupStorageError):
    """The folder of backups held some, and is empty or missing now. Nothing was written."""


class CatalogError(BackupError):
    """The catalog cannot be read or written."""

    transient = True


class NewerCatalogError(CatalogError):
    """The catalog was made by a newer version of this program."""

    transient = False


class CorruptCatalogError(CatalogError):
    """The catalog's file is damaged. It can be rebuilt from the files."""

    transient = False


class CatalogStorageError(CatalogError, BackupStorageError):
    """The disk that holds the catalog is full, or has no inode left."""

    exit_code = 14


class CatalogReadOnlyError(CatalogError, BackupPermissionError):
    """The catalog's disk is mounted read-only, or its server takes no changes."""

    exit_code = 12
    transient = False


class SettingsError(BackupError):
    """Settings are missing or wrong; the message lists every problem."""

    exit_code = 2

    @classmethod
    def of(cls, problems: Sequence[str]) -> SettingsError:
        """The error that lists these problems, a line for each."""
        count = f"{len(problems)} settings are" if len(problems) > 1 else "1 setting is"
        listed = "".join(f"\n  {problem}" for problem in sorted(problems))
        return cls(f"{count} missing or wrong:{listed}", "see docs/settings.md")


class RestoreError(ResidencyBackupError):
    """A restore failed."""


class RestoreValidationError(RestoreError):
    """The restore was refused: bad mode, unverified or unfit backup, confirmation missing."""

    exit_code = 13


class RestoreDataError(RestoreError):
    """The data does not load, conflicts, or differs after loading."""

    exit_code = 18


class MergeConflictError(RestoreDataError):
    """Rows conflict, and the policy is to fail, or an exact restore of tables is not possible. Nothing was changed."""


class RestoreBusyError(RestoreError):
    """A lock or a session stood in the way for too long. Nothing was changed."""


class RestoreRunningError(RestoreError):
    """Another restore of the database is under way, or this one was delivered twice."""

    exit_code = 11


class RestoreStorageError(RestoreError):
    """There is too little space for the restore, or a disk filled up. The live database is as before."""

    exit_code = 14


class RestorePostCommandError(RestoreError):
    """RESTORE_POST_COMMAND failed. The live database is as before."""


class RestoreCancelledError(RestoreError):
    """The restore was cancelled from outside. The live database is as before."""

    exit_code = 130


class RestoreNotFoundError(RestoreError):
    """No such restore."""

    exit_code = 10


class TargetUnavailableError(RestoreError):
    """The server that is loaded into does not answer, or went away: a new attempt, from the beginning, can help."""

    transient = True


class RestorePermissionError(RestoreError):
    """The role may not create, rename or write."""

    exit_code = 12


class RestoreRollbackError(RestoreError):
    """The rollback of a failed restore failed."""

    exit_code = 19
