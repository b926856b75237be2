"""Asks for strong locks on live tables without holding up those who come after.

A request that waits behind somebody's transaction makes everybody wait who comes later, readers too. So it waits for a
moment only, lets go of all that was locked before it, and is repeated after a pause in which the others get on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from app.errors import RestoreBusyError
from app.postgres.lock_holders import lock_holders
from app.postgres.session import RestoreSession, sqlstate_of
from app.postgres.session_settings import LOCK_WAIT_MS

ATTEMPT_MS = 2_000  # at a time, for all locks together; the application is to be free after 5 s
PAUSE_SECONDS = 0.5
# How long the server waits for this process while it holds locks: one that was suspended holds the application up so
# long and no longer. Then the server ends the session, and nothing is changed.
HELD_IDLE_SECONDS = 60
_LOCK_TIMEOUT = """
    SELECT setting::int FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'lock_timeout'"""
_AGAIN = {"55P03", "40P01"}  # lock not available, deadlock
Done = TypeVar("Done")


def retry_for_locks(session: RestoreSession, what: str, modes: Collection[str], attempt: Callable[[], Done]) -> Done:
    """What an attempt gives that finds all of its locks free; one that does not is undone, and repeated.

    Args:
        session: in a transaction, which goes on, or in none: then each attempt is one.
        what: what to call it in an error.
        modes: of locks that would stand in the way.
        attempt: asks for locks, each with `stretch`'s patience.

    Raises:
        RestoreBusyError: somebody stood in the way all the time; names who.
        RestoreError: as the attempt does.
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
    """Run statements that lock, given with what to call each, within one stretch of patience.

    Raises:
        RestoreBusyError: not all are free.
    """
    row = session.connection.execute(_LOCK_TIMEOUT).fetchone()
    left = row[0] if row else ATTEMPT_MS
    end = time.monotonic() + left / 1000
    for what, statement in statements:
        left = max(1, round((end - time.monotonic()) * 1000))
        with session.translated(what):
            session.connection.execute(f"SET LOCAL lock_timeout = {left}".encode())
            session.connection.execute(statement.encode(), binary=True)


def _named(session: RestoreSession, modes: Collection[str], error: RestoreBusyError) -> RestoreBusyError:
    with session.translated("who holds the lock"), session.catalogs():
        found = lock_holders(session.connection, modes)
    if not found:
        return RestoreBusyError(error.message, error.hint)
    message = f"{error.message}; table {found[0].table} is locked by {found[0]}"
    return RestoreBusyError(message, f"{error.hint}; {found[0].hint}")
