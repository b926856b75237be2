"""The edge to the file system: its errors become ours here, and what is made here is private and durable."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from app.errors import BackupError, BackupNotFoundError, BackupPermissionError, BackupStorageError, DiskReadError

MANIFEST_BYTES = 256 << 20  # of 100,000 tables it is a fifth of that
_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_SMALL = 64 << 10
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_FOLDER = (errno.ENOTDIR, errno.ELOOP)
_CANNOT_SYNC_FOLDERS = (errno.EINVAL, errno.ENOTSUP)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn the errors of a block that reads `path` into ours."""
    try:
        yield
    except OSError as error:
        if mapped := _refusal(error, path, folder=False):
            raise mapped from error
        message = f"{path} cannot be read: {error.strerror or error}"
        raise DiskReadError(message, "try again; when it stays, look at the disk that holds it") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the errors of a block that writes `path`, or something below it, into ours."""
    try:
        yield
    except OSError as error:
        if mapped := _refusal(error, path, folder=True):
            raise mapped from error
        from app.archive.writer import write_error  # noqa: PLC0415 -- the codecs, which no listing needs

        general = write_error(error)
        raise type(general)(f"{general.message} ({path})", general.hint) from error


def _refusal(error: OSError, path: Path, *, folder: bool) -> BackupError | None:
    """The error for a right that is missing, or a folder that is none; None for any other error.

    `folder` says that it was the folder which refused: who writes a name needs its rights, not the file's.
    """
    if error.errno in _REFUSED:
        return _permission_error(error, *_nearest(path, folder=folder))
    if error.errno in _NO_FOLDER:
        message = f"{error.filename or path}: {error.strerror}"
        return BackupStorageError(message, "BACKUP_DIR, and each folder in it, must be a real folder")
    return None


def _permission_error(error: OSError, culprit: Path, found: os.stat_result) -> BackupPermissionError:
    """Says who was refused by whom: in containers, a mounted folder's owner is nearly always the reason."""
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
