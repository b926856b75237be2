"""Takes the exported snapshot that all connections of a dump read under.

No lock request of the snapshot's session waits for long: a lock is requested with NOWAIT or a short timeout, and all
are released before a new attempt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import psycopg
from psycopg import sql

from app.archive.index import TableName
from app.errors import BackupCreationError, TableLockedError
from app.postgres.dump.early_reads import EarlyReader
from app.postgres.dump.exported_snapshot import ExportedSnapshot
from app.postgres.lock_holders import (
    CONFLICT_WITH_ACCESS_SHARE,
    OtherSession,
    first_on_tables,
    first_waiter,
    lock_holders,
    only_table,
)
from app.postgres.pooler import backend_pid
from app.postgres.server_facts import DUMPED, dumped_tables
from app.postgres.session_settings import LOCK_WAIT_MS

LOCK_PATIENCE_MS = 1_000  # of one request, before all others: whoever wants the table then waits as long
_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 0.5
_GRACE_SECONDS = 0.02  # a session that creates and drops tables all the time waits to drop one by then
_WARY_LOOKS = 100
_EXPORT = """
    SELECT pg_export_snapshot(), clock_timestamp(), current_setting('server_version'), pg_encoding_to_char(encoding)
    FROM pg_database WHERE datname = current_database()"""
_INSERT_POSITION = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn()::text END"
# Queried after the insert position and before the snapshot. A transaction that had written before that position has
# ended, and is visible, or holds a lock on its xid. If that xid is younger than the last checkpoint, the checkpoint's
# redo position is safe.
_SAFE_POSITION = """
    SELECT CASE WHEN max(age(transactionid)) IS NULL THEN %s::text
                WHEN max(age(transactionid)) <= age(split_part(next_xid, ':', 2)::xid) THEN redo_lsn::text END
    FROM pg_control_checkpoint() LEFT JOIN pg_locks ON locktype = 'transactionid' AND mode = 'ExclusiveLock'
    WHERE NOT pg_is_in_recovery() GROUP BY next_xid, redo_lsn UNION ALL SELECT NULL LIMIT 1"""
# The tables that pg_dump locks, with the partitioned ones above them.
_LOCKED = f"""
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND {DUMPED}"""
# A catalog row that the snapshot sees and that was changed or deleted since has the xid of that transaction in xmax.
_CHANGED = """
    SELECT EXISTS (
        SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN unnest(%s::text[], %s::text[]) wanted (schema, name) ON nspname = schema AND relname = name
        WHERE c.xmax::text <> '0'
           OR EXISTS (SELECT FROM pg_attribute a WHERE attrelid = c.oid AND a.xmax::text <> '0'))"""
_GONE = (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName, psycopg.errors.WrongObjectType)
_BUSY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


@contextmanager
def exported_snapshot(
    connection: psycopg.Connection, early: EarlyReader, *, wary: bool = False, unlocked: bool = False
) -> Iterator[ExportedSnapshot]:
    """An exported snapshot for the length of a block, or until the connection's `rollback`.

    Args:
        connection: one with autocommit that nobody else uses.
        early: locks the tables that this connection must not lock.
        wary: prefer a moment when nobody waits to drop a table that the snapshot shows.
        unlocked: lock nothing, because the lock table has no room; see `early_reads.require_as_shown`.

    Raises:
        TableLockedError: a table stayed locked, or tables were created and dropped too fast.
    """
    # Queries about a table that is not locked, such as its size, wait for whoever has locked it.
    connection.execute(sql.SQL("SET lock_timeout = {}").format(LOCK_PATIENCE_MS))
    snapshot = _SnapshotAttempts(connection, early, wary=wary, unlocked=unlocked).snapshot()
    yield snapshot
    connection.rollback()


class _SnapshotAttempts:
    """Attempts at one snapshot.

    A snapshot that is older than the commit of an ALTER TABLE or TRUNCATE shows the rewritten table as empty
    (PostgreSQL documentation, "Concurrency Control: Caveats"). So tables are locked *before* the transaction takes its
    snapshot, which LOCK does not. A table that was created in between is locked afterwards and must be unchanged.
    """

    def __init__(self, connection: psycopg.Connection, early: EarlyReader, *, wary: bool, unlocked: bool) -> None:
        self._connection = connection
        self._early = early
        self._unlocked = unlocked
        self._contested: set[TableName] = set()
        self._looks = _WARY_LOOKS if wary else 0

    def snapshot(self) -> ExportedSnapshot:
        deadline = time.monotonic() + LOCK_WAIT_MS / 1000
        for number in count(1):
            error_of_attempt: Callable[[], TableLockedError] = self._churn_error
            tables = self._lockable()
            position = _one(self._connection, _SAFE_POSITION, _one(self._connection, _INSERT_POSITION)[0])[0]
            self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            try:
                if not self._unlocked:
                    self._early.lock()
                    self._lock(tables - self._early.held)
                snapshot = self._snapshot_if_unchanged(tables | self._early.held, position)
                if snapshot is not None and not self._has_waiters(snapshot):
                    return snapshot
            except _GONE:
                pass
            except _BUSY:
                error_of_attempt = self._locked_error
            self._connection.rollback()
            self._early.release()
            if time.monotonic() > deadline:
                raise error_of_attempt()
            if error_of_attempt == self._locked_error:
                self._contested = {other.table for other in self._holders() if other.table}
            time.sleep(
                min(_PAUSE_SECONDS * number, _LONGEST_PAUSE_SECONDS) if error_of_attempt == self._locked_error else 0
            )
        raise AssertionError("the loop has no other end")

    def _lockable(self) -> frozenset[TableName]:
        return frozenset(TableName(schema, name) for schema, name in self._connection.execute(_LOCKED.encode()))

    def _lock(self, tables: Collection[TableName]) -> None:
        """Lock tables against being rewritten. Contested tables come first, with a timeout; the others with NOWAIT."""
        first = sorted(self._contested.intersection(tables))
        if first:
            patience = min(LOCK_PATIENCE_MS, LOCK_WAIT_MS)
            self._connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(patience))
            self._lock_all(first, "")
        if others := sorted(self._contested.symmetric_difference(tables).intersection(tables)):
            self._lock_all(others, "NOWAIT")

    def _lock_all(self, tables: Collection[TableName], how: str) -> None:
        names = sql.SQL(", ").join(map(only_table, tables))
        statement = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE {}")
        self._connection.execute(statement.format(names, sql.SQL(how)))

    def _snapshot_if_unchanged(self, locked: frozenset[TableName], position: str | None) -> ExportedSnapshot | None:
        """The snapshot; None if it shows tables that were changed before they could be locked."""
        identifier, taken_at, version, encoding = _one(self._connection, _EXPORT)
        tables = dumped_tables(self._connection)
        seen = self._lockable()
        new = [] if self._unlocked else sorted(seen - locked)
        if new:
            self._lock_all(new, "NOWAIT")
            schemas, names = [table.schema for table in new], [table.name for table in new]
            if _one(self._connection, _CHANGED, schemas, names)[0]:
                return None
        return ExportedSnapshot(
            id=identifier,
            taken_at=taken_at,
            tables=frozenset(tables.values()),
            dumped_as=tables,
            tables_locked=seen,
            server_version=version,
            encoding=encoding,
            wal_position=position,
            unlocked=self._unlocked,
        )

    def _has_waiters(self, snapshot: ExportedSnapshot) -> bool:
        """Whether somebody already waits for the locks: pg_dump would wait behind that session, and so for ever."""
        if self._looks <= 0:
            return False
        self._looks -= 1
        time.sleep(_GRACE_SECONDS)
        return first_waiter(self._connection, [backend_pid(self._connection)], snapshot.taken_at) is not None

    def _holders(self) -> list[OtherSession]:
        return lock_holders(self._connection, CONFLICT_WITH_ACCESS_SHARE)

    def _locked_error(self) -> TableLockedError:
        name = self._connection.info.dbname
        other = first_on_tables(self._holders(), self._lockable())
        if other is None:
            message = f"a table of database {name} stayed locked; the session that had it has ended"
            return TableLockedError(message, "try again")
        return TableLockedError(f"table {other.table} of database {name} stayed locked by {other}", other.hint)

    def _churn_error(self) -> TableLockedError:
        message = (
            f"tables of database {self._connection.info.dbname} are created and dropped faster than they can be locked"
        )
        return TableLockedError(message, "try again when the migration is over")


def _one(connection: psycopg.Connection, query: str, *params: object) -> tuple[Any, ...]:
    row = connection.execute(query.encode(), params or None).fetchone()
    if row is None:
        raise BackupCreationError("the server returned no row about its snapshot")
    return row
