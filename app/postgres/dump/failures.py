"""Errors of a dump: of one of its programs, or of the connection that holds its snapshot."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import psycopg

from app.archive.index import TableName
from app.errors import BackupCreationError, ServerUnavailableError
from app.ports.source import ChangedError, GaveWayError
from app.postgres.causes import known_cause
from app.postgres.database import FULL
from app.postgres.dump.early_reads import AttemptHistory
from app.postgres.dump.watch import Watch
from app.postgres.lock_holders import CONFLICT_WITH_ACCESS_SHARE, first_on_tables, lock_holders
from app.postgres.programs import ProgramError, as_killed
from app.postgres.server_messages import message_of

_WHEN_CALM = "try again when nobody changes the schema"
_GONE = re.compile(
    r"server closed the connection|terminating connection|connection to server .* failed|no connection to the server"
)
_NOTHING_KEPT = "see the server's log; nothing of this dump was kept"
# pg_dump sets its --lock-wait-timeout as the timeout of the LOCK statement.
BLOCKED = re.compile(r"canceling statement due to (?:lock|statement) timeout|could not obtain lock on relation")
# Views, functions and types cannot be locked: one was dropped or replaced while pg_dump read it.
_CHANGED = re.compile(
    r"(?:relation|table|view|schema|type|function|sequence|column|operator|role|object) .* does not exist"
    r"|cache lookup failed|could not open relation with OID|could not find tuple"
    r"|concurrently (?:dropped|updated|deleted)|Query was: LOCK TABLE"  # the server may speak another language
)


class DumpFailures:
    """Turns failures of one dump into errors of this service.

    Args:
        database: that is dumped.
        connection: that holds the snapshot.
        watch: of the dump.
        history: for the next attempt.
        locked: the tables that the dump has locked.
    """

    def __init__(
        self,
        database: str,
        connection: psycopg.Connection,
        watch: Watch,
        history: AttemptHistory,
        locked: Collection[TableName],
    ) -> None:
        self._database = database
        self._connection = connection
        self._watch = watch
        self._learnt = history
        self._locked = locked

    @contextmanager
    def explained(self) -> Iterator[None]:
        """A block of the dump, whose failures are turned into errors of this service."""
        try:
            yield
        except ProgramError as error:
            if self._watch.waiting:
                self._learnt.note_waiter(self._watch.waiting)
            raise self._watch.cause() or self._cause(self._watch.death or error) from error
        except psycopg.errors.LockNotAvailable as error:
            raise self._blocked(message_of(error)) from error
        except psycopg.OperationalError as error:
            if cause := self._watch.cause() or known_cause(
                str(error), self._database, error, role=self._connection.info.user
            ):
                raise cause from error
            message = f"the connection that holds the snapshot of {self._database} was lost: {message_of(error)}"
            raise ServerUnavailableError(message, _NOTHING_KEPT) from error

    def _cause(self, error: ProgramError) -> BackupCreationError:
        """The error for a failed program: a lost server or connection, a lock, or a lasting cause."""
        if FULL.search(error.message):
            message = f"the server of database {self._database} has no connection left: {error.message}"
            return ServerUnavailableError(message, "try again when fewer sessions are open, or raise max_connections")
        if cause := known_cause(error.message, self._database, role=self._connection.info.user):
            return cause
        if _GONE.search(error.message) or not self._alive():
            message = f"the connection to database {self._database} was lost during the dump: {error.message}"
            return ServerUnavailableError(message, _NOTHING_KEPT)
        if killed := as_killed(error, f"the dump of database {self._database}"):
            return killed
        if BLOCKED.search(error.message):
            return self._blocked(error.message)
        message = f"the dump of database {self._database} failed: {error.message}"
        changed = _CHANGED.search(error.message)
        return ChangedError(message, _WHEN_CALM) if changed else BackupCreationError(message)

    def _blocked(self, text: str) -> GaveWayError:
        """The error if another session has locked a table that a session of ours needs."""
        other = first_on_tables(lock_holders(self._connection, CONFLICT_WITH_ACCESS_SHARE), self._locked)
        if other is None:
            message = f"a table of database {self._database} was locked by another session: {text}"
            return GaveWayError(message, "try again")
        self._learnt.note_waiter(other)
        return GaveWayError(f"table {other.table} of {self._database} was wanted by {other}", other.hint)

    def _alive(self) -> bool:
        try:
            self._connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True
