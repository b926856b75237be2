"""Runs a long reading transaction beside the application's sessions, and ends it when one of them waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TypeVar

import psycopg

from app.errors import RestoreBusyError, RestoreError
from app.postgres.database import Database
from app.postgres.dump.watch import LOOK_SECONDS, Pressure
from app.postgres.lock_holders import CONFLICT_WITH_ACCESS_SHARE, OtherSession, first_waiter, lock_holders
from app.postgres.pooler import backend_pid
from app.postgres.session import RestoreSession, as_restore_errors, sqlstate_of

ATTEMPTS = 5
SECONDS = 60.0
_PAUSE_SECONDS = 0.5
_LOCKED = "55P03"
Read = TypeVar("Read")


class _Waiter:
    waiting: OtherSession | None = None


def read_giving_way(database: Database, session: RestoreSession, read: Callable[[], Read]) -> Read:
    """What a transaction reads that nobody had to wait for for long; else it is ended, and begun anew.

    Args:
        database: where it reads.
        session: where it does so.
        read: the whole transaction.

    Raises:
        RestoreBusyError: somebody wanted what it reads each time; names who.
        RestoreError: as `read` does.
    """
    begun = time.monotonic()
    for number in count(1):
        try:
            with _watched(database, session) as found:
                return read()
        except RestoreError as error:
            other = found.waiting
            if other is None and sqlstate_of(error) != _LOCKED:
                raise
            if number >= ATTEMPTS and time.monotonic() - begun >= SECONDS:
                raise _busy(session, other) from error
        time.sleep(_PAUSE_SECONDS)
    raise AssertionError("the loop has no other end")


def retry_while_locked(session: RestoreSession, read: Callable[[], Read]) -> Read:
    """What is read outside of a transaction, where others may hold locks on tables that it names.

    It waits behind them for a short time only, so as to hold nobody up, and again.

    Raises:
        RestoreBusyError: a table stayed locked for a minute; names by whom.
        RestoreError: as `read` does.
    """
    begun = time.monotonic()
    while True:
        try:
            return read()
        except RestoreError as error:
            if sqlstate_of(error) != _LOCKED:
                raise
            if time.monotonic() - begun >= SECONDS:
                raise _busy(session, None) from error
        time.sleep(_PAUSE_SECONDS)


def _busy(session: RestoreSession, other: OtherSession | None) -> RestoreBusyError:
    if other is None:
        with session.translated("who is in the way"), session.catalogs():
            holder = next(iter(lock_holders(session.connection, CONFLICT_WITH_ACCESS_SHARE)), None)
        if holder is None:
            return RestoreBusyError("a table stayed locked; the session that had it has ended", "try again")
        return RestoreBusyError(f"table {holder.table} stayed locked by {holder}", holder.hint)
    return RestoreBusyError(f"{other} wants table {other.table}, so the table cannot be read for long", other.hint)


@contextmanager
def _watched(database: Database, session: RestoreSession) -> Iterator[_Waiter]:
    """Cancel what a session does, for the length of a block, when somebody has waited for it for too long."""
    found, over, pressure = _Waiter(), threading.Event(), Pressure()
    with session.translated("its process"):
        pid = backend_pid(session.connection)
    with as_restore_errors(), database.connect() as watcher:

        def work() -> None:
            while not over.wait(LOOK_SECONDS):
                try:
                    if other := pressure.too_much(first_waiter(watcher, [pid], None)):
                        found.waiting = other
                        watcher.execute("SELECT pg_cancel_backend(%s)", (pid,))  # again, where it was not at work
                except psycopg.Error:
                    return  # the block meets the same server, and says what became of it

        thread = threading.Thread(target=work, name="restore-watch", daemon=True)
        thread.start()
        try:
            yield found
        finally:
            over.set()
            thread.join()
