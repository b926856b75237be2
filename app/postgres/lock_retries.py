"""Takes strong locks on live tables without blocking the application.

A lock request that waits behind a transaction blocks everybody who comes later, readers too. So a request waits for a
short time, releases all locks that were granted before it, and is repeated after a pause in which the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from app.errors import RestoreBusyError
from app.postgres.lock_holders import lock_holders
from app.postgres.session import RestoreSession, sqlstate_of
from app.postgres.session_settings import LOCK_WAIT_MS

ATTEMPT_MS = 2_000  # of one attempt, for all locks together; the application must be free after 5 s
PAUSE_SECONDS = 0.5
# If this process is suspended while it holds locks, the server ends the session after this time, and nothing is
# changed: the application is blocked no longer than that.
HELD_IDLE_SECONDS = 60
_LOCK_TIMEOUT = """
    SELECT setting::int FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'lock_timeout'"""
_AGAIN = {"55P03", "40P01"}  # lock not available, deadlock
Done = TypeVar("Done")


def retry_for_locks(session: RestoreSession, what: str, modes: Collection[str], attempt: Callable[[], Done]) -> Done:
    """The result of the first attempt that gets all its locks; an attempt that does not is rolled back and repeated.

    Args:
        session: if it is in a transaction, each attempt is a savepoint; else a transaction.
        what: name of the attempt in an error message.
        modes: of locks that conflict with the attempt's.
        attempt: takes locks, and waits at most `ATTEMPT_MS` for them.

    Raises:
        RestoreBusyError: the locks were not free for `LOCK_WAIT_MS`; names a session that has them.
        RestoreError: as the attempt raises it.
    """
    deadline = time.monotonic() + LOCK_WAIT_MS / 1000
    while True:
        try:
            with session.transaction(what):
                session.connection.execute(f"SET LOCAL lock_timeout = {min(ATTEMPT_MS, LOCK_WAIT_MS)}".encode())
                idle = f"SET LOCAL idle_in_transaction_session_timeout = '{HELD_IDLE_SECONDS}s'"
                session.connection.execute(idle.encode())
                return attempt()
        except RestoreBusyError as error:
            if sqlstate_of(error) not in _AGAIN:
                raise
            if time.monotonic() >= deadline:
                raise _named(session, modes, error) from error
        time.sleep(PAUSE_SECONDS)


def lock_all(session: RestoreSession, statements: Iterable[tuple[str, str]]) -> None:
    """Run LOCK statements, each given with its name for error messages, within the timeout of one attempt.

    Raises:
        RestoreBusyError: a lock is not free.
    """
    row = session.connection.execute(_LOCK_TIMEOUT).fetchone()
    remaining_ms = row[0] if row else ATTEMPT_MS
    end = time.monotonic() + remaining_ms / 1000
    for what, statement in statements:
        remaining_ms = max(1, round((end - time.monotonic()) * 1000))
        with session.translated(what):
            session.connection.execute(f"SET LOCAL lock_timeout = {remaining_ms}".encode())
            session.connection.execute(statement.encode(), binary=True)


def _named(session: RestoreSession, modes: Collection[str], error: RestoreBusyError) -> RestoreBusyError:
    with session.translated("the holders of the lock"), session.catalogs():
        holders = lock_holders(session.connection, modes)
    if not holders:
        return RestoreBusyError(error.message, error.hint)
    message = f"{error.message}; table {holders[0].table} is locked by {holders[0]}"
    return RestoreBusyError(message, f"{error.hint}; {holders[0].hint}")
