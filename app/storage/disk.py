"""Files and folders as the tree needs them: private to this user, durable, and never a link.

Errors of the operating system pass through; see `app.os_errors`.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from app.errors import BackupNotFoundError

MANIFEST_BYTES = 256 << 20  # of 100,000 tables it is a fifth of that
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_SMALL = 64 << 10
_CANNOT_SYNC_FOLDERS = (errno.EINVAL, errno.ENOTSUP)


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are missing; each is ours alone and durable.

    Raises:
        NotADirectoryError: something else stands there.
    """
    try:
        path.mkdir(_FOLDER_MODE)
    except FileExistsError:
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
        return
    except FileNotFoundError:
        make_folder(path.parent)
        path.mkdir(_FOLDER_MODE, exist_ok=True)
    if path.stat().st_mode & _FOLDER_MODE != _FOLDER_MODE:  # a umask takes bits away, it never adds any
        path.chmod(_FOLDER_MODE)
    with suppress(PermissionError):  # a folder may let us write into it but not open it
        sync_folder(path.parent)


def new_file(path: Path) -> BinaryIO:
    """Make a file for writing; what stands there already, be it a link, is never touched."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
    try:
        if os.fstat(descriptor).st_mode & _FILE_MODE != _FILE_MODE:
            os.fchmod(descriptor, _FILE_MODE)
        return os.fdopen(descriptor, "wb")
    except BaseException:
        os.close(descriptor)
        raise


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        BackupNotFoundError: there is none; a link, a pipe or a folder is none either.
    """
    try:
        # O_NONBLOCK: opening a pipe would otherwise wait for its other end.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG):
            raise not_found(path) from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise not_found(path)  # noqa: TRY301 -- the descriptor is closed for this error like for any other
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_small(path: Path, *, follow: bool = False) -> bytes:
    """The whole of a small regular file. What else may stand under its name is not waited for, nor read without end.

    Raises:
        OSError: there is none, or it cannot be read.
        ValueError: it is no regular file, or too large.
    """
    if not stat.S_ISREG(path.stat(follow_symlinks=follow).st_mode):
        raise ValueError("it is no regular file")
    link = 0 if follow else os.O_NOFOLLOW
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | link), "rb") as stream:
        found = os.fstat(stream.fileno())
        content = stream.read(_SMALL + 1) if stat.S_ISREG(found.st_mode) else b""
    if not stat.S_ISREG(found.st_mode) or len(content) > _SMALL:
        raise ValueError(f"it is no regular file of at most {_SMALL >> 10} KiB")
    return content


def not_found(path: Path | str) -> BackupNotFoundError:
    """The error for a path that is no backup of the tree."""
    return BackupNotFoundError(f"there is no backup {path}", "'residency-backup list' names those that exist")


def sync(stream: BinaryIO) -> None:
    """Put a file on the disk itself, and out of the cache, so that reading it back shows what the disk holds."""
    stream.flush()
    os.fsync(stream.fileno())
    with suppress(OSError):  # advice; some network file systems take none
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sync_folder(path: Path) -> None:
    """Make a folder's names durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if (
            error.errno not in _CANNOT_SYNC_FOLDERS
        ):  # some network file systems: their names are durable or never will be
            raise
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Write a new file and make its bytes durable; its name is the folder's affair. Gone again where that fails."""
    stream = new_file(path)
    try:
        with stream:
            stream.write(data)
            sync(stream)
    except BaseException:
        discard(path)
        raise


def unlink(path: Path) -> bool:
    """Remove a name; False where it is missing already. A link goes itself, never what it points to."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def unlink_all(folder: Path, paths: Iterable[Path]) -> None:
    """Remove names of a folder, durably; what is missing already is no error."""
    removed = [unlink(path) for path in paths]
    if any(removed):
        sync_folder(folder)


def discard(path: Path) -> None:
    """Remove a temporary file on the way out of an error, which must not be hidden by another one."""
    with suppress(OSError):
        path.unlink()
