"""Loads an archive, or any plain dump, into an empty database, in parallel.

The file is linted first, and its statements are sent over libpq: nothing in it reaches a shell of this machine. The
role's rights limit what its SQL may do on the server. A load that fails leaves a half-loaded database: the caller
creates a database for each load, and drops it on an error.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager

import structlog

from app.archive.index import TableName
from app.archive.inspect.lint import lint
from app.archive.inspect.pg_attver import without_pg_attver
from app.archive.reader import Archive
from app.archive.scanner import scan
from app.domain.psql import in_psql, quoted
from app.errors import RestoreValidationError, TargetUnavailableError
from app.ports.target import LoadResult
from app.postgres.database import FULL, Database
from app.postgres.load.data import DataLoader, check_rows
from app.postgres.load.function_path import FunctionPath
from app.postgres.load.statements import SqlRunner
from app.postgres.load.statistics import NOT_SYSTEM, analyze, calls_functions
from app.postgres.operator_path import set_operator_path
from app.postgres.session import RestoreSession, restore_session

log = structlog.get_logger(__name__)
# Objects of extensions may exist before the load.
_OWN = "NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = {} AND d.objid = o.oid AND d.deptype = 'e')"
_FOUND = f"""
    SELECT n.nspname, o.relname FROM pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace
    WHERE {NOT_SYSTEM} AND {_OWN.format("'pg_class'::regclass")}
    UNION ALL SELECT n.nspname, o.proname FROM pg_proc o JOIN pg_namespace n ON n.oid = o.pronamespace
    WHERE {NOT_SYSTEM} AND {_OWN.format("'pg_proc'::regclass")} LIMIT 1"""

_BYTES_OF_A_SESSION = 256 << 10


SessionFactory = Callable[[Database, int], AbstractContextManager[RestoreSession]]


def load(  # noqa: PLR0913 -- what a load takes, and how its sessions are made
    database: Database,
    archive: Archive,
    jobs: int,
    progress: Callable[[int], None] = lambda _: None,
    search_path: str | None = None,
    *,
    session_factory: SessionFactory = restore_session,
    analyzed: bool = True,
) -> LoadResult:
    """Load an archive.

    Args:
        database: the one to load into; it must be empty.
        archive: of ours, or any plain dump with the index that was built of it.
        jobs: number of connections.
        progress: called with the number of bytes of row data sent.
        search_path: of functions during the load; see `app.postgres.load.function_path`.
        session_factory: opens each session; gets the database and the number of sessions.
        analyzed: whether to end with ANALYZE. If not, `app.postgres.replace.analyzing` does that, unless ANALYZE calls
            functions of users.

    Raises:
        RestoreValidationError: the file has a statement that no dump has, or the database is not empty.
        RestoreDataError: the server refuses a statement or a row, or the number of loaded rows differs.
        RestorePermissionError: the role lacks a right.
        TargetUnavailableError: the server went away.
        BackupReadError, BackupValidationError: the file cannot be read, or differs from its index.
    """
    seconds: dict[str, float] = {}
    with _timed(seconds, "lint"):
        lint(archive)
    with ExitStack() as stack:
        sessions = _sessions(stack, database, _worthwhile(archive, jobs), session_factory)
        _require_empty(sessions[0], database.name)
        set_operator_path(sessions, search_path)
        rows = _run_archive(sessions, archive, FunctionPath(sessions[0], search_path), progress, seconds)
        check_rows(rows, {table.table: table.rows for table in archive.index.tables})
        if analyzed or calls_functions(sessions[0]):
            with _timed(seconds, "analyze"):
                analyze(sessions)
    log.debug("restore loaded", database=database.name, rows=sum(rows.values()), tables=len(rows), seconds=seconds)
    remarks = tuple(remark for loaded in sessions for remark in loaded.remarks)
    return LoadResult({table.table: rows[table.table] for table in archive.index.tables}, seconds, remarks)


def _run_archive(
    sessions: Sequence[RestoreSession],
    archive: Archive,
    path: FunctionPath,
    progress: Callable[[int], None],
    seconds: dict[str, float],
) -> Counter[TableName]:
    """Run the SQL and load the data of an archive, in its order; returns the number of rows of each table."""
    rows: Counter[TableName] = Counter()
    runner = SqlRunner(sessions, path.on_entry)
    for is_data, segments in path.along(archive):
        with _timed(seconds, segments[-1].kind):
            if is_data:
                # Objects that an open transaction of the file created are visible to its session only.
                able = sessions[:1] if sessions[0].in_transaction else sessions
                for other in able[1:]:
                    other.set_state(sessions[0].state)
                loader = DataLoader(archive, segments, progress)
                loader.load(able)
                rows.update(loader.rows)
                runner.small |= loader.small
            else:
                runner.run(without_pg_attver(scan(archive.joined(segments))))
    runner.finish()
    reset_file_settings(sessions)
    path.reset()
    return rows


def _worthwhile(archive: Archive, jobs: int) -> int:
    """The number of connections that an archive is worth: making one takes as long as loading so many bytes."""
    return min(jobs, 1 + archive.index.raw_bytes // _BYTES_OF_A_SESSION)


def _sessions(
    stack: ExitStack, database: Database, wanted: int, session_factory: SessionFactory
) -> list[RestoreSession]:
    """As many sessions as are wanted, if the server has enough connections."""
    sessions: list[RestoreSession] = []
    for _ in range(wanted):
        try:
            sessions.append(stack.enter_context(session_factory(database, wanted)))
        except TargetUnavailableError as error:
            if not (sessions and FULL.search(error.message)):
                raise
            reason = "the server has no more connections: see max_connections, and the limits of role and database"
            log.warning("restore uses fewer connections than wanted", used=len(sessions), wanted=wanted, reason=reason)
            break
    return sessions


def _require_empty(main: RestoreSession, name: str) -> None:
    first_object = main.connection.execute(_FOUND.encode()).fetchone()
    if first_object is not None:
        making = in_psql("postgres", f"CREATE DATABASE {quoted(f'{name}_new')} TEMPLATE template0")
        message = f"database {name} is not empty: it has {first_object[0]}.{first_object[1]}"
        raise RestoreValidationError(message, f"load into a new database: {making}")


def reset_file_settings(sessions: Sequence[RestoreSession]) -> None:
    """Reset the settings of the file, before statements of this service: none must find the file's functions."""
    for loaded in sessions:
        loaded.run(b"SET client_encoding = 'UTF8'", "a setting")
        loaded.run(b"SET search_path = ''", "a setting")


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    seconds[phase] = round(seconds.get(phase, 0) + time.monotonic() - begun, 3)
