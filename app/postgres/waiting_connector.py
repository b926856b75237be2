"""Connects to a database that may be missing for a moment, while a restore puts another one in its place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import psycopg

from app.errors import DatabaseMissingError
from app.postgres.database import Database

_SECONDS = 3.0  # enough for two renames by hand; a restore does both in one transaction
_POLL_SECONDS = 0.1
Answer = TypeVar("Answer")


class WaitingConnector:
    """Connects to a database, and waits for it once if it is missing; later calls fail at once if it stays missing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._end: float | None = None

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """A connection for the length of a block.

        Raises:
            DatabaseMissingError: there is no such database, also after the wait.
            BackupError: as `Database.connect`.
        """
        with ExitStack() as stack:
            yield self._connect(stack)

    def query(self, question: Callable[[psycopg.Connection], Answer]) -> Answer:
        """The result of a function that gets a connection.

        Raises:
            BackupError: as `connect`.
        """
        with self.connect() as connection:
            return question(connection)

    def _connect(self, stack: ExitStack) -> psycopg.Connection:
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
