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
    │   └── RestoreMisfitError          13   tables or columns of the backup have no place in the live schema
    ├── RestoreDataError                18   the data does not load, or differs after loading
    │   └── MergeConflictError          18   rows conflict, and the policy is to fail
    ├── TargetUnavailableError           1   the server that is loaded into went away
    ├── RestoreBusyError                 1   a lock or a session stood in the way for too long
    ├── RestoreRunningError             11   another restore of the database is under way
    ├── RestoreStorageError             14   too little space for the restore
    ├── RestorePostCommandError          1   RESTORE_POST_COMMAND failed
    ├── RestoreHookError                 1   RESTORE_BEFORE_COMMAND or RESTORE_AFTER_COMMAND failed
    ├── RestoreMigrationError            1   --migrate or RESTORE_MIGRATE_COMMAND did not reach the live schema
    ├── RestoreCancelledError          130   revoked, SIGTERM, SIGINT, time limit
    ├── RestoreNotFoundError            10   no such restore
    ├── RestorePermissionError          12   the role may not create, rename or write
    └── RestoreRollbackError            19   the rollback of a failed restore failed

Every error takes a message (what failed) and a hint (what to do now). Both are positional, so that an error survives
pickling and Celery's JSON result backend, which rebuilds it from its class and arguments.
"""

from __future__ import annotations

from app.errors.backup import (
    OUT_OF_MEMORY,
    BackupCancelledError,
    BackupCreationError,
    BackupError,
    BackupFolderLostError,
    BackupInterruptedError,
    BackupNotFoundError,
    BackupPermissionError,
    BackupReadError,
    BackupRunningError,
    BackupStorageError,
    BackupValidationError,
    BackupWriteError,
    Cancelled,
    DatabaseMissingError,
    DiskReadError,
    LockTableFullError,
    ManifestError,
    NewerManifestError,
    PoolerError,
    ProgramKilledError,
    ServerMismatchError,
    ServerUnavailableError,
    SettingsError,
    StandbyConflictError,
    TableLockedError,
)
from app.errors.base import (
    ResidencyBackupError,
    as_logged,
)
from app.errors.catalog import (
    CatalogError,
    CatalogReadOnlyError,
    CatalogStorageError,
    CorruptCatalogError,
    NewerCatalogError,
)
from app.errors.restore import (
    MergeConflictError,
    RestoreBusyError,
    RestoreCancelledError,
    RestoreDataError,
    RestoreError,
    RestoreHookError,
    RestoreMigrationError,
    RestoreMisfitError,
    RestoreNotFoundError,
    RestorePermissionError,
    RestorePostCommandError,
    RestoreRollbackError,
    RestoreRunningError,
    RestoreStorageError,
    RestoreValidationError,
    TargetUnavailableError,
)
from app.errors.translation import as_restore_error

__all__ = [
    "OUT_OF_MEMORY",
    "BackupCancelledError",
    "BackupCreationError",
    "BackupError",
    "BackupFolderLostError",
    "BackupInterruptedError",
    "BackupNotFoundError",
    "BackupPermissionError",
    "BackupReadError",
    "BackupRunningError",
    "BackupStorageError",
    "BackupValidationError",
    "BackupWriteError",
    "Cancelled",
    "CatalogError",
    "CatalogReadOnlyError",
    "CatalogStorageError",
    "CorruptCatalogError",
    "DatabaseMissingError",
    "DiskReadError",
    "LockTableFullError",
    "ManifestError",
    "MergeConflictError",
    "NewerCatalogError",
    "NewerManifestError",
    "PoolerError",
    "ProgramKilledError",
    "ResidencyBackupError",
    "RestoreBusyError",
    "RestoreCancelledError",
    "RestoreDataError",
    "RestoreError",
    "RestoreHookError",
    "RestoreMigrationError",
    "RestoreMisfitError",
    "RestoreNotFoundError",
    "RestorePermissionError",
    "RestorePostCommandError",
    "RestoreRollbackError",
    "RestoreRunningError",
    "RestoreStorageError",
    "RestoreValidationError",
    "ServerMismatchError",
    "ServerUnavailableError",
    "SettingsError",
    "StandbyConflictError",
    "TableLockedError",
    "TargetUnavailableError",
    "as_logged",
    "as_restore_error",
]
