"""Watches that all of a dump is at work, and holds nobody up: it gives way before the application waits for too long.

A session that wants to rewrite or drop a table waits while the dump has it locked, and whoever comes after it, be it
to read, waits behind it. Some of ours may be among those: then nobody would ever go on, and the server, which does not
know that our sessions wait for one another, sees no deadlock.
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
# The application must be free after 5 s: the wait, a look, and the end of our sessions.
LOOK_SECONDS = 0.25
_FIRST_LOOK_SECONDS = 0.05  # while sessions of ours still ask for locks


class Pressure:
    """How long others have waited, one after the other: some give up after a second, and come back at once."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._looked = time.monotonic()

    def too_much(self, found: tuple[OtherSession, float] | None) -> OtherSession | None:
        """Who has waited for too long, now that somebody is found waiting, or nobody."""
        now = time.monotonic()
        passed, self._looked = now - self._looked, now
        self._seconds = max(0.0, self._seconds + (passed if found else -passed))
        if found is None:
            return None
        other, waited = found
        return other if max(waited, self._seconds / 2) >= GIVE_WAY_SECONDS else None


class Watch:
    """A thread that looks who waits, for the length of a block.

    Args:
        connection: the session that has the locks at first; nobody else asks it anything that takes long.
        since: when it took its snapshot.
        give_way: ends the other sessions; called by another thread, once.
        died: with what a program that the dump needs has ended, before its time.

    Attributes:
        death: with what one has. The others would go on for long before anybody missed it.
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
        self._calm = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="backup-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def release(self) -> None:
        """End the transaction of the snapshot's own session: the others have their locks now."""
        self._calm = True
        self._connection.rollback()

    def cause(self) -> BackupCreationError | None:
        """Why the dump was ended; None where it was not ended by the watch."""
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
        while not self._over.wait(LOOK_SECONDS if self._calm else _FIRST_LOOK_SECONDS):
            try:
                self.waiting = pressure.too_much(first_waiter(self._connection, self.pids, self._since))
            except psycopg.errors.OutOfMemory as error:
                if not self._calm:  # then the transaction of the snapshot is gone
                    self._failure = error
            except psycopg.Error as error:
                self._failure = error
            if self._calm:  # before, whoever starts a program waits for it
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
