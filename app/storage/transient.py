"""Names of temporary files that exist for a moment, outside of any run, and whether their process still lives.

A name holds what tells a process from all others of its machine: after a crash its file is a leftover at once, and
while it lives it is none, however long it takes.
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
    """In the place of a run's id, for a file of this process that belongs to no run."""
    token = secrets.token_hex(6)
    fields, place = _stat("self"), _place()
    if fields is None or place is None:
        return PREFIX + token
    return f"{PREFIX}{place}-{os.getpid()}-{fields[_START_TICKS]}-{token}"


def is_alive(run: str) -> bool | None:
    """Whether the process of such an id still lives; None where that cannot be told from here."""
    found = _NAME.fullmatch(run)
    if found is None or found["place"] != _place():
        return None
    fields = _stat(found["pid"])
    if fields is None:
        return None if _is_there(int(found["pid"])) else False
    return fields[_STATE] not in _ENDED and fields[_START_TICKS] == found["ticks"]


def may_be_written(run: str, entry: os.DirEntry[str]) -> bool:
    """Whether somebody may be writing a file that belongs to no run just now; what has gone is no leftover either."""
    if not run.startswith(PREFIX):
        return False
    alive = is_alive(run)
    return _is_young(entry) if alive is None else alive


def _is_young(entry: os.DirEntry[str]) -> bool:
    """Whether somebody may be writing the file just now; one that has gone meanwhile is no leftover either.

    One that is far from the future was written by a clock that has been set since.
    """
    try:
        return abs(time.time() - entry.stat(follow_symlinks=False).st_mtime) < _YOUNG_SECONDS
    except FileNotFoundError:
        return True


def _place() -> str | None:
    """This machine since it was started, and the container; None where there is no /proc, or one of other processes."""
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
    """Whether there is a process of that number: a /proc with hidepid does not show those of others."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
