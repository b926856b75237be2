"""What a command costs: wall and CPU seconds of client and server, bytes read, memory of both."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_LOOK_SECONDS = 0.1
_SETTLE_SECONDS = 0.2
_ENDS_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one run of a command.

    Attributes:
        wall: seconds from its start to its end, Python's own start included.
        client_cpu: user and system seconds of the command and of its children.
        server_cpu: those of the server meanwhile.
        memory_mb: peak of the proportional set sizes of the command and its children, summed.
        backend_mb: peak of the private memory of the server's fattest process (shared buffers are not in it).
        read_mb: bytes that the command and its children read, from files and pipes.
        said: its standard output.
    """

    wall: float
    client_cpu: float
    server_cpu: float
    memory_mb: float
    backend_mb: float
    read_mb: float
    said: str

    @property
    def cpu(self) -> float:
        """CPU seconds of client and server together."""
        return self.client_cpu + self.server_cpu


def measured(argv: Sequence[str], env: Mapping[str, str], postmaster: int | None = None) -> Cost:
    """Run a command to its end.

    Args:
        argv: program and arguments.
        env: the complete environment.
        postmaster: process id of the server whose share is measured too.

    Raises:
        RuntimeError: its exit code is neither 0 nor 3 (done, with warnings).
    """
    before, server, read = os.times(), server_cpu(postmaster), _read_bytes()
    begun = time.monotonic()
    process = subprocess.Popen(list(argv), env=dict(env), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = _Peak(process.pid, postmaster)
    said, errors = process.communicate()
    wall = time.monotonic() - begun
    peak.stop()
    if process.returncode not in {0, 3}:
        raise RuntimeError(f"{argv} exits with {process.returncode}: {said[-2000:]}{errors[-2000:]}")
    after = os.times()
    _await_backends(postmaster)
    return Cost(
        wall=wall,
        client_cpu=after.children_user + after.children_system - before.children_user - before.children_system,
        server_cpu=server_cpu(postmaster) - server,
        memory_mb=peak.client,
        backend_mb=peak.backend,
        read_mb=(_read_bytes() - read) / 1e6,
        said=said,
    )


def server_cpu(postmaster: int | None) -> float:
    """CPU seconds of a server so far: its own, those of children that ended, and those of children that run."""
    if postmaster is None:
        return 0.0
    ticks = sum(_fields(postmaster)[11:15])
    for child in _children(postmaster):
        with suppress(OSError):
            ticks += sum(_fields(child)[11:13])
    return ticks / _TICKS


def _await_backends(postmaster: int | None) -> None:
    """Wait until the server's processes for the command have ended and are counted in the postmaster's children."""
    time.sleep(_SETTLE_SECONDS)
    ends = time.monotonic() + _ENDS_SECONDS
    while postmaster is not None and _has_clients(postmaster) and time.monotonic() < ends:
        time.sleep(_SETTLE_SECONDS)


def _has_clients(postmaster: int) -> bool:
    """Whether the server has processes for clients, by their titles."""
    titles = (_text(child, "cmdline") for child in _children(postmaster))
    return any(word in title for title in titles for word in ("[local]", "127.0.0.1(", "parallel worker"))


def _children(pid: int) -> list[int]:
    """The processes that the threads of a process have started. To look through all of /proc would slow what runs."""
    try:
        threads = [thread.name for thread in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []
    return [int(child) for thread in threads for child in _text(pid, f"task/{thread}/children").split()]


def _tree(pid: int) -> list[int]:
    """A process with all below it."""
    return [pid, *(below for child in _children(pid) for below in _tree(child))]


def _text(pid: int, file: str) -> str:
    """A file of /proc; nothing if the process has ended."""
    try:
        return Path(f"/proc/{pid}/{file}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _fields(pid: int) -> list[int]:
    words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return [int(word) if word.lstrip("-").isdigit() else 0 for word in words]


def _read_bytes() -> int:
    """Bytes read so far by this process and by the children that it has waited for."""
    return int(Path("/proc/self/io").read_text(encoding="utf-8").split()[1])


class _Peak:
    """Looks at a process tree and at a server now and then."""

    def __init__(self, pid: int, postmaster: int | None) -> None:
        self.client = 0.0
        self.backend = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(pid, postmaster))
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self, pid: int, postmaster: int | None) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            server = _children(postmaster) if postmaster else []
            self.client = max(self.client, sum(_megabytes(process, "smaps_rollup", "Pss:") for process in _tree(pid)))
            self.backend = max(self.backend, *(_megabytes(process, "status", "RssAnon:") for process in server), 0.0)


def _megabytes(pid: int, file: str, line: str) -> float:
    """A line of a file of /proc in kB, as megabytes; 0 if the process has ended."""
    lines = _text(pid, file).splitlines()
    return next((int(text.split()[1]) for text in lines if text.startswith(line)), 0) / 1024
