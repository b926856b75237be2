"""Turns errors of the operating system into ours: which of them it is, who was refused, and what to do now."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import BackupError, BackupPermissionError, BackupStorageError, BackupWriteError, DiskReadError

REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_FOLDER = (errno.ENOTDIR, errno.ELOOP)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the errors of a block that reads `path` into ours.

    Raises:
        BackupPermissionError: this process may not read it.
        BackupStorageError: a part of the path is no folder.
        DiskReadError: it cannot be read.
    """
    try:
        yield
    except OSError as error:
        if mapped := _refusal(error, path, folder=False):
            raise mapped from error
        raise read_error(path, error) from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the errors of a block that writes `path`, or something in it, into ours.

    Raises:
        BackupPermissionError: this process may not write there.
        BackupStorageError: the disk is full, or a part of the path is no folder.
        BackupWriteError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        if mapped := _refusal(error, path, folder=True):
            raise mapped from error
        general = write_error(error)
        raise type(general)(f"{general.message} ({path})", general.hint) from error


def read_error(what: object, error: OSError, hint: str | None = None) -> DiskReadError:
    """The error for a failed read.

    Args:
        what: cannot be read: a path, or what the path is.
        error: of the operating system.
        hint: what to do; by default, to try again and then to look at the disk.
    """
    again = "try again; if the error stays, look at the disk that holds it"
    return DiskReadError(f"{what} cannot be read: {error.strerror or error}", hint or again)


def write_error(error: OSError) -> BackupStorageError | BackupWriteError:
    """The error for a failed write of a backup: of the storage if there is no space left, else of the file."""
    if error.errno in NO_SPACE:
        return BackupStorageError(
            f"no space left while writing the backup: {error.strerror}",
            "free space in BACKUP_DIR, or lower the BACKUP_KEEP_* numbers, then: residency-backup prune",
        )
    return BackupWriteError(f"the backup cannot be written: {error.strerror or error}", "check the disk of BACKUP_DIR")


def _refusal(error: OSError, path: Path, *, folder: bool) -> BackupError | None:
    """The error for a missing right, or a path whose folder is none; None for any other error.

    Args:
        error: of the operating system.
        path: what was read or written.
        folder: whether the folder refused it, not the file: to write a name takes rights on its folder.
    """
    if error.errno in REFUSED:
        return _permission_error(error, *_nearest(path, folder=folder))
    if error.errno in _NO_FOLDER:
        message = f"{error.filename or path}: {error.strerror}"
        return BackupStorageError(message, "BACKUP_DIR, and each folder in it, must be a real folder")
    return None


def _permission_error(error: OSError, culprit: Path, found: os.stat_result) -> BackupPermissionError:
    """The error with who was refused and who owns the path, which is nearly always the cause in containers."""
    uid, mode = os.geteuid(), stat.S_IMODE(found.st_mode)
    message = (
        f"{error.filename or culprit}: {error.strerror}: this process runs as uid {uid}, "
        f"and {culprit} belongs to uid {found.st_uid} with mode {mode:04o}"
    )
    if error.errno == errno.EROFS:
        return BackupPermissionError(message, f"mount the file system of {culprit} read-write")
    if found.st_uid == uid:
        return BackupPermissionError(message, f"chmod u+rwX {culprit}")
    return BackupPermissionError(message, f"chown -R {uid} {culprit}")


def _nearest(path: Path, *, folder: bool) -> tuple[Path, os.stat_result]:
    """The path itself, or the nearest folder above it that exists and that this process is allowed to see."""
    with suppress(OSError):
        found = path.lstat()
        if not folder or stat.S_ISDIR(found.st_mode) or path == path.parent:
            return path, found
    return _nearest(path.parent, folder=folder)
