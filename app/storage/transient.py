"""Ids for temporary files that belong to no run, and whether the process that wrote such a file still lives.

An id identifies a process on its machine, so that its files are leftovers as soon as it has ended, and never before.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import time
from pathlib import Path

PREFIX = "passing-"
_PROC = Path("/proc")
_NAME = re.compile(rf"{PREFIX}(?P<place>[0-9a-f]{{8}})-(?P<pid>\d+)-(?P<ticks>\d+)-[0-9a-f]{{12}}")
_STATE, _START_TICKS = 0, 19  # fields 3 and 22 of /proc/<pid>/stat, counted from after the program's name
_ENDED = ("Z", "X")
_YOUNG_SECONDS = 3600.0


def new_id() -> str:
    """An id, used like a run's, for a temporary file of this process."""
    token = secrets.token_hex(6)
    fields, place = _stat("self"), _place()
    if fields is None or place is None:
        return PREFIX + token
    return f"{PREFIX}{place}-{os.getpid()}-{fields[_START_TICKS]}-{token}"


def is_alive(run: str) -> bool | None:
    """Whether the process of such an id lives; None if this cannot be told, as from another container."""
    found = _NAME.fullmatch(run)
    if found is None or found["place"] != _place():
        return None
    fields = _stat(found["pid"])
    if fields is None:
        return None if _is_there(int(found["pid"])) else False
    return fields[_STATE] not in _ENDED and fields[_START_TICKS] == found["ticks"]


def may_be_written(run: str, entry: os.DirEntry[str]) -> bool:
    """Whether the process of a file that belongs to no run may still write it. True also for a file that is gone."""
    if not run.startswith(PREFIX):
        return False
    alive = is_alive(run)
    return _is_young(entry) if alive is None else alive


def _is_young(entry: os.DirEntry[str]) -> bool:
    """Whether the file was written within the last hour, or is gone.

    A time far in the future was written by a wrong clock, so the file counts as old.
    """
    try:
        return abs(time.time() - entry.stat(follow_symlinks=False).st_mtime) < _YOUNG_SECONDS
    except FileNotFoundError:
        return True


def _place() -> str | None:
    """A hash of the boot id and the pid namespace; None if there is no /proc, or it is that of another namespace."""
    try:
        if str((_PROC / "self").readlink()) != str(os.getpid()):
            return None
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return hashlib.sha256(f"{boot}/{(_PROC / 'self/ns/pid').readlink()}".encode()).hexdigest()[:8]
    except OSError:
        return None


def _stat(pid: str) -> list[str] | None:
    try:
        return (_PROC / pid / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _is_there(pid: int) -> bool:
    """Whether a process exists. A /proc with hidepid does not show those of other users."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
