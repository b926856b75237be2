"""Dumps a database under one exported snapshot.

`_Snapshot.dump_into` is where a parallel dump belongs: any number of connections can see this snapshot, and the archive
takes pieces from whoever read them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime

import psycopg
import structlog
from psycopg import sql

from app.archive.index import TableName
from app.archive.manifest import ServerFacts
from app.archive.scanner import scan
from app.archive.writer import ArchiveWriter
from app.errors import BackupCreationError, BackupReadError, ServerUnavailableError, TableLockedError
from app.postgres import facts as questions
from app.postgres.binaries import find_binary
from app.postgres.database import Database
from app.postgres.programs import Program, ProgramError, running

log = structlog.get_logger(__name__)
LOCK_WAIT_MS = 60_000
_FIND_LOCK = "find the session in pg_locks; try again when it has ended"
_SNAPSHOT_ATTEMPTS = 5
_GONE = re.compile(
    r"server closed the connection|terminating connection|connection to server .* failed|no connection to the server"
)
# pg_dump sets its --lock-wait-timeout as the timeout of the LOCK statement.
_BLOCKED = re.compile(r"canceling statement due to (?:lock|statement) timeout")
# Long transactions are what these exist to end, and a snapshot is one.
_UNLIMITED = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "transaction_timeout",
)


class PostgresSource:
    """A PostgreSQL database as the source of an archive: see `app.archive.source.Source`."""

    def __init__(self, database: Database) -> None:
        self.database = database.name
        self._database = database

    def facts(self) -> ServerFacts:
        """What the server and the database are."""
        with self._database.connect() as connection:
            return questions.server_facts(connection)

    def dump_program_version(self, facts: ServerFacts) -> str:
        """Version of the pg_dump that fits the server."""
        return find_binary("pg_dump", facts.version).version

    def unreadable(self) -> list[str]:
        """What the role may not read, each with the reason."""
        with self._database.connect() as connection:
            return questions.unreadable(connection)

    @contextmanager
    def snapshot(self) -> Iterator[_Snapshot]:
        """Hold an instant of the database open for the length of a block."""
        with self._database.connect() as connection:
            _lift_limits(connection)
            for _ in range(_SNAPSHOT_ATTEMPTS):
                locked = questions.dumped_tables(connection)
                with connection.transaction():
                    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                    if not _lock(connection, locked):
                        continue
                    snapshot = _Snapshot(self._database, connection)
                    if snapshot.tables <= locked:
                        yield snapshot
                        return
            message = f"tables of database {self.database} are made and dropped faster than they can be locked"
            raise TableLockedError(message, "try again when the migration is over")


def _lock(connection: psycopg.Connection, tables: Collection[TableName]) -> bool:
    """Lock tables against being rewritten, *before* the transaction takes its snapshot; False where one is gone by now.

    A snapshot that is older than the commit of an ALTER TABLE or TRUNCATE shows the rewritten table as empty:
    PostgreSQL documentation, "Concurrency Control: Caveats". LOCK takes no snapshot, so this order rules that out.
    """
    if not tables:
        return True
    names = sql.SQL(", ").join(sql.SQL("ONLY {}").format(sql.Identifier(*table)) for table in sorted(tables))
    try:
        with connection.transaction():
            connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(LOCK_WAIT_MS))
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.WrongObjectType):
        return False
    except psycopg.errors.LockNotAvailable as error:
        message = f"a table of database {connection.info.dbname} stayed locked: {error}"
        raise TableLockedError(message, _FIND_LOCK) from error
    return True


class _Snapshot:
    """A snapshot that its connection keeps exported: see `app.archive.source.Snapshot`."""

    taken_at: datetime
    tables: frozenset[TableName]

    def __init__(self, database: Database, connection: psycopg.Connection) -> None:
        row = connection.execute(
            "SELECT pg_export_snapshot(), clock_timestamp(), current_setting('server_version')"
        ).fetchone()
        if row is None:
            raise BackupCreationError("the server exported no snapshot")
        self._id, self.taken_at, self._server_version = row
        self.tables = questions.dumped_tables(connection)
        self._database = database
        self._connection = connection

    def dump_into(self, archive: ArchiveWriter) -> None:
        """Write everything that the snapshot shows; one pg_dump feeds the whole archive, cut by the scanner."""
        program = find_binary("pg_dump", self._server_version)
        argv = pg_dump_arguments(program.path, self._database, self._id)
        log.debug("backup dump begins", command=argv)
        with running(argv, self._database.environment(os.environ)) as dump:
            try:
                archive.add(scan(dump.blocks()))
            except BackupReadError:
                if dump.closed_output:
                    self._check(dump)  # the text broke off: pg_dump knows why
                raise
            self._check(dump)
            if said := dump.error_tail():
                log.warning("backup dump has remarks", pg_dump=said)

    def _check(self, dump: Program) -> None:
        try:
            dump.check()
        except ProgramError as error:
            raise self._cause(error) from error

    def _cause(self, error: ProgramError) -> BackupCreationError:
        """What a failed pg_dump means: a server or connection that went away, a lock, or something lasting."""
        if _GONE.search(error.message) or not self._alive():
            message = f"the connection to database {self._database.name} was lost during the dump: {error.message}"
            return ServerUnavailableError(message, "see the server's log; nothing of this dump was kept")
        if _BLOCKED.search(error.message):
            message = f"a table of database {self._database.name} stayed locked: {error.message}"
            return TableLockedError(message, _FIND_LOCK)
        return BackupCreationError(f"the dump of database {self._database.name} failed: {error.message}")

    def _alive(self) -> bool:
        try:
            self._connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


def pg_dump_arguments(program: str, database: Database, snapshot: str) -> list[str]:
    """The argument list of a dump; it holds no secret."""
    return [
        program,
        f"--dbname={database.conninfo}",
        "--format=plain",
        "--no-password",
        f"--lock-wait-timeout={LOCK_WAIT_MS}",
        f"--snapshot={snapshot}",
    ]


def _lift_limits(connection: psycopg.Connection) -> None:
    """Switch off every time limit that this server knows."""
    known = connection.execute("SELECT name FROM pg_settings WHERE name = ANY(%s)", [list(_UNLIMITED)])
    for (name,) in known.fetchall():
        connection.execute(sql.SQL("SET {} = 0").format(sql.Identifier(name)))
