"""Runs a long reading transaction, and cancels it if a session of the application has waited for it for too long."""

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
    """The result of a reading transaction. If another session waits for it for too long, it is cancelled and repeated.

    Args:
        database: the session's.
        session: runs the transaction.
        read: the whole transaction.

    Raises:
        RestoreBusyError: each attempt was in the way of another session; names one.
        RestoreError: as `read` raises it.
    """
    begun = time.monotonic()
    for number in count(1):
        try:
            with _cancelled_for_waiters(database, session) as waiter:
                return read()
        except RestoreError as error:
            other = waiter.waiting
            if other is None and sqlstate_of(error) != _LOCKED:
                raise
            if number >= ATTEMPTS and time.monotonic() - begun >= SECONDS:
                raise _busy(session, other) from error
        time.sleep(_PAUSE_SECONDS)
    raise AssertionError("the loop has no other end")


def retry_while_locked(session: RestoreSession, read: Callable[[], Read]) -> Read:
    """The result of a read outside of a transaction, of tables that other sessions may have locked.

    Each attempt waits for a short time only, so that nobody queues behind it.

    Raises:
        RestoreBusyError: a table stayed locked for a minute; names the session that has it.
        RestoreError: as `read` raises it.
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
        with session.translated("the holders of the lock"), session.catalogs():
            holder = next(iter(lock_holders(session.connection, CONFLICT_WITH_ACCESS_SHARE)), None)
        if holder is None:
            return RestoreBusyError("a table stayed locked; the session that had it has ended", "try again")
        return RestoreBusyError(f"table {holder.table} stayed locked by {holder}", holder.hint)
    return RestoreBusyError(f"{other} wants table {other.table}, so the table cannot be read for long", other.hint)


@contextmanager
def _cancelled_for_waiters(database: Database, session: RestoreSession) -> Iterator[_Waiter]:
    """A block in which the session's statement is cancelled if another session has waited for it for too long."""
    waiter, ended, pressure = _Waiter(), threading.Event(), Pressure()
    with session.translated("the session's pid"):
        pid = backend_pid(session.connection)
    with as_restore_errors(), database.connect() as watcher:

        def work() -> None:
            while not ended.wait(LOOK_SECONDS):
                try:
                    if other := pressure.too_much(first_waiter(watcher, [pid], None)):
                        waiter.waiting = other
                        watcher.execute("SELECT pg_cancel_backend(%s)", (pid,))  # again: it may be between statements
                except psycopg.Error:
                    return  # the block has a connection to the same server, and reports the error

        thread = threading.Thread(target=work, name="restore-watch", daemon=True)
        thread.start()
        try:
            yield waiter
        finally:
            ended.set()
            thread.join()
