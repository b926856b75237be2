"""Waits a little for a database that does not exist: a restore may be putting another in its place just now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import psycopg

from app.errors import DatabaseMissingError
from app.postgres.database import Database

_SECONDS = 3.0  # two renames by hand, one after the other; those of a restore are one transaction
_POLL_SECONDS = 0.1
Answer = TypeVar("Answer")


class WaitingConnector:
    """Connects to a database; one that is missing is waited for, once: what was missing then is missing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._end: float | None = None

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """A connection for the length of a block.

        Raises:
            DatabaseMissingError: there is no such database, and it did not come.
            BackupError: as `Database.connect`.
        """
        with ExitStack() as stack:
            yield self._entered(stack)

    def query(self, question: Callable[[psycopg.Connection], Answer]) -> Answer:
        """What a question to the database is answered.

        Raises:
            BackupError: as `connect`.
        """
        with self.connect() as connection:
            return question(connection)

    def _entered(self, stack: ExitStack) -> psycopg.Connection:
        while True:
            try:
                connection = stack.enter_context(self._database.connect())
            except DatabaseMissingError:
                now = time.monotonic()
                self._end = self._end or now + _SECONDS
                if now >= self._end:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                self._end = None
                return connection
