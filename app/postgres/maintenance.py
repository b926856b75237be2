"""A connection to another database of the server than those that are created, dropped and renamed through it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, LiteralString

from psycopg import sql

from app.domain.psql import in_psql, quoted
from app.errors import (
    BackupError,
    BackupPermissionError,
    PoolerError,
    RestoreError,
    RestorePermissionError,
    ServerUnavailableError,
)
from app.postgres.database import Database
from app.postgres.session import RestoreSession, as_restore_errors
from app.postgres.session_settings import MAINTENANCE

_FIRST = ("postgres", "template1")
_OTHERS = """
    SELECT datname FROM pg_database
    WHERE datallowconn AND NOT datistemplate AND has_database_privilege(oid, 'CONNECT') ORDER BY datname"""


class Maintenance(RestoreSession):
    """A session for tasks that concern the whole server."""

    lost_hint = "see the server's log; to see which databases there are: residency-backup check"
    constraint_hint = None

    def query(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        """The rows of one query.

        Raises:
            RestoreError: the server refuses it or goes away.
        """
        with self.translated("a query of the server"):
            return self.connection.execute(query.encode(), params or None).fetchall()

    def execute(self, what: str, statement: LiteralString, *names: sql.Composable) -> None:
        """Run one statement.

        Args:
            what: its name in an error message.
            statement: with ``{}`` for each of `names`.
            names: identifiers and other parts of the statement.

        Raises:
            RestoreError: the server refuses it or goes away.
        """
        with self.translated(what):
            self.connection.execute(sql.SQL(statement).format(*names), binary=True)

    def execute_text(self, what: str, statement: str) -> None:
        """Run one statement; its names are quoted already, by the server.

        Raises:
            RestoreError: the server refuses it or goes away.
        """
        with self.translated(what):
            self.connection.execute(statement.encode(), binary=True)

    def other_error(self, message: str) -> RestoreError:
        """The error if the SQLSTATE tells nothing more."""
        return RestoreError(message, "the message is the server's: see its log")


@contextmanager
def maintenance(database: Database, *excluded: str) -> Iterator[Maintenance]:
    """A session for the length of a block, in the first database of the server that accepts the role.

    Args:
        database: any one of the server.
        excluded: names of databases that the session must not be in.

    Raises:
        RestorePermissionError: no other database accepts the role.
        TargetUnavailableError: the server does not answer.
    """
    with ExitStack() as stack:
        yield _connected(stack, database, excluded)


def _connected(stack: ExitStack, database: Database, excluded: tuple[str, ...]) -> Maintenance:
    refused: list[BackupError] = []
    for name in _candidates(database, refused):
        if name in excluded:
            continue
        with ExitStack() as attempt:
            try:
                attempt.enter_context(as_restore_errors())
                session = Maintenance(attempt.enter_context(database.named(name).connect()), name)
            except BackupError as error:
                refused.append(error)
                continue
            session.connection.prepare_threshold = None
            session.query(MAINTENANCE)
            stack.enter_context(attempt.pop_all())
            return session
    raise _no_connection(refused, database.role)


def _candidates(database: Database, refused: list[BackupError]) -> Iterator[str]:
    yield from _FIRST
    try:
        with database.connect() as connection:
            others = [name for (name,) in connection.execute(_OTHERS.encode())]
    except BackupError as error:
        refused.append(error)
        return
    yield from (name for name in others if name not in _FIRST)


def _no_connection(refused: list[BackupError], role: str) -> BackupError | RestoreError:
    """The error if no database accepts the role. What tells more than a missing right comes first."""
    reasons: list[BackupError] = [error for error in refused if isinstance(error, PoolerError)]
    reasons = reasons or [error for error in refused if isinstance(error, ServerUnavailableError)] or refused
    with as_restore_errors():
        if reasons and not isinstance(reasons[0], BackupPermissionError):
            raise reasons[0]
    because = f": {reasons[0].message}" if reasons else ""
    message = f"the role can connect to no database of the server but the one to restore{because}"
    grant = in_psql("postgres", f"GRANT CONNECT ON DATABASE postgres TO {quoted(role)}")
    return RestorePermissionError(message, f"as a superuser: {grant}")
