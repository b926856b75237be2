"""Watches a dump: that all its programs run, and that it gives way before the application has waited for too long.

A session that wants to rewrite or drop a table waits while the dump has the table locked, and every later session,
readers too, waits behind it. If a session of ours is among those, nobody would ever go on: the server does not know
that our sessions wait for one another, and so sees no deadlock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

import psycopg

from app.errors import BackupCreationError, ServerUnavailableError
from app.ports.source import GaveWayError
from app.postgres.causes import known_cause
from app.postgres.lock_holders import OtherSession, first_waiter
from app.postgres.pooler import backend_pid
from app.postgres.programs import ProgramError
from app.postgres.server_messages import message_of

GIVE_WAY_SECONDS = 2.0
# The application must be free after 5 s: the wait, a look, and the end of our sessions together.
LOOK_SECONDS = 0.25
_FIRST_LOOK_SECONDS = 0.05  # while sessions of ours still ask for locks


class Pressure:
    """How long other sessions have waited, one after the other: some give up after a second and retry at once."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._looked = time.monotonic()

    def too_much(self, waiter: tuple[OtherSession, float] | None) -> OtherSession | None:
        """The session that has waited for too long, given who waits now; None if none has."""
        now = time.monotonic()
        passed, self._looked = now - self._looked, now
        self._seconds = max(0.0, self._seconds + (passed if waiter else -passed))
        if waiter is None:
            return None
        other, waited = waiter
        return other if max(waited, self._seconds / 2) >= GIVE_WAY_SECONDS else None


class Watch:
    """A thread that looks for waiting sessions, for the length of a block.

    Args:
        connection: the session that has the locks at first. Other threads run only short queries on it.
        since: when the snapshot was taken.
        give_way: ends our other sessions; called once, by this thread.
        died: returns the error of a program that ended before its time; None if all run.

    Attributes:
        death: that error. The other programs would go on for long before anybody noticed.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        since: datetime,
        give_way: Callable[[], None],
        died: Callable[[], ProgramError | None] = lambda: None,
    ) -> None:
        self.pids = [backend_pid(connection)]
        self.waiting: OtherSession | None = None
        self._connection = connection
        self._since = since
        self._give_way = give_way
        self._died = died
        self.death: ProgramError | None = None
        self._failure: psycopg.Error | None = None
        self._released = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="backup-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def release(self) -> None:
        """End the transaction of the snapshot's session: the other sessions have their locks now."""
        self._released = True
        self._connection.rollback()

    def cause(self) -> BackupCreationError | None:
        """The error for the end of the dump; None if the watch did not end it."""
        if self.waiting is not None:
            where = f" for table {self.waiting.table}" if self.waiting.table else ""
            return GaveWayError(f"the dump stood in the way of {self.waiting}, which waited{where}", self.waiting.hint)
        if self._failure is not None:
            info = self._connection.info
            if cause := known_cause(str(self._failure), info.dbname, self._failure, role=info.user):
                return cause
            message = f"the connection that holds the snapshot was lost: {message_of(self._failure)}"
            return ServerUnavailableError(message, "see the server's log; nothing of this dump was kept")
        return None

    def _work(self) -> None:
        pressure = Pressure()
        while not self._ended.wait(LOOK_SECONDS if self._released else _FIRST_LOOK_SECONDS):
            try:
                self.waiting = pressure.too_much(first_waiter(self._connection, self.pids, self._since))
            except psycopg.errors.OutOfMemory as error:
                if not self._released:  # then the transaction of the snapshot is gone
                    self._failure = error
            except psycopg.Error as error:
                self._failure = error
            if self._released:  # before, the thread that starts a program waits for it
                self.death = self._died()
            if self.waiting is not None or self._failure is not None or self.death is not None:
                break
        else:
            return
        self._give_way()
        if self._failure is None:
            try:
                self._connection.rollback()
            except psycopg.Error as error:
                self._failure = error
