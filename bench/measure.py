"""What a command costs: wall and CPU seconds, by client and server, and the memory of all its processes together."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

_TICKS = os.sysconf("SC_CLK_TCK")
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds, and megabytes: the peak of the proportional set sizes of the command and its children, summed."""

    wall: float
    client_cpu: float
    server_cpu: float
    memory_mb: float
    said: str

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def measured(argv: list[str], env: dict[str, str], postmaster: int | None = None) -> Cost:
    """Run a command to its end; an error of it is one. Without a server there is none to measure."""
    before, server = os.times(), server_cpu(postmaster)
    begun = time.monotonic()
    process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak = _Peak(process.pid)
    said, errors = process.communicate()
    # Our own say what the work took, without the start of Python.
    wall = json.loads(said)["seconds"] if said.startswith('{"seconds"') else time.monotonic() - begun
    peak.stop()
    if process.returncode:
        raise RuntimeError(f"{argv} exits with {process.returncode}: {errors}")
    time.sleep(0.2)  # the server's processes end and are counted
    after = os.times()
    client = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(wall, client, server_cpu(postmaster) - server, peak.megabytes, said)


def server_cpu(postmaster: int | None) -> float:
    """CPU seconds of a server so far: its own, those of children that ended, and those of children that run."""
    if postmaster is None:
        return 0.0
    own = _fields(postmaster)
    ticks = sum(own[11:15])
    for child in psutil.Process(postmaster).children():
        try:
            ticks += sum(_fields(child.pid)[11:13])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return ticks / _TICKS


def _fields(pid: int) -> list[int]:
    words = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return [int(word) if word.lstrip("-").isdigit() else 0 for word in words]


class _Peak:
    """Looks at a process tree now and then."""

    def __init__(self, pid: int) -> None:
        self.megabytes = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(pid,))
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self, pid: int) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            try:
                top = psutil.Process(pid)
                tree = [top, *top.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            self.megabytes = max(self.megabytes, sum(map(_pss, tree)))


def _pss(process: psutil.Process) -> float:
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    except (OSError, StopIteration):
        return 0.0
