"""Detects a connection pooler that gives each transaction another session, as pgbouncer with pool_mode = transaction.

Behind such a pooler, settings, locks and exported snapshots belong to another client's session at the next statement:
the snapshot is lost, and our settings stay with the application's session. A pooler that gives each client one session
does no harm.

A pooler gives clients its own numbers for cancelling. So if the driver was told another pid than its session has, there
is a pooler. To tell its kind, a second client begins a transaction while the first one is idle: in transaction mode it
may get the first one's session.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import closing

import psycopg
from psycopg.pq import ExecStatus

from app.errors import PoolerError

# A pool may rotate its idle sessions.
_LOOKS = 20
# A client that waits for a session did not get the first one's: the pool is exhausted, and each client keeps its own.
_WAIT_SECONDS = 2.0


def backend_pid(connection: psycopg.Connection) -> int:
    """The pid of the connection's server process. The pid that the driver was told may be a pooler's number."""
    row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0


def require_own_session(connection: psycopg.Connection, connect: Callable[[], psycopg.Connection]) -> None:
    """Make sure that a new connection has its own session of the server. Sets and leaves nothing.

    Args:
        connection: a new one, with autocommit.
        connect: opens another connection in the same way; called only if there is a pooler.

    Raises:
        PoolerError: a pooler shares sessions among its clients.
        psycopg.Error: the server goes away.
    """
    pid = backend_pid(connection)
    if pid != connection.info.backend_pid and (shares := _shares(connection, pid, connect)):
        message = (
            f"host {connection.info.host or 'localhost'}, port {connection.info.port}, is a connection pooler in "
            f"{shares} mode (pgbouncer: pool_mode = {shares}): each {shares} gets another server session, with which "
            "neither backups nor restores work"
        )
        hint = (
            "write the host and port of the PostgreSQL server itself into DATABASE_URL, or those of a pool with "
            "pool_mode = session"
        )
        raise PoolerError(message, hint)


def _shares(first: psycopg.Connection, pid: int, connect: Callable[[], psycopg.Connection]) -> str | None:
    """What gets another session each time, "transaction" or "statement"; None if clients keep their sessions."""
    try:
        second = connect()
    except psycopg.OperationalError:
        return None  # the pooler takes no more clients
    with closing(second):
        try:
            for _ in range(_LOOKS):
                if not _answers(second, b"BEGIN READ ONLY"):
                    return None
                taken = backend_pid(second)
                second.rollback()
                now = backend_pid(first)
                if taken == now or now != pid:
                    return "transaction"
        except psycopg.errors.ProtocolViolation:  # pgbouncer's answer to BEGIN in statement mode
            return "statement"
    return None


def _answers(connection: psycopg.Connection, statement: bytes) -> bool:
    """Run a statement; False if the pooler has no session for it."""
    raw = connection.pgconn
    raw.send_query(statement)
    raw.flush()
    end = time.monotonic() + _WAIT_SECONDS
    while raw.is_busy():
        seconds_left = end - time.monotonic()
        if seconds_left <= 0 or not select.select([raw.socket], [], [], seconds_left)[0]:
            return False
        raw.consume_input()
    failure: psycopg.Error | None = None
    while (result := raw.get_result()) is not None:
        if result.status == ExecStatus.FATAL_ERROR and failure is None:  # a second one says: connection closed
            failure = psycopg.errors.error_from_result(result)
    if failure is not None:
        raise failure
    return True
