"""Tells whether a catalog fails because of its disk: it is full, has no inode left, or is read-only.

SQLite reports most of that as `disk I/O error` or `unable to open database file`, so a file is written to find out.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import tempfile
from pathlib import Path

from app.errors import CatalogError, CatalogReadOnlyError, CatalogStorageError

PRIMARY = 0xFF  # the bits of an extended result code that say what kind it is
_OF_THE_DISK = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PROBE = bytes(64 << 10)  # as much as the files take that SQLite makes beside a catalog
_SERVER_FULL = "53100"
_SERVER_READ_ONLY = "25006"


def error_of_disk(message: str, place: str, cause: object) -> CatalogError | None:
    """The error that names the disk; None if the disk is not the cause.

    Args:
        message: what is not done, and the driver's message.
        place: the catalog's file, or the name of its database and server.
        cause: the driver's error, or the operating system's.
    """
    if isinstance(cause, OSError):
        return error_of_folder(message, Path(place).parent, cause.errno or 0)
    code = getattr(cause, "sqlite_errorcode", None)
    if code is not None:
        kind = code & PRIMARY
        found = _refusal(Path(place).parent) if kind in _OF_THE_DISK else 0
        return error_of_folder(
            message, Path(place).parent, found or (errno.ENOSPC if kind == sqlite3.SQLITE_FULL else 0)
        )
    if getattr(cause, "sqlstate", None) == _SERVER_FULL:
        return CatalogStorageError(message, f"free space on the disk of the server that has {place}")
    if getattr(cause, "sqlstate", None) == _SERVER_READ_ONLY:
        return CatalogReadOnlyError(message, "name the primary in BACKUP_CATALOG_URL: this server takes no changes")
    return None


def error_of_folder(message: str, folder: Path, number: int) -> CatalogError | None:
    """The error of a catalog in a folder for an error number; None if the disk is not the cause."""
    if number == errno.EROFS:
        hint = (
            f"mount the file system of {folder} read-write; to restore from a read-only BACKUP_DIR, let another "
            "catalog record it: export BACKUP_CATALOG_URL=sqlite:////var/tmp/residency-catalog.db"
        )
        return CatalogReadOnlyError(f"{message} ({folder} is on a read-only file system)", hint)
    if number not in _FULL:
        return None
    if _no_inode(folder):
        return CatalogStorageError(
            f"{message} (no inode is left on the disk of {folder})",
            f"remove files there; to see how many there are: df -i {folder}",
        )
    return CatalogStorageError(
        f"{message} (no space is left on the disk of {folder})",
        f"free space there (df -h {folder}), or lower the BACKUP_KEEP_* numbers, then: residency-backup prune",
    )


def _refusal(folder: Path) -> int:
    """The error number of a write into a folder; 0 if it works."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(_PROBE)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return error.errno or 0
    return 0


def _no_inode(folder: Path) -> bool:
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return found.f_files > 0 and found.f_favail == 0
