"""Reads small tables that the application often locks, before all others, and releases their locks at once.

pg_dump requests its lock on such a table when another session already waits for ours: pg_dump would wait behind that
session, and that session for us. So no session of ours keeps the lock. The rows are read as soon as there is a
snapshot, and pg_dump, which then only reads the table's definition, may wait like any other session.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

import psycopg
import structlog
from psycopg import sql

from app.archive.index import TableName
from app.errors import BackupError
from app.ports.source import ChangedError, GaveWayError
from app.postgres.database import Database
from app.postgres.dump.exported_snapshot import ExportedSnapshot
from app.postgres.dump.ranges import LargeTable, large_tables
from app.postgres.lock_holders import OtherSession, only_table
from app.postgres.server_facts import DUMPED
from app.postgres.session_settings import READ_ROWS

log = structlog.get_logger(__name__)

EARLY_BYTES = 32 << 20  # of all their rows together, which are held in memory
_PATIENCE_MS = 1_000
_DEFINING = {"ALTER", "CREATE", "DROP"}
# TRUNCATE, which gives a table new files, changes pg_class only. An xmax older than the snapshot's xmin is of a change
# that was rolled back.
_SINCE = "r.xmax::text <> '0' AND age(r.xmax) <= age(pg_snapshot_xmin(pg_current_snapshot())::xid)"
_REDEFINED = " UNION ALL ".join(
    f"SELECT 1 FROM {catalog} r JOIN chosen ON {column} = chosen.oid WHERE {_SINCE}"
    for catalog, column in (
        ("pg_attribute", "attrelid"),
        ("pg_attrdef", "adrelid"),
        ("pg_constraint", "conrelid"),
        ("pg_index", "indrelid"),
        ("pg_policy", "polrelid"),
        ("pg_rewrite", "ev_class"),
        ("pg_trigger", "tgrelid"),
    )
)
_CHOSEN = """
    WITH chosen AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    JOIN unnest(%s::text[], %s::text[]) wanted (schema, name) ON nspname = schema AND relname = name)
    SELECT EXISTS ("""
# For all tables, if none was locked before the snapshot: one that was rewritten since would appear empty.
_ALL = f"""
    WITH chosen AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                    WHERE c.relkind IN ('r', 'p') AND {DUMPED})
    SELECT EXISTS (SELECT 1 FROM pg_class r JOIN chosen ON r.oid = chosen.oid WHERE {_SINCE} UNION ALL {_REDEFINED})"""


@dataclass(slots=True)
class AttemptHistory:
    """What earlier attempts found out for the next one.

    Attributes:
        gave_way: whether one gave way to the application.
        wanted: tables that other sessions waited for; they are read first.
        emptied: those of them that `EarlyReader` reads; none that is altered or dropped, which must wait for pg_dump.
        refused: those that it cannot read.
        lock_table_full: whether the server's lock table had no room for the locks of several sessions.
    """

    gave_way: bool = False
    wanted: set[TableName] = field(default_factory=set)
    emptied: set[TableName] = field(default_factory=set)
    refused: set[TableName] = field(default_factory=set)
    lock_table_full: bool = False

    def note_waiter(self, other: OtherSession) -> None:
        """Note a session that waited for a table, or had locked it."""
        if other.table is None:
            return
        self.wanted.add(other.table)
        if other.kind.split()[0] not in _DEFINING and other.table not in self.refused:
            self.emptied.add(other.table)

    def refuse(self, tables: Collection[TableName]) -> None:
        """Note tables that cannot be read early."""
        self.refused |= set(tables)
        self.emptied -= self.refused


class EarlyReader:
    """The session that reads the tables.

    Attributes:
        history: of earlier attempts; grows.
        held: the tables that it has locked.
    """

    def __init__(self, connection: psycopg.Connection | None, history: AttemptHistory) -> None:
        self.history = history
        self.held: frozenset[TableName] = frozenset()
        self._connection = connection
        self._wanted = frozenset(history.emptied)
        self._read_tables: frozenset[TableName] = frozenset()

    def lock(self) -> None:
        """Lock the tables if that takes no longer than a moment; takes no snapshot yet."""
        if self._connection is None or not self._wanted:
            return
        names = sql.SQL(", ").join(map(only_table, sorted(self._wanted)))
        try:
            self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            self._connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_PATIENCE_MS))
            self._connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(names))
        except psycopg.DatabaseError:
            self.release()  # gone or locked: the dump reads it like any other, and reports the reason if it fails
        else:
            self.held = self._wanted

    def release(self) -> None:
        """End the transaction, and so release the locks."""
        self.held = frozenset()
        if self._connection is not None:
            self._connection.rollback()

    def large_tables(self, connection: psycopg.Connection, snapshot: ExportedSnapshot) -> list[LargeTable]:
        """The tables to read beside pg_dump. Rows of the locked ones are read now, and their locks released.

        Args:
            connection: the snapshot's.
            snapshot: that it exported.

        Raises:
            GaveWayError: the tables cannot be read early; the next attempt reads them like others.
        """
        large = large_tables(connection, self.history.wanted, self.held)
        if not self.held:
            return large
        early = [table for table in large if table.table in self.held]
        # A table of an extension is not among them: only pg_dump knows which of its rows are dumped.
        rows = self._read(early, snapshot) if len(early) == len(self.held) else None
        if rows is None:
            self.history.refuse(self.held)
            listed = ", ".join(sorted(map(str, self.held)))
            raise GaveWayError(f"tables that others want cannot be read early: {listed}", "try again")
        self._read_tables = self.held
        self.release()
        return [replace(table, kept=rows.get(table.table)) for table in large]

    def require_unchanged(self, connection: psycopg.Connection) -> None:
        """Make sure, after pg_dump has its locks, that it describes the tables as they were when their rows were read.

        Raises:
            ChangedError: a table was altered meanwhile.
        """
        tables = sorted(self._read_tables)
        if not tables:
            return
        names = ([table.schema for table in tables], [table.name for table in tables])
        if (row := connection.execute(f"{_CHOSEN}{_REDEFINED})".encode(), names).fetchone()) and row[0]:
            self.history.refuse(tables)
            listed = ", ".join(map(str, tables))
            raise ChangedError(f"one of the tables {listed} was altered while others wanted it", "try again")

    def _read(
        self, tables: Sequence[LargeTable], snapshot: ExportedSnapshot
    ) -> dict[TableName, tuple[bytes, ...]] | None:
        """The rows as COPY text; None if they are too large."""
        connection, bytes_left = self._connection, EARLY_BYTES
        assert connection is not None  # noqa: S101 -- without a connection nothing is locked
        for name, value in (READ_ROWS | {"client_encoding": snapshot.encoding}).items():
            connection.execute(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), value))
        connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot.id))
        rows_of = {}
        for table in tables:
            blocks: list[bytes] = []
            with connection.cursor() as cursor, cursor.copy(table.whole) as rows:
                for block in rows:
                    blocks.append(bytes(block))
                    bytes_left -= len(block)
                    if bytes_left < 0:
                        return None
            rows_of[table.table] = tuple(blocks)
        return rows_of


def require_as_shown(connection: psycopg.Connection) -> None:
    """Make sure that no table was altered or rewritten since the session's snapshot.

    Raises:
        ChangedError: a table was.
    """
    if (row := connection.execute(_ALL.encode()).fetchone()) and row[0]:
        raise ChangedError("a table was altered before pg_dump locked it", "try again when nobody alters tables")


@contextmanager
def early_session(database: Database, history: AttemptHistory) -> Iterator[EarlyReader]:
    """A reader for the length of a block; it does nothing if no table is to be read early, or no session is free."""
    with ExitStack() as stack:
        connection = None
        if history.emptied:
            try:
                connection = stack.enter_context(database.connect())
            except BackupError as error:
                log.debug("backup dump has no session to read tables early", reason=error.message)
        yield EarlyReader(connection, history)
