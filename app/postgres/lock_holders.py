"""Sessions that wait for our locks, and sessions that hold or want locks that we wait for.

They are named by pid, application and kind of statement, never by the statement's text, which may hold values.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any

import psycopg
from psycopg import sql

from app.archive.index import TableName
from app.domain.psql import in_psql

# Lock modes that conflict with a mode: PostgreSQL documentation, "Conflicting Lock Modes".
_WRITERS = ("RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock")
CONFLICT_WITH_ACCESS_SHARE = ("AccessExclusiveLock",)
CONFLICT_WITH_SHARE_ROW_EXCLUSIVE = (*_WRITERS, "AccessExclusiveLock")
CONFLICT_WITH_ACCESS_EXCLUSIVE = ("AccessShareLock", "RowShareLock", *_WRITERS, "AccessExclusiveLock")
# Cut by the server, so that a long statement is not transferred for its first words.
_SAID = "left(a.query, 300)"
# Within a transaction, pg_stat_activity shows the sessions as of its first query.
_ANEW = "SELECT pg_stat_clear_snapshot()"
# The pid of pg_dump's session is not known: it is one with that application name, started after our snapshot. A
# stranger's pg_dump makes us give way without need, rarely, and is not ended.
_OURS = """
    ours AS (SELECT array_agg(pid) AS pids FROM pg_stat_activity
             WHERE pid = ANY (%(pids)s) OR application_name = 'pg_dump' AND backend_start >= %(since)s::timestamptz
                   AND datname = current_database() AND usename = session_user)"""
_WAITING = f"""
    WITH {_OURS},
    waiting AS (SELECT pid, relation, waitstart, pg_blocking_pids(pid) AS behind
                FROM pg_locks WHERE NOT granted AND locktype = 'relation')
    SELECT n.nspname, c.relname, w.pid, NULL, a.application_name, {_SAID},
           coalesce(extract(epoch FROM clock_timestamp() - waitstart), 0)::float8,
           EXISTS (SELECT FROM waiting o WHERE o.pid = ANY (pids) AND w.pid = ANY (o.behind)) AS for_ever
    FROM waiting w CROSS JOIN ours LEFT JOIN pg_stat_activity a ON a.pid = w.pid
        LEFT JOIN pg_class c ON c.oid = w.relation LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT w.pid = ANY (pids) AND behind && pids
    ORDER BY for_ever DESC, waitstart LIMIT 1"""
# A prepared transaction has no process. It holds a lock on its own transaction id.
_HOLDING = f"""
    SELECT n.nspname, c.relname, l.pid, p.gid, a.application_name, {_SAID}
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_stat_activity a ON a.pid = l.pid
        LEFT JOIN pg_locks own ON l.pid IS NULL AND own.pid IS NULL AND own.locktype = 'transactionid'
                                  AND own.virtualtransaction = l.virtualtransaction
        LEFT JOIN pg_prepared_xacts p ON p.transaction = own.transactionid
    WHERE l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND l.mode = ANY (%s) AND l.pid IS DISTINCT FROM pg_backend_pid() AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
      AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    ORDER BY l.granted DESC, c.relkind IN ('r', 'p') DESC, a.xact_start LIMIT 50"""
_COMMENT = r"(?:\s|--[^\n]*(?:\n|\Z)|/\*[^*]*\*+(?:[^/*][^*]*\*+)*/)*"
_TWO_WORDS = r"(?:ALTER|CREATE|DROP|REFRESH|REINDEX|LOCK|COMMENT|DETACH)\s+(?:MATERIALIZED\s+VIEW|[A-Z]+)"
_ONE_WORD = (
    r"ANALYZE|BEGIN|CALL|CLUSTER|COMMIT|COPY|DELETE|DO|EXECUTE|FETCH|GRANT|INSERT|MERGE|PREPARE|REVOKE|ROLLBACK|SAVEPOINT"
    r"|SELECT|SET|SHOW|START|TRUNCATE|UPDATE|VACUUM|WITH"
)
_KIND = re.compile(rf"{_COMMENT}({_TWO_WORDS}|{_ONE_WORD})\b", re.IGNORECASE)
# Words that may follow the first word of a statement and are no name.
_OBJECT = re.compile(
    "AGGREGATE|DATABASE|DEFAULT|DOMAIN|EXTENSION|FOREIGN|FUNCTION|INDEX|MATERIALIZED VIEW|OWNED|POLICY|PROCEDURE"
    "|PUBLICATION|ROLE|ROUTINE|RULE|SCHEMA|SEQUENCE|SUBSCRIPTION|SYSTEM|TABLE|TABLESPACE|TEMP|TEMPORARY|TRIGGER|TYPE"
    "|UNIQUE|UNLOGGED|USER|VIEW"
)


@dataclass(frozen=True, slots=True)
class OtherSession:
    """A session or a prepared transaction of somebody else.

    Attributes:
        table: that it waits for or has locked; None if its name is not known here.
        pid: of its process; None for a prepared transaction.
        prepared: the name of a prepared transaction.
        application: its application_name.
        kind: of its current or last statement.
    """

    table: TableName | None
    pid: int | None
    prepared: str | None
    application: str
    kind: str

    def __str__(self) -> str:
        if self.pid is None:
            return f"prepared transaction {self.prepared or '?'}"
        application = f"application {self.application}, " if self.application else ""
        return f"pid {self.pid} ({application}{self.kind})"

    @property
    def hint(self) -> str:
        """A hint: how to look at the session."""
        if self.pid is None:
            return "see pg_prepared_xacts; COMMIT PREPARED or ROLLBACK PREPARED ends it; then try again"
        query = f"SELECT pid, usename, state, xact_start, query FROM pg_stat_activity WHERE pid = {self.pid}"
        return f"{in_psql('postgres', query)}; try again when it has ended"


def statement_kind(statement: str | None) -> str:
    """The kind of a statement: ``ALTER TABLE``. It holds no name."""
    match = _KIND.match(statement or "")
    if match is None:
        return "a statement that is not shown"
    verb, *object_words = match[1].upper().split()
    return " ".join([verb, *object_words]) if _OBJECT.fullmatch(" ".join(object_words)) else verb


def first_waiter(
    connection: psycopg.Connection, pids: Collection[int], since: datetime | None
) -> tuple[OtherSession, float] | None:
    """The session that waits longest for a lock of these sessions, and its seconds.

    If one of our sessions waits behind a session that waits for us, that one is returned with infinite seconds: nobody
    would ever go on.

    Args:
        connection: asks.
        pids: of our sessions.
        since: when our pg_dump may have started at the earliest; None without a pg_dump.
    """
    connection.execute(_ANEW)
    row = connection.execute(_WAITING.encode(), {"pids": list(pids), "since": since}).fetchone()
    if row is None:
        return None
    *other, seconds, deadlocked = row
    return _other(tuple(other)), inf if deadlocked else seconds


def lock_holders(connection: psycopg.Connection, modes: Collection[str]) -> list[OtherSession]:
    """Sessions that hold or want a lock in one of the modes on a table, view or sequence; holders come first."""
    connection.execute(_ANEW)
    return [_other(row) for row in connection.execute(_HOLDING.encode(), [list(modes)])]


def first_on_tables(sessions: Collection[OtherSession], tables: Collection[TableName]) -> OtherSession | None:
    """The first of the sessions that is about one of the tables."""
    return next((session for session in sessions if session.table in tables), None)


def only_table(name: TableName) -> sql.Composed:
    """A table without its children, for LOCK."""
    return sql.SQL("ONLY {}").format(sql.Identifier(*name))


def _other(row: tuple[Any, ...]) -> OtherSession:
    schema, name, pid, prepared, application, statement = row
    table = TableName(schema, name) if schema is not None and name is not None else None
    return OtherSession(table, pid, prepared, application or "", statement_kind(statement))
