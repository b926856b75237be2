"""The holder of a run: a process, named so that others on the same machine can tell whether it is alive.

The name is ``boot id/pid namespace/pid/start ticks``. The boot id tells machines and reboots apart, the namespace
containers, and the start ticks a process from a later one that was given the same pid.

In the catalog a sign of life follows the name, ``name@seconds@seconds``: by the machine's steady clock, which counts
from its boot and which nobody sets, and by the clock of the catalog's server, if there is one. So setting the wall
clock neither ends a run that is alive nor keeps a dead one.
"""

from __future__ import annotations

import functools
import os
import secrets
import socket
import time
from pathlib import Path

PROC = Path("/proc")
STATE, START_TICKS = 0, 19  # fields 3 and 22 of /proc/<pid>/stat, counted from after the program's name
ENDED = ("Z", "X")


def current() -> str:
    """This process's name as a holder. Not cached: a fork is another process."""
    return _identity() or f"{socket.gethostname()}/{os.getpid()}/{_token(os.getpid())}"


def signed(server: float | None) -> str:
    """This process's name with a sign of life; `server` is what the catalog's server says, in seconds."""
    return f"{current()}@{time.monotonic():.3f}@{'' if server is None else f'{server:.3f}'}"


def name_in(holder: str) -> str:
    """The name alone."""
    return holder.partition("@")[0]


def is_dead(holder: str) -> bool | None:
    """Whether a holder's process has ended; None if that cannot be told from here."""
    mine, name = _identity(), name_in(holder)
    if mine is None or mine.split("/")[:2] != name.split("/")[:2]:
        return None
    *_, pid, ticks = name.split("/")
    fields = _stat(pid)
    if fields is None:
        # A /proc mounted with hidepid does not show other users' processes: only the kernel's word counts.
        return True if _gone(int(pid)) else None
    return fields[STATE] in ENDED or fields[START_TICKS] != ticks


def steady_silence(holder: str) -> float | None:
    """Seconds since a sign of life by this machine's steady clock; None if another clock gave it."""
    mine, (name, _, signs) = _identity(), holder.partition("@")
    steady = signs.partition("@")[0]
    if mine is None or not steady or mine.split("/")[0] != name.split("/")[0]:
        return None
    silent = time.monotonic() - float(steady)
    return silent if silent >= 0 else None  # a container may have a steady clock of its own


def server_sign(holder: str) -> float | None:
    """When the last sign of life was given by the clock of the catalog's server."""
    server = holder.partition("@")[2].partition("@")[2]
    return float(server) if server else None


def _identity() -> str | None:
    """This process's name; None if there is no /proc, or if it shows another pid namespace."""
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
    """Tells this process from others of its pid if /proc cannot."""
    return secrets.token_hex(6)
