"""A session of a restore: runs the statements of a dump, in the state that the dump's SET statements left.

Errors of the server are turned into errors of this service. Values of rows that they quote are left out, because
messages are logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import ClassVar

import psycopg
import structlog
from psycopg.pq import TransactionStatus

from app.errors import (
    BackupCancelledError,
    BackupCreationError,
    BackupPermissionError,
    RestoreDataError,
    RestoreError,
    TargetUnavailableError,
    as_restore_error,
)
from app.postgres.cursor import interruption
from app.postgres.database import Database
from app.postgres.dispensable import is_dispensable, note_refused
from app.postgres.event_triggers import EventTriggers, disable_hint, may_fire
from app.postgres.operator_path import UNDEFINED_HINT, under_operator_path
from app.postgres.restore_errors import known_error
from app.postgres.search_path_hints import load_hint, relying_function
from app.postgres.server_messages import details_of, failed_function, message_without_values
from app.postgres.session_settings import load_session
from app.postgres.shared_memory import HINT as SHARED_MEMORY_HINT
from app.postgres.shared_memory import NO_WORKERS, lacks_shared_memory, may_use_workers
from app.postgres.together import copy_consecutively, run_pipelined

log = structlog.get_logger(__name__)
SETTING = re.compile(rb"(?:SET\s+(?:SESSION\s+)?(\w+)|SELECT\s+pg_catalog\.set_config\('(\w+)')", re.IGNORECASE)
_ZERO = re.compile(rb"(?:=|TO)\s*'?0'?\s*(?:;\s*)?\Z", re.IGNORECASE)
_EVENT_TRIGGER = re.compile(rb"(?:CREATE|ALTER)\s+EVENT\s+TRIGGER\s", re.IGNORECASE)


class RestoreSession:
    """A connection in the state that psql would have at this point of the file.

    Attributes:
        takes_owners: whether objects get the owners that the file names.
        lost_hint: what to do if the connection was lost.
        constraint_hint: what to do if a row breaks a constraint; None if that tells nothing about the backup.
        runs_together: whether several statements may be one transaction; false if each must be looked at.
        remarks, dropped_roles, unfilled_views: what the load did without; see `app.postgres.dispensable`.
        operator_path: see `app.postgres.operator_path`.
    """

    takes_owners: ClassVar[bool] = True
    lost_hint: ClassVar[str] = "see the server's log, and try again"
    constraint_hint: ClassVar[str | None] = (
        "rows of the backup break this constraint; psql loads the rest: createdb rescued; psql -X -d rescued -f FILE; "
        "see docs/restore.md, Rows that break a constraint"
    )
    runs_together: ClassVar[bool] = True

    def __init__(self, connection: psycopg.Connection, database: str) -> None:
        self.connection = connection
        self._database = database
        self._role = connection.info.user
        self.remarks: list[str] = []
        self.dropped_roles: dict[str, None] = {}
        self.unfilled_views: list[tuple[bytes, str, str]] = []
        self.operator_path: str | None = None
        self._state: dict[bytes, bytes] = {}
        self._workers = True
        self._event_triggers: EventTriggers | None = None
        self._has_event_triggers = False  # whether the file created some

    @property
    def state(self) -> dict[bytes, bytes]:
        """The settings that the file has set so far, each with its statement."""
        return dict(self._state)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open: the file's, or one around the whole load."""
        return self.connection.info.transaction_status != TransactionStatus.IDLE

    def run(self, statement: bytes, what: str) -> None:
        """Run one statement of the file.

        Args:
            statement: in the file's own encoding.
            what: its name in an error message.

        Raises:
            RestoreError: the server refuses it or goes away; see `translated`.
        """
        setting = SETTING.match(statement)
        may_fail = bool(setting and _ZERO.search(statement))
        shared = self._workers and may_use_workers(statement)
        dispensable = is_dispensable(statement)
        done, again = True, False
        with self.translated(what), self._quiet_by_then(statement):
            try:
                self._execute(statement, apart=may_fail or shared or dispensable)
            except psycopg.Error as error:
                if may_fail and isinstance(error, psycopg.errors.UndefinedObject):
                    # A newer pg_dump resets a limit that this server does not have.
                    skipped = statement.decode(errors="backslashreplace")
                    log.debug("restore skips a setting that the server does not know", setting=skipped)
                elif again := shared and lacks_shared_memory(error):
                    self._do_without_workers(what, error)
                elif not (dispensable and note_refused(self, statement, what, error)):
                    raise
                done = False
        if again:
            self.run(statement, what)
        elif setting and done:
            self._state[(setting[1] or setting[2]).lower()] = statement

    def run_together(self, statements: Sequence[bytes]) -> bool:
        """Run statements of the file with one round trip, in one transaction.

        Returns:
            Whether they were run. If not, none was: the caller runs them one by one, which tells what is wrong with
            which, and does without what is dispensable.

        Raises:
            KeyboardInterrupt: a signal came.
        """
        if not self.runs_together or self.in_transaction or self._has_event_triggers or self.operator_path is not None:
            return False
        try:
            run_pipelined(self.connection, statements)
        except psycopg.Error as error:
            if signal := interruption(error):
                raise signal from None
            log.debug("restore runs statements one by one", reason=message_without_values(error))
            return False
        for statement in statements:
            if setting := SETTING.match(statement):
                self._state[(setting[1] or setting[2]).lower()] = statement
        return True

    @property
    def event_triggers(self) -> EventTriggers:
        """The database's event triggers, as they were at the first call."""
        if self._event_triggers is None:
            self._event_triggers = EventTriggers(self.connection)
        return self._event_triggers

    @contextmanager
    def without_event_triggers(self, statement: bytes, what: str) -> Iterator[None]:
        """A block with a statement of this service, on which no event trigger fires.

        Raises:
            RestoreError: as the block raises it; names the triggers that the role cannot disable.
        """
        if not may_fire(statement):
            yield
            return
        with self.translated(what):
            triggers = self.event_triggers
        try:
            with self.translated(what), triggers.disabled():
                yield
        except RestoreError as error:
            if not triggers.not_disabled:
                raise
            message = f"{error.message}; event triggers of the database fire on it: {', '.join(triggers.not_disabled)}"
            command = disable_hint(self._database, triggers.not_disabled)
            hint = f"restore as a superuser, or let one disable them: {command}"
            raise type(error)(message, hint) from error.__cause__

    @contextmanager
    def _quiet_by_then(self, statement: bytes) -> Iterator[None]:
        """A block with a statement of the file that follows its event triggers: it fills materialized views."""
        if _EVENT_TRIGGER.match(statement):
            yield
            self._event_triggers, self._has_event_triggers = None, True
        elif self._has_event_triggers and may_fire(statement):
            with self.event_triggers.disabled():
                yield
        else:
            yield

    def _execute(self, statement: bytes, *, apart: bool = False) -> None:
        """Run a statement; with `apart`, its failure does not end the transaction that it is part of."""
        savepoint = self.connection.transaction() if apart and self.in_transaction else nullcontext()
        with savepoint, under_operator_path(self, statement):
            # Binary selects the extended protocol, which accepts one statement only, however the lexer split the text.
            self.connection.execute(statement, binary=True)

    def _do_without_workers(self, what: str, error: psycopg.Error) -> None:
        self._workers = False
        self.connection.execute(NO_WORKERS.encode())
        reason = f"{what}: {message_without_values(error)}"
        log.warning("restore goes on without parallel workers", reason=reason, hint=SHARED_MEMORY_HINT)

    def set_state(self, state: dict[bytes, bytes]) -> None:
        """Take over the settings of another session."""
        for name, statement in state.items():
            if self._state.get(name) != statement:
                self.run(statement, "a setting")

    def copy(self, statement: bytes, blocks: Iterable[bytes], what: str) -> int:
        """Send rows.

        Args:
            statement: the file's ``COPY … FROM stdin;``.
            blocks: COPY text, cut anywhere.
            what: its name in an error message.

        Returns:
            Number of rows that the server accepted.

        Raises:
            RestoreError: the server refuses them or goes away; none of the rows stays.
        """
        with self.translated(what), self.connection.cursor() as cursor, under_operator_path(self):
            with cursor.copy(statement) as copy:
                for block in blocks:
                    copy.write(block)
            return cursor.rowcount

    def copy_together(self, copies: Sequence[tuple[bytes, Sequence[bytes]]], what: str) -> list[int]:
        """Send the rows of several tables, in the open transaction.

        Args:
            copies: for each the file's ``COPY … FROM stdin;`` without comments, and its rows.
            what: its name in an error message.

        Returns:
            Number of rows that the server accepted, for each.

        Raises:
            RestoreError: the server refuses them or goes away; none of the rows stays.
        """
        with self.translated(what), under_operator_path(self):
            return copy_consecutively(self.connection, copies)

    @contextmanager
    def transaction(self, what: str) -> Iterator[None]:
        """A transaction, or a savepoint in an open one, for the length of a block."""
        with self.translated(what), self.connection.transaction():
            yield

    @contextmanager
    def catalogs(self) -> Iterator[None]:
        """A block of queries to the system catalogs, under a search_path that finds nothing else by their names."""
        yield

    def savepoint(self, what: str) -> AbstractContextManager[None]:
        """A block that may fail without ending the transaction around it."""
        return self.transaction(what) if self.in_transaction else nullcontext()

    @contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """Turn the driver's errors into errors of this service; `what` was being restored."""
        try:
            yield
        except psycopg.Error as error:
            if signal := interruption(error):
                raise signal from None
            raise self.as_restore_error(error, what) from error

    def as_restore_error(self, error: psycopg.Error, what: str) -> RestoreError:
        """The error of this service for an error of the driver."""
        text = message_without_values(error)
        if function := failed_function(error):
            text = f"{text}, in {function}"
        if details := details_of(error):  # it may quote rows
            log.debug("restore refused by the server", what=what, text=details)
        if refusal := known_error(error, what, text, self._role):
            return refusal
        if self.connection.closed or isinstance(error, psycopg.errors.AdminShutdown | psycopg.errors.CrashShutdown):
            message = f"{what}: the connection to database {self._database} was lost: {text}"
            return TargetUnavailableError(message, self.lost_hint)
        if function := relying_function(error):
            message = f"{what}: function {function} relies on search_path: {text}"
            return RestoreDataError(message, self.search_path_hint(function))
        unknown_operator = (
            isinstance(error, psycopg.errors.UndefinedFunction) and " = " in text and self.operator_path is None
        )
        text = f"{what}: {text}"
        if self.constraint_hint and isinstance(error, psycopg.errors.IntegrityError):
            return RestoreDataError(text, self.constraint_hint)
        return RestoreDataError(text, UNDEFINED_HINT) if unknown_operator else self.other_error(text)

    def search_path_hint(self, function: str) -> str:
        """What to do about a function that does not find what it names by search_path."""
        return load_hint(function)

    def other_error(self, message: str) -> RestoreError:
        """The error if the SQLSTATE tells nothing more."""
        return RestoreDataError(message, "the message is the server's: remove its cause, and try again")


@contextmanager
def restore_session(database: Database, jobs: int) -> Iterator[RestoreSession]:
    """A session for the length of a block.

    Args:
        database: the one to load into.
        jobs: number of such sessions, which share the memory for index builds.
    """
    with as_restore_errors(), database.connect() as connection:
        connection.prepare_threshold = None
        connection.execute(load_session(jobs).encode())
        connection.execute("RESET search_path")  # the state that psql starts a file in
        yield RestoreSession(connection, database.name)


@contextmanager
def as_restore_errors() -> Iterator[None]:
    """Turn errors of a connection into those of a restore."""
    try:
        yield
    except BackupCancelledError:  # raised by a safety backup
        raise
    except (BackupPermissionError, BackupCreationError) as error:
        raise as_restore_error(error) from error


def sqlstate_of(error: BaseException) -> str | None:
    """The SQLSTATE of the error that caused a `RestoreError`; None if a driver's error did not cause it."""
    cause = error.__cause__
    return cause.sqlstate if isinstance(cause, psycopg.Error) else None
