"""Takes the snapshot that a dump reads: exported, so that any number of connections see the same instant."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from app.archive.index import TableName
from app.errors import BackupCreationError, TableLockedError
from app.postgres.facts import dumped_tables

LOCK_WAIT_MS = 60_000
FIND_LOCK = "find the session in pg_locks; try again when it has ended"
_ATTEMPTS = 5
# Long transactions are what these exist to end, and a snapshot is one.
_LIMITS = (
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "transaction_timeout",
)
_EXPORT = """
    SELECT pg_export_snapshot(), clock_timestamp(), current_setting('server_version'), pg_encoding_to_char(encoding)
    FROM pg_database WHERE datname = current_database()"""
_INSERT_POSITION = "SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_current_wal_insert_lsn()::text END"
# Asked after the position and before the snapshot. Who had written by then has ended, and is seen, or holds its own xid
# locked; where it is younger than the last checkpoint, that one's position will do.
_SAFE_POSITION = """
    SELECT CASE WHEN max(age(transactionid)) IS NULL THEN %s::text
                WHEN max(age(transactionid)) <= age(split_part(next_xid, ':', 2)::xid) THEN redo_lsn::text END
    FROM pg_control_checkpoint() LEFT JOIN pg_locks ON locktype = 'transactionid' AND mode = 'ExclusiveLock'
    WHERE NOT pg_is_in_recovery() GROUP BY next_xid, redo_lsn UNION ALL SELECT NULL LIMIT 1"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A snapshot that a connection keeps exported.

    Attributes:
        id: what other connections call it.
        taken_at: the instant, by the server's clock.
        tables: every table whose rows a complete dump must carry, by the name that the dump gives them under.
        server_version: as the server says it: ``18.6``.
        encoding: of the database: ``UTF8``.
        wal_position: where no transaction that the snapshot cannot see had written before: ``0/1A2B3C4D``. None where
            that is not known: an old transaction is open, or the server is a standby.
    """

    id: str
    taken_at: datetime
    tables: frozenset[TableName]
    server_version: str
    encoding: str
    wal_position: str | None


@contextmanager
def exported(connection: psycopg.Connection) -> Iterator[Exported]:
    """Hold an instant of the database open for the length of a block.

    Raises:
        TableLockedError: a table stayed locked, or tables came and went too fast.
    """
    for name in time_limits(connection):
        connection.execute(sql.SQL("SET {} = 0").format(sql.Identifier(name)))
    for _ in range(_ATTEMPTS):
        before = dumped_tables(connection)
        position = _one(connection, _SAFE_POSITION, _one(connection, _INSERT_POSITION)[0])[0]
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            if not _lock(connection, before):
                continue
            identifier, taken_at, version, encoding = _one(connection, _EXPORT)
            tables = dumped_tables(connection)
            if tables.keys() <= before.keys():
                yield Exported(
                    id=identifier,
                    taken_at=taken_at,
                    tables=frozenset(tables.values()),
                    server_version=version,
                    encoding=encoding,
                    wal_position=position,
                )
                return
    message = f"tables of database {connection.info.dbname} are made and dropped faster than they can be locked"
    raise TableLockedError(message, "try again when the migration is over")


def time_limits(connection: psycopg.Connection) -> list[str]:
    """The settings of this server that would end a long transaction."""
    known = connection.execute("SELECT name FROM pg_settings WHERE name = ANY(%s) ORDER BY name", [list(_LIMITS)])
    return [name for (name,) in known.fetchall()]


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
        raise TableLockedError(message, FIND_LOCK) from error
    return True


def _one(connection: psycopg.Connection, query: str, *params: object) -> tuple[Any, ...]:
    row = connection.execute(query.encode(), params or None).fetchone()
    if row is None:
        raise BackupCreationError("the server did not say what its snapshot is")
    return row
