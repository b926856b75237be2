"""Who holds a run: a process, named so that others on the same machine can tell whether it still lives.

The name is ``boot id/pid namespace/pid/start ticks``. The boot id tells machines and reboots apart, the namespace
containers, and the start ticks a process from a later one that was given the same pid.
"""

from __future__ import annotations

import functools
import os
import secrets
import socket
from pathlib import Path

PROC = Path("/proc")
STATE, START_TICKS = 0, 19  # fields 3 and 22 of /proc/<pid>/stat, counted from after the program's name
ENDED = ("Z", "X")


def current() -> str:
    """This process's name as a holder. Worked out anew each time: a fork is another process."""
    return _identity() or f"{socket.gethostname()}/{os.getpid()}/{_token(os.getpid())}"


def is_dead(holder: str) -> bool | None:
    """Whether a holder's process has ended; None where that cannot be told from here."""
    mine = _identity()
    if mine is None or mine.split("/")[:2] != holder.split("/")[:2]:
        return None
    *_, pid, ticks = holder.split("/")
    fields = _stat(pid)
    if fields is None:
        # A /proc mounted with hidepid does not show other users' processes: only the kernel's word counts.
        return True if _gone(int(pid)) else None
    return fields[STATE] in ENDED or fields[START_TICKS] != ticks


def _identity() -> str | None:
    """This process's name; None where there is no /proc, or one that shows another pid namespace."""
    fields = _stat("self")
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = str((PROC / "self/ns/pid").readlink())
        shown = str((PROC / "self").readlink())
    except OSError:
        return None
    if fields is None or shown != str(os.getpid()):
        return None
    return f"{boot}/{namespace}/{shown}/{fields[START_TICKS]}"


def _stat(pid: str) -> list[str] | None:
    """The fields of a process's stat after the program's name, which may itself hold spaces and parentheses."""
    try:
        return (PROC / pid / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


@functools.cache
def _token(pid: int) -> str:  # noqa: ARG001 -- a forked child has another pid, and so another token
    """What tells this process from others of its pid where /proc cannot."""
    return secrets.token_hex(6)
