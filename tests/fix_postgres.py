"""A real PostgreSQL for tests: a server for the session, a database for each test, the stock psql."""

import contextlib
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

import psutil
import psycopg
import pytest
import zstandard
from psycopg import sql

from app.embedded.postgres import EmbeddedPostgres, binaries
from app.embedded.server import EmbeddedServerError, environment, wait_until
from app.postgres.programs import output_of
from tests.fix_cluster_copies import SMALL, FilledPostgres

# Text forms depend on these, and a restored database need not have the source's ALTER DATABASE … SET.
TEXT_SETTINGS = (
    "-c search_path=pg_catalog -c timezone=UTC -c datestyle=ISO,YMD -c intervalstyle=postgres"
    " -c extra_float_digits=1 -c bytea_output=hex -c lc_monetary=C -c row_security=off"
)
TABLES_AT_ONCE = 100
USER_TABLES = """
    SELECT n.nspname, c.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
      AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_toast%'
    ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class TestDatabase:
    """A database of one test."""

    __test__: ClassVar[bool] = False

    name: str
    url: str

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection in autocommit mode; the caller closes it."""
        return psycopg.connect(self.url, autocommit=True)

    def execute(self, statement: str, *params: object) -> None:
        """Run one statement, or several where there are no parameters."""
        with self.connect() as connection:
            connection.execute(statement.encode(), params or None)

    def query(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        """The rows of one statement."""
        with self.connect() as connection:
            return connection.execute(statement.encode(), params or None).fetchall()


def pytest_report_header() -> str:
    version = output_of([str(binaries() / "postgres"), "--version"], environment()).strip()
    return f"server under test: {version}"


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A temporary folder that everybody may enter: pytest's own would shut out a server that root had to hand over."""
    with tempfile.TemporaryDirectory(prefix="residency-backup-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """An empty folder for the servers of one test."""
    with open_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """The server that all tests share: not to be stopped, nor its settings or roles changed for good."""
    with open_folder() as folder, FilledPostgres(folder / "postgres", fast=True) as server:
        url = server.url()
        _kept_connections[url] = _connected(url)
        yield server
        _kept_connections.pop(url).close()


# Of the shared server, to its own database: connecting anew costs a test more than what it runs there.
_kept_connections: dict[str, psycopg.Connection[tuple[Any, ...]]] = {}


def run_on_server(url: str, *statements: sql.Composable | str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """Run statements, each in its own transaction, in the database `postgres` of a server; the rows of the last."""
    shared = f"{url.rpartition('/')[0]}/postgres"
    if shared not in _kept_connections:
        with _connected(url) as connection:
            return _run_all(connection, statements, params)
    if _kept_connections[shared].closed:  # a test may end all sessions
        _kept_connections[shared] = _connected(shared)
    try:
        return _run_all(_kept_connections[shared], statements, params)
    except psycopg.OperationalError:
        if not _kept_connections[shared].closed:
            raise
        return run_on_server(url, *statements, params=params)


def _connected(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(url, autocommit=True, dbname="postgres")


def _run_all(
    connection: psycopg.Connection[tuple[Any, ...]],
    statements: Sequence[sql.Composable | str],
    params: Sequence[object],
) -> list[tuple[Any, ...]]:
    rows = []
    for statement in statements:
        query = statement if isinstance(statement, sql.Composable) else statement.encode()
        cursor = connection.execute(query, params or None, prepare=False)
        has_rows = cursor.pgresult is not None and cursor.pgresult.status == psycopg.pq.ExecStatus.TUPLES_OK
        rows = cursor.fetchall() if has_rows else []  # rows without columns have no description
    return rows


@pytest.fixture
def own_postgres_server(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server of one test, which may stop, kill and spoil it."""
    with FilledPostgres(server_folder / "postgres", fast=True) as server:
        yield server
        # What a killed server leaves in shared memory goes when it comes up again.
        with contextlib.suppress(EmbeddedServerError):
            server.start()


@contextlib.contextmanager
def scratch_database(server: EmbeddedPostgres, template: str = "template0") -> Iterator[TestDatabase]:
    """A new database of a server; dropped at the end, whoever is still connected."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    copy_database(server.url(), template, name)
    try:
        yield TestDatabase(name, server.url(name))
    finally:
        run_on_server(server.url(), dropping(name))


def dropping(name: str) -> sql.Composed:
    """The statement that drops a database, if there is one, whoever is connected."""
    return sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))


def copy_database(url: str, template: str, name: str, oid: int | None = None) -> None:
    """Make a database that is a copy of another one, and replaces one of that name."""
    # FILE_COPY is half the work, if no disk is waited for.
    copied = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY" + (f" OID {oid}" if oid else ""))
    run_on_server(url, dropping(name), copied.format(sql.Identifier(name), sql.Identifier(template)))


def has_small(url: str) -> bool:
    """Whether the server of a superuser's URL has a small residency scheduler to copy."""
    is_there = "SELECT 1 FROM pg_database, pg_roles WHERE datname = %s AND rolname = current_user AND rolsuper"
    return bool(run_on_server(url, is_there, params=[SMALL]))


@pytest.fixture
def empty_database(postgres_server: EmbeddedPostgres) -> Iterator[TestDatabase]:
    """An empty database of the shared server."""
    with scratch_database(postgres_server) as database:
        yield database


def psql(url: str, file: Path) -> None:
    """Restore a plain dump (.sql, .sql.gz, .sql.zst) as an operator would, by stock programs that stop at an error."""
    argv = [str(binaries() / "psql"), "-X", "-v", "ON_ERROR_STOP=1", "-q", "-d", url, "-f"]
    if file.suffix not in {".gz", ".zst"}:
        output_or_fail([*argv, str(file)])
    elif file.suffix == ".gz":
        with subprocess.Popen(["gzip", "-dc", str(file)], stdout=subprocess.PIPE) as gzip:
            output_or_fail([*argv, "-"], stdin=gzip.stdout)
        assert gzip.returncode == 0, f"gzip -dc {file} exits with {gzip.returncode}"
    else:
        with tempfile.TemporaryFile() as plain:
            with file.open("rb") as packed:
                reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
                shutil.copyfileobj(reader, plain)
            plain.seek(0)
            output_or_fail([*argv, "-"], stdin=plain)


def output_or_fail(argv: list[str], stdin: IO[bytes] | None = None) -> str:
    """What a stock program prints; the test fails with what it complains of."""
    done = subprocess.run(
        argv,
        stdin=stdin or subprocess.DEVNULL,
        capture_output=True,
        env=environment(),
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{Path(argv[0]).name} exits with {done.returncode}: {done.stderr.decode()}")
    return done.stdout.decode()


def copy_of_all_tables(url: str) -> dict[str, tuple[int, str]]:
    """Rows and content of every user table, each partition by itself: equal for equal content in any order of rows."""
    with psycopg.connect(url, options=TEXT_SETTINGS) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        tables = [sql.Identifier(*table) for table in connection.execute(USER_TABLES)]
        # One statement for all would be the fastest, and too long for thousands.
        parts = [tables[at : at + TABLES_AT_ONCE] for at in range(0, len(tables), TABLES_AT_ONCE)]
        contents = [content for part in parts for content in _contents(connection, part)]
        return {table.as_string(connection): content for table, content in zip(tables, contents, strict=True)}


def _contents(connection: psycopg.Connection[Any], tables: list[sql.Identifier]) -> list[tuple[int, str]]:
    # (t.*) is the row even where a column is called t; the C collation is the same on every server.
    one = sql.SQL(
        'SELECT {}, count(*), coalesce(sum(hashtextextended((t.*)::text COLLATE "C", 0)::numeric), 0)::text'
        " FROM ONLY {} AS t"
    )
    statement = sql.SQL(" UNION ALL ").join(one.format(number, table) for number, table in enumerate(tables))
    found = {number: (rows, content) for number, rows, content in connection.execute(statement)}
    return [found[number] for number in range(len(tables))]


def nothing_runs_in(folder: Path) -> bool:
    """Whether all processes that work in a folder or name it have ended; a killed one takes a moment to."""
    return wait_until(lambda: not any(_uses(process, str(folder)) for process in psutil.process_iter()), 20)


def _uses(process: psutil.Process, folder: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.cwd().startswith(folder) or any(folder in word for word in process.cmdline())
    except psutil.Error:
        return False
