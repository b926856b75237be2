"""A file that is given by its path. Its kind is checked before it is opened: opening a pipe waits for its writer."""

from __future__ import annotations

import errno
import os
import shlex
import stat
from pathlib import Path
from typing import BinaryIO

from app.archive.inspect.packed import TOC
from app.errors import BackupNotFoundError, BackupPermissionError, DiskReadError, RestoreValidationError

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a disk",
}
# The shell's <(…), and standard input: names that mean nothing to another command.
_BORROWED = ("/dev/fd/", "/dev/std", "/proc/")
_LISTED = "to list what there is: residency-backup list"
_NOTHING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def stat_of(path: Path) -> os.stat_result | None:
    """What a path leads to, links followed; None if it leads nowhere.

    Raises:
        BackupPermissionError: this user may not look.
        DiskReadError: the disk cannot say.
    """
    try:
        return path.stat()
    except PermissionError as error:
        hint = f"let this user enter {path.parent}, or become one who may"
        raise BackupPermissionError(f"{path} may not be looked at: {error.strerror}", hint) from error
    except ValueError:
        return None  # a zero byte is in no name
    except OSError as error:
        if error.errno in _NOTHING:
            return None
        raise DiskReadError(f"{path} cannot be looked at: {error.strerror or error}", "look at its disk") from error


def is_packed_folder(path: Path) -> bool:
    """Whether a path is a folder with a dump in pg_dump's directory format.

    Raises:
        BackupPermissionError, DiskReadError: it cannot be looked at.
    """
    found = stat_of(path)
    return found is not None and stat.S_ISDIR(found.st_mode) and stat_of(path / TOC) is not None


def require_plain_files(folder: Path) -> None:
    """Make sure that a folder holds no pipe, socket or device: the program that reads it would wait for ever.

    Raises:
        RestoreValidationError: it does; names it.
        BackupPermissionError, DiskReadError: it cannot be looked at.
    """
    try:
        inside = sorted(folder.iterdir())
    except PermissionError as error:
        hint = f"chmod u+rx {shlex.quote(str(folder))}"
        raise BackupPermissionError(f"{folder} may not be read: {error.strerror}", hint) from error
    except OSError as error:
        raise DiskReadError(f"{folder} cannot be read: {error.strerror or error}", "look at its disk") from error
    for path in inside:
        found = stat_of(path)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            _refuse(path, found)


def require_plain(path: Path) -> os.stat_result:
    """Make sure that a path names a regular file: that can be read more than once.

    Raises:
        BackupNotFoundError: there is nothing.
        RestoreValidationError: it is a pipe, a socket, a device or a folder; says what to give instead.
        BackupPermissionError, DiskReadError: it cannot be looked at.
    """
    found = stat_of(path)
    if found is None:
        raise BackupNotFoundError(f"there is no file {path}", _LISTED)
    _refuse(path, found)
    return found


def open_plain(path: Path) -> BinaryIO:
    """Open the regular file that a path names.

    Raises:
        BackupError, RestoreValidationError: as `require_plain`; or it may not be read.
    """
    require_plain(path)
    try:
        # O_NONBLOCK: something else may have taken the name since the look.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise BackupNotFoundError(f"there is no file {path}", _LISTED) from error
    except PermissionError as error:
        hint = f"chmod u+r {shlex.quote(str(path))}"
        raise BackupPermissionError(f"{path} may not be read: {error.strerror}", hint) from error
    except OSError as error:
        raise DiskReadError(f"{path} cannot be read: {error.strerror or error}", "look at its disk") from error
    try:
        _refuse(path, os.fstat(descriptor))
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _refuse(path: Path, found: os.stat_result) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    quoted = shlex.quote(str(path))
    if stat.S_ISDIR(found.st_mode):
        raise RestoreValidationError(f"{path} is a folder, and no file of a dump", f"name a file in it: ls {quoted}")
    kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no regular file")
    message = f"{path} is {kind}: a restore reads its file several times, and from any place in it"
    source = "COMMAND" if str(path).startswith(_BORROWED) else f"cat {quoted}"
    raise RestoreValidationError(message, f"write it to a file first, and give that: {source} > dump.sql")
