"""Tells a pooler that gives each transaction another session, as pgbouncer does with pool_mode = transaction.

What is set, locked or exported in a session is then another one's at the next statement: a snapshot is lost, and what
we set for ourselves stays with the application. A pooler that gives a client one session for its life does no harm.

A pooler hands out numbers of its own for cancelling, so a client that is told another pid than its session has talks to
one. Which of the two kinds it is shows when a second client begins a transaction while the first one does nothing: it
gets the first one's session, or another one.

Source: pgbouncer's documentation, "SQL feature map for pooling modes"; its objects.c (cancel keys, idle servers).
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from contextlib import closing

import psycopg
from psycopg.pq import ExecStatus

from app.errors import PoolerError

# A pool may take turns among its idle sessions.
_LOOKS = 20
# A client that gets no session does not get the first one's: the pool is used up, and each client keeps its own.
_WAIT_SECONDS = 2.0


def backend_pid(connection: psycopg.Connection) -> int:
    """Which process of the server a connection talks to; what the driver was told may be a pooler's number."""
    row = connection.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    return int(row[0]) if row else 0


def require_own_session(connection: psycopg.Connection, connect: Callable[[], psycopg.Connection]) -> None:
    """Make sure that a new connection has a session of the server to itself; it sets nothing and leaves nothing.

    Args:
        connection: an autocommitting one that has done nothing yet.
        connect: connects once more in the same way; called only if there is a pooler.

    Raises:
        PoolerError: a pooler shares the sessions among its clients.
        psycopg.Error: the server goes away.
    """
    pid = backend_pid(connection)
    if pid != connection.info.backend_pid and (shares := _shares(connection, pid, connect)):
        message = (
            f"host {connection.info.host or 'localhost'}, port {connection.info.port}, is a connection pooler in "
            f"{shares} mode (pgbouncer: pool_mode = {shares}): it gives each {shares} another session of the server, "
            "which neither a backup nor a restore can work with"
        )
        hint = (
            "write the host and port of the PostgreSQL server itself into DATABASE_URL, or those of a pool with "
            "pool_mode = session"
        )
        raise PoolerError(message, hint)


def _shares(first: psycopg.Connection, pid: int, connect: Callable[[], psycopg.Connection]) -> str | None:
    """What the pooler gives another session to each time; None if a client keeps its own, or nobody can tell."""
    try:
        second = connect()
    except psycopg.OperationalError:
        return None  # as many clients as the pooler takes
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
        except psycopg.errors.ProtocolViolation:  # what pgbouncer says to BEGIN if it pools by statement
            return "statement"
    return None


def _answers(connection: psycopg.Connection, statement: bytes) -> bool:
    """Run a statement that the pooler may let wait for a session; False if it does."""
    raw = connection.pgconn
    raw.send_query(statement)
    raw.flush()
    end = time.monotonic() + _WAIT_SECONDS
    while raw.is_busy():
        left = end - time.monotonic()
        if left <= 0 or not select.select([raw.socket], [], [], left)[0]:
            return False
        raw.consume_input()
    failure: psycopg.Error | None = None
    while (result := raw.get_result()) is not None:
        if result.status == ExecStatus.FATAL_ERROR and failure is None:  # after it, that the connection is closed
            failure = psycopg.errors.error_from_result(result)
    if failure is not None:
        raise failure
    return True
