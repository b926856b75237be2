"""The service on a real database, and what faults are allowed to leave behind."""

from __future__ import annotations

import functools
import hashlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.bootstrap import Program, bootstrap
from app.embedded.postgres import EmbeddedPostgres
from app.operations.service import Progress, Service
from app.postgres.programs import ProgramResult, run
from app.storage.folder import LOCK, MARKER
from app.storage.memory import FolderMemory
from tests.fix_cluster_copies import SMALL, fill_small
from tests.fix_fork import COMMAND_LINE, READ_AT_START, run_forked
from tests.fix_postgres import TestDatabase, copy_database, copy_of_all_tables, has_small, psql, scratch_database

# As in a container: nothing of the machine's PostgreSQL, and no password of the one who runs the tests.
_KEPT = ("PATH", "HOME", "XDG_STATE_HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "COVERAGE_PROCESS_CONFIG")


@dataclass(frozen=True, slots=True)
class Site:
    """A database with a backup service of its own."""

    database: TestDatabase
    backups: Path
    env: Mapping[str, str]

    def service(self, **settings: str) -> Service:
        """The service, with other settings where given."""
        environ = {**self.env, **settings}
        if any(name.endswith("_FILE") for name in environ):
            return bootstrap(environ).service()
        program = _read(tuple(sorted(environ.items())), os.environ.get("XDG_STATE_HOME"))
        return replace(program, memory=FolderMemory(program.settings.backup_state_dir)).service()

    def cli(self, *words: str, prefix: tuple[str, ...] = (), timeout: float = 100, **settings: str) -> ProgramResult:
        """Run `residency-backup` as a process: of a new interpreter, if that is to begin otherwise than ours."""
        if not prefix and not any(name.startswith(READ_AT_START) for name in settings):
            return run_forked(COMMAND_LINE, words, self.process_env(**settings), timeout=timeout)
        return self.cli_anew(*words, prefix=prefix, timeout=timeout, **settings)

    def cli_anew(
        self, *words: str, prefix: tuple[str, ...] = (), timeout: float = 100, **settings: str
    ) -> ProgramResult:
        """Run `residency-backup` as a process of a new interpreter, as people do."""
        argv = [*prefix, sys.executable, "-c", "from app.cli import main; main()", *words]
        return run(argv, self.process_env(**settings), timeout=timeout)

    def process_env(self, **settings: str) -> dict[str, str]:
        """The environment of a process of the service."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return {**kept, "PYTHONPATH": str(Path(__file__).parents[1]), **self.env, **settings}

    def files(self) -> dict[str, str]:
        """SHA-256 of every file of the tree but the catalog's own, and the folder's marker and lock."""
        found = (path for path in self.backups.rglob("*") if path.is_file() and "catalog.db" not in path.name)
        paths = (path for path in found if path.name not in {LOCK, MARKER})
        return {str(path.relative_to(self.backups)): _digest(path) for path in paths}


def with_options(service: Service, **changed: Any) -> Service:
    """The service, with other figures."""
    return replace(service, options=replace(service.options, **changed))


@functools.lru_cache(maxsize=32)
def _read(environ: tuple[tuple[str, str], ...], state_home: str | None) -> Program:
    """The program of these settings: to read them takes longer than to put the parts together."""
    return bootstrap(dict(environ))


class At(Progress):
    """A progress that does something once, when that many bytes of a phase have passed: in the middle of a dump."""

    def __init__(self, act: Callable[[], object], *, phase: str = "dump", after: int = 1) -> None:
        self._act: Callable[[], object] | None = act
        self._phase = phase
        self._left = after
        self._active = False

    def start(self, what: str, total: int | None) -> None:  # noqa: ARG002 - the port's
        self._active = what == self._phase

    def advance(self, amount: int) -> None:
        if not self._active:
            return
        self._left -= amount
        if self._left <= 0 and self._act is not None:
            act, self._act = self._act, None
            act()

    @property
    def done(self) -> bool:
        """Whether it was done: a fault that was never injected proves nothing."""
        return self._act is None


@pytest.fixture(scope="session", autouse=True)
def remembered(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the service remembers of folders is not to be left with the user who runs the tests."""
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture
def site(postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Site]:
    """A small residency scheduler, and an empty folder for its backups."""
    with scratch_database(postgres_server, SMALL) as database:
        yield make_site(database, tmp_path / "backups", filled=False)


def make_site(database: TestDatabase, backups: Path, *, filled: bool = True, url: str | None = None) -> Site:
    """A small residency scheduler in a database that is empty, if wanted, and a service for it."""
    if filled and has_small(database.url):
        copy_database(database.url, SMALL, database.name)
    elif filled:
        with psycopg.connect(database.url) as connection:
            fill_small(connection)
    env = {
        "DATABASE_URL": url or database.url,
        "BACKUP_DIR": str(backups),
        "BACKUP_MIN_FREE_MB": "1",
        "LOG_LEVEL": "DEBUG",
    }
    return Site(database, backups, env)


@pytest.fixture
def restored(postgres_server: EmbeddedPostgres) -> Iterator[Callable[[Path], TestDatabase]]:
    """Restores a file by stock psql into a database of its own, and returns that."""
    with ExitStack() as stack:

        def restore(file: Path) -> TestDatabase:
            database = stack.enter_context(scratch_database(postgres_server))
            psql(database.url, file)
            return database

        yield restore


def require_same_content(one: TestDatabase, other: TestDatabase) -> None:
    """Every table has the same rows in both."""
    left, right = copy_of_all_tables(one.url), copy_of_all_tables(other.url)
    assert left
    assert left == right


def leftovers(backups: Path) -> list[str]:
    """Temporary files."""
    return [str(path) for path in backups.rglob("*.partial")]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def ordinary() -> tuple[str, ...]:
    """Words before a program that make it run without root's power over every file; none where we have none."""
    if os.geteuid() != 0:
        return ()
    prefix = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
    if run([*prefix, "true"]).code:
        pytest.skip("as root, and without the right to make a user namespace: permissions cannot be tried")
    return prefix


def fill_wide(database: TestDatabase, rows: int = 12_000) -> None:
    """A KB a row in one table that hardly compresses, so that a dump takes long enough to be interrupted."""
    with database.connect() as connection:
        connection.execute("CREATE TABLE wide (id int, filler text)")
        connection.execute(
            "INSERT INTO wide SELECT g, (SELECT string_agg(encode(sha512((g * 100 + n)::text::bytea), 'hex'), '')"
            " FROM generate_series(1, 8) n) FROM generate_series(1, %s) g",
            (rows,),
        )


@contextmanager
def stalled(database: TestDatabase) -> Iterator[None]:
    """The server stands still for a dump: it cannot come to its end before the fault, however slow the machine is."""
    sessions = database.query(
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name IN ('pg_dump', 'psql')"
    )
    assert sessions
    for (pid,) in sessions:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for (pid,) in sessions:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def dumps_of(database: TestDatabase) -> int:
    """pg_dump's sessions in a database."""
    return database.query(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump' AND datname = current_database()"
    )[0][0]


def gone_soon(database: TestDatabase) -> bool:
    """Whether pg_dump's session ends within some seconds."""
    end = time.monotonic() + 10
    while dumps_of(database) and time.monotonic() < end:
        time.sleep(0.05)
    return dumps_of(database) == 0


def later(service: Service) -> Service:
    """The same service when the time to roll back is over."""
    clock = service.clock
    return replace(service, clock=lambda: clock() + timedelta(days=2))
