"""The one connection that a merge works through: its temporary tables are seen by no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from app.errors import RestoreDataError, RestoreError
from app.postgres.configured_path import CONFIGURED_PATH
from app.postgres.database import Database
from app.postgres.lock_retries import ATTEMPT_MS
from app.postgres.quoting import literal
from app.postgres.search_path_hints import merge_hint
from app.postgres.session import RestoreSession, as_restore_errors
from app.postgres.session_settings import MERGE

_SOUND = (psycopg.pq.TransactionStatus.IDLE, psycopg.pq.TransactionStatus.INTRANS)
_SET_PATH = "SELECT pg_catalog.set_config('search_path', {}, false)"
# Triggers that are made for another role would fire, and are not held still.
_ORIGIN = """
    SELECT set_config(name, 'origin', false) FROM pg_settings
    WHERE name = 'session_replication_role' AND setting <> 'origin'"""


class MergeSession(RestoreSession):
    """A session that asks and tells in text of our own, under the search_path that database and role have.

    What belongs to live tables is evaluated so: checks, indexes, generated columns. See `merge_sql`.

    Their time zone is taken too: the value of a timestamp is not told by it, but a check may be.

    Attributes:
        path: that search_path.
        zone: that time zone.
    """

    path = ""
    zone = "UTC"
    lost_hint = "see the server's log; 'residency-backup check' says whether it was done"
    constraint_hint = None

    def execute(self, statement: str, what: str) -> int:
        """Run one statement; returns how many rows it touched.

        Raises:
            RestoreError: the server refuses it or goes away.
        """
        sent = statement.encode()
        with self.without_event_triggers(sent, what), self.translated(what):
            # Binary asks for the protocol that takes one statement and no more.
            return self.connection.execute(sent, binary=True).rowcount

    def read(self, statement: str, take: Callable[[bytes], object], what: str) -> None:
        """Take what a COPY statement gives.

        Raises:
            RestoreError: as `execute`.
        """
        with self.translated(what), self.connection.cursor() as cursor, cursor.copy(statement.encode()) as blocks:
            for block in blocks:
                take(bytes(block))

    @contextmanager
    def rolled_back(self, what: str) -> Iterator[None]:
        """A transaction that is rolled back at its end: whatever was called in it, nothing of it stays."""
        with self.translated(what), self.connection.transaction(force_rollback=True):
            yield

    def search_path_hint(self, function: str) -> str:
        """What to do about a function that does not find what it names."""
        return merge_hint(function, self.path, self._database)

    def other_error(self, message: str) -> RestoreError:
        """The error where the server's code says nothing more."""
        return RestoreDataError(message, "nothing was changed; the message is the server's")

    def query(self, query: str, what: str) -> list[tuple[Any, ...]]:
        """The rows of one query.

        Raises:
            RestoreError: as `execute`.
        """
        with self.translated(what):
            return self.connection.execute(query.encode()).fetchall()

    def set_path(self, path: str | None) -> None:
        """Go on under a search_path, or under that of database and role."""
        self.path = self.query(CONFIGURED_PATH, "a setting")[0][0] if path is None else path
        self.query(_SET_PATH.format(literal(self.path)), "a setting")

    @contextmanager
    def catalogs(self) -> Iterator[None]:
        """A block of questions to the server's catalogs: they are asked by names that mean nothing else here."""
        self.query(_SET_PATH.format("''"), "a setting")
        try:
            yield
        finally:
            # A transaction that failed takes the setting back by itself.
            if self.connection.info.transaction_status in _SOUND:
                self.query(_SET_PATH.format(literal(self.path)), "a setting")


@contextmanager
def merge_session(database: Database, search_path: str | None = None) -> Iterator[MergeSession]:
    """A session for the length of a block, with another search_path than that of database and role if one is given."""
    with as_restore_errors(), database.connect() as connection:
        connection.prepare_threshold = None
        session = MergeSession(connection, database.name)
        # The lock timeout is one attempt's: whoever queues behind us waits as long.
        for setting in (*MERGE, f"SET lock_timeout = {ATTEMPT_MS}"):
            session.execute(setting, "a setting")
        session.zone = session.query("SELECT pg_catalog.current_setting('TimeZone')", "a setting")[0][0]
        session.set_path(search_path)
        with session.catalogs():
            session.query(_ORIGIN, "the setting session_replication_role")
        try:
            yield session
        finally:
            if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE and not connection.closed:
                connection.rollback()
