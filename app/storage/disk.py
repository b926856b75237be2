"""Files and folders as the tree needs them: private to this user, durable, and never a link.

Errors of the operating system pass through; see `app.os_errors`.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from app.errors import BackupNotFoundError

MANIFEST_BYTES = 256 << 20  # five times the manifest of 100,000 tables
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_SMALL = 64 << 10
_SEND_BYTES = 8 << 20
_CANNOT_SYNC_FOLDERS = (errno.EINVAL, errno.ENOTSUP)


def make_folder(path: Path) -> None:
    """Make a folder, and missing folders above it, private and durable.

    Raises:
        NotADirectoryError: the path is no folder.
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
    if path.stat().st_mode & _FOLDER_MODE != _FOLDER_MODE:  # a umask may have removed bits
        path.chmod(_FOLDER_MODE)
    with suppress(PermissionError):  # a folder may be writable but not readable
        sync_folder(path.parent)


def new_file(path: Path) -> BinaryIO:
    """Create a private file for writing. It fails if the name exists, also as a link."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE_MODE)
    try:
        if os.fstat(descriptor).st_mode & _FILE_MODE != _FILE_MODE:
            os.fchmod(descriptor, _FILE_MODE)
        return io.BufferedWriter(_WrittenBack(descriptor))
    except BaseException:
        os.close(descriptor)
        raise


class _WrittenBack(io.FileIO):
    """A file for writing whose bytes go to the disk as they come, so that there is little left to sync at its end."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb")
        self._unsent = 0

    def write(self, data: Any, /) -> int:
        written = super().write(data)
        self._unsent += written
        if self._unsent >= _SEND_BYTES:
            self._unsent = 0
            _drop_from_cache(self.fileno())
        return written


def _drop_from_cache(descriptor: int) -> None:
    """Begin to write a file to the disk, and drop from the cache what is there already."""
    with suppress(OSError):  # only advice, which some network file systems refuse
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        BackupNotFoundError: there is no such file, or it is a link, a pipe or a folder.
    """
    try:
        # O_NONBLOCK, because opening a pipe would wait for its other end.
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
    """The content of a small regular file. A pipe or a device under its name is not opened.

    Raises:
        OSError: it does not exist, or cannot be read.
        ValueError: it is no regular file, or is too large.
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
    """The error for a name that is no backup of the tree."""
    return BackupNotFoundError(f"there is no backup {path}", "to list what there is: residency-backup list")


def sync(stream: BinaryIO) -> None:
    """Sync a file to the disk and drop it from the cache, so that reading it back shows what the disk holds."""
    stream.flush()
    os.fsync(stream.fileno())
    _drop_from_cache(stream.fileno())


def sync_folder(path: Path) -> None:
    """Make a folder's names durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDERS:  # as some network file systems, where nothing more can be done
            raise
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Create a file with this content and sync it. The caller syncs the folder. On an error the file is removed."""
    stream = new_file(path)
    try:
        with stream:
            stream.write(data)
            sync(stream)
    except BaseException:
        discard(path)
        raise


def unlink(path: Path) -> bool:
    """Remove a file; False if it does not exist. Of a link, the link is removed, not its target."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def unlink_all(folder: Path, paths: Iterable[Path]) -> None:
    """Remove files of a folder durably. A missing one is no error."""
    removed = [unlink(path) for path in paths]
    if any(removed):
        sync_folder(folder)


def discard(path: Path) -> None:
    """Remove a temporary file while an error is handled. A second error must not hide the first."""
    with suppress(OSError):
        path.unlink()
