"""A lock for one process at a time, on a file of its own, because any program may lock the folder itself."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote

from app.errors import BackupStorageError
from app.os_errors import writing

PATIENCE = 10.0  # seconds; its holder only writes one small file
_PAUSE = 0.05


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock for the length of a block. Some network file systems have no locks; then nothing is held.

    Raises:
        BackupStorageError: another process holds it for too long, or its file is no regular file.
    """
    descriptor = _opened(path)
    try:
        _take(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with writing(path):
        with suppress(FileNotFoundError):
            _require_regular(path.lstat(), path)
        descriptor = os.open(path, flags, 0o600)
    try:
        _require_regular(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        away = f"mv {quote(str(path))} {quote(f'{path}.other')}"
        raise BackupStorageError(f"the lock {path} is no regular file", f"move it away: {away}")


def _take(descriptor: int, path: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise _held(descriptor, path) from None
        except OSError:
            return
        else:
            return
        time.sleep(_PAUSE)


def _held(descriptor: int, path: Path) -> BackupStorageError:
    who = _holder(os.fstat(descriptor).st_ino)
    held_by = "another program" if who is None else f"process {who} ({_name_of(who)})"
    return BackupStorageError(
        f"the lock {path} has been held by {held_by} for more than {PATIENCE:g} s",
        f"look at it, and try again when it has ended: {f'ps -fp {who}' if who else f'fuser -v {quote(str(path))}'}",
    )


def _holder(inode: int) -> int | None:
    """The process that holds a lock on the file with this inode; None if unknown."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()
            if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode) and int(fields[4]) > 0:
                return int(fields[4])
    return None


def _name_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    return "no longer there"
