"""The session of a merge. Its temporary tables are visible to no other session, so it has one only."""

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
# With another role, triggers ENABLE REPLICA would fire, which the merge does not disable.
_ORIGIN = """
    SELECT set_config(name, 'origin', false) FROM pg_settings
    WHERE name = 'session_replication_role' AND setting <> 'origin'"""


class MergeSession(RestoreSession):
    """A session that runs statements of this service under the search_path that is configured for database and role.

    Checks, indexes and generated columns of live tables are evaluated under it; see `app.postgres.merge.sql`. The time
    zone is the configured one too: checks may depend on it.

    Attributes:
        path: the search_path.
        zone: the time zone.
    """

    path = ""
    zone = "UTC"
    lost_hint = "see the server's log; to see whether it was done: residency-backup check"
    constraint_hint = None

    def execute(self, statement: str, what: str) -> int:
        """Run one statement; returns the number of rows that it changed or returned.

        Raises:
            RestoreError: the server refuses it or goes away.
        """
        encoded = statement.encode()
        with self.without_event_triggers(encoded, what), self.translated(what):
            # Binary selects the extended protocol, which accepts one statement only.
            return self.connection.execute(encoded, binary=True).rowcount

    def read(self, statement: str, take: Callable[[bytes], object], what: str) -> None:
        """Pass the output of a COPY statement to `take`.

        Raises:
            RestoreError: as `execute` raises it.
        """
        with self.translated(what), self.connection.cursor() as cursor, cursor.copy(statement.encode()) as blocks:
            for block in blocks:
                take(bytes(block))

    @contextmanager
    def rolled_back(self, what: str) -> Iterator[None]:
        """A transaction that is rolled back at its end, with everything that its functions did."""
        with self.translated(what), self.connection.transaction(force_rollback=True):
            yield

    def search_path_hint(self, function: str) -> str:
        """What to do about a function that does not find what it names by search_path."""
        return merge_hint(function, self.path, self._database)

    def other_error(self, message: str) -> RestoreError:
        """The error if the SQLSTATE tells nothing more."""
        return RestoreDataError(message, "nothing was changed; the message is the server's")

    def query(self, query: str, what: str, *, binary: bool = False) -> list[tuple[Any, ...]]:
        """The rows of one query. `binary`: how values are sent; those of the type bytea are half as long then.

        Raises:
            RestoreError: as `execute`.
        """
        with self.translated(what):
            return self.connection.execute(query.encode(), binary=binary).fetchall()

    def stream(self, query: str, what: str) -> Iterator[tuple[Any, ...]]:
        """The rows of one query, one by one: not all of them are in memory. It ends before another query begins.

        Raises:
            RestoreError: as `execute`.
        """
        with self.translated(what), self.connection.cursor() as cursor:
            yield from cursor.stream(query.encode())

    def set_path(self, path: str | None) -> None:
        """Set the search_path; None for the configured one of database and role."""
        self.path = self.query(CONFIGURED_PATH, "a setting")[0][0] if path is None else path
        self.query(_SET_PATH.format(literal(self.path)), "a setting")

    @contextmanager
    def catalogs(self) -> Iterator[None]:
        """A block of queries to the system catalogs, under an empty search_path."""
        self.query(_SET_PATH.format("''"), "a setting")
        try:
            yield
        finally:
            # The rollback of a failed transaction restores the setting.
            if self.connection.info.transaction_status in _SOUND:
                self.query(_SET_PATH.format(literal(self.path)), "a setting")


@contextmanager
def merge_session(database: Database, search_path: str | None = None) -> Iterator[MergeSession]:
    """A session for the length of a block, with a given search_path or the configured one."""
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
