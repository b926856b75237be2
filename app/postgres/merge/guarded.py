"""SQL expressions of an operator (`--where`, `--fill`): each is one expression, whose side effects are rolled back.

The server parses the expression alone first, and then in its place: a text that is one expression in both cannot escape
from either. It is evaluated in a transaction that is rolled back. So a function that writes leaves nothing behind, in a
preview or a merge. Some functions do what ROLLBACK does not undo: they create a replication slot, terminate a session,
write a file of the server. Only roles with special rights may call them; so the expression is evaluated as a role that
may only read, if the session may become that role.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import structlog

from app.domain.psql import in_psql
from app.errors import RestoreDataError, RestorePermissionError, RestoreValidationError
from app.postgres.merge.session import MergeSession
from app.postgres.quoting import literal
from app.postgres.server_messages import message_of
from app.postgres.session import sqlstate_of

log = structlog.get_logger(__name__)
_READER = "pg_read_all_data"
_DENIED = re.compile(r"permission denied for function (.+)")
# Under an empty search_path, so that names are shown qualified.
_CALLED = f"""
    SELECT p.oid::pg_catalog.regprocedure::pg_catalog.text FROM pg_catalog.pg_proc p
    WHERE p.proname OPERATOR(pg_catalog.=) {{}}
      AND NOT pg_catalog.has_function_privilege('{_READER}', p.oid, 'EXECUTE') ORDER BY 1"""
_SET_SINCE = 160000  # before, every member may SET ROLE
_VALUES_HINT = "to see the server's message, which may contain values of rows, add -v: residency-backup -v restore …"
_SETTINGS = (
    "SET TRANSACTION READ ONLY",  # allows writing to temporary tables
    "SET LOCAL standard_conforming_strings = on",
)
_PREPARED = "restore_expression"
_WITHOUT_VALUES = ("25", "53", "57")  # classes of SQLSTATEs whose messages quote no values
_PLACE = re.compile(" at (?:or near|end of input)")
_SHOWN = 100  # characters of the server's message, which may quote the whole expression


@dataclass(frozen=True, slots=True)
class Place:
    """Where an expression stands: after `head` and before `tail`, which begins with a line break.

    The line break ends a comment in the expression.
    """

    head: str
    tail: str


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression of the operator.

    Attributes:
        sql: its text.
        what: what it is, in messages: ``the condition on public.people``.
        alone: a query in which nothing follows it but what may follow any expression.
        within: the place in which it is evaluated.
        noun: ``a condition``.
        hint: what such an expression looks like.
    """

    sql: str
    what: str
    alone: Place
    within: Place
    noun: str
    hint: str


def evaluate(session: MergeSession, expression: Expression, query: str, take: Callable[[bytes], object]) -> None:
    """Pass the rows of a query with the expression in it to `take`, as COPY writes them.

    Args:
        session: of the merge.
        expression: to be checked first.
        query: the one that it stands in.
        take: called with blocks.

    Raises:
        RestoreValidationError: it is no expression, or fails for a row.
        RestoreError: as the session's methods raise it.
    """
    try:
        with session.rolled_back(expression.what):
            for setting in _SETTINGS:
                session.execute(setting, "a setting")
            reader = _as_reader(session)
            _require_expression(session, expression)
            with _without_values(expression, _DeniedError if reader else RestoreValidationError):
                session.read(f"COPY ({query}) TO STDOUT", take, expression.what)
    except _DeniedError as error:
        raise RestoreValidationError(error.message, _grant_hint(session, error, expression)) from error.__cause__


class _DeniedError(RestoreValidationError):
    """The role that may only read lacks a right."""


def _grant_hint(session: MergeSession, denied: _DeniedError, expression: Expression) -> str:
    """A hint: how a superuser grants the right, if it is for a function."""
    what, hint = expression.what, f"{expression.noun} is evaluated as a role that may only read ({_READER})"
    cause = denied.__cause__.__cause__ if denied.__cause__ else None
    called = _DENIED.match(message_of(cause)) if isinstance(cause, psycopg.Error) else None
    if called is None:
        return hint
    with session.rolled_back(what), session.catalogs():
        functions = ", ".join(name for (name,) in session.query(_CALLED.format(literal(called[1])), what))
        database = session.connection.info.dbname
    granting = in_psql(database, f"GRANT EXECUTE ON FUNCTION {functions} TO {_READER}")
    return f"{hint}; if the function only reads, let it call that: {granting}"


def _as_reader(session: MergeSession) -> bool:
    """SET LOCAL ROLE to a role that may only read; False if the session may not do that."""
    able = "SET" if session.connection.info.server_version >= _SET_SINCE else "MEMBER"
    if not session.query(f"SELECT pg_catalog.pg_has_role('{_READER}', '{able}')", "a setting")[0][0]:
        return False
    session.execute(f"SET LOCAL ROLE {_READER}", "a setting")
    return True


def _require_expression(session: MergeSession, expression: Expression) -> None:
    """Let the server parse the expression without running it: alone, and in its place."""
    for place in (expression.alone, expression.within):
        begun = f"PREPARE {_PREPARED} AS {place.head}{expression.sql}"
        try:
            session.execute(f"{begun}{place.tail}", expression.what)
        except RestoreDataError as error:
            message = _message_about(error, len(begun), place.tail)
            if message.endswith(' "'):  # our line break
                message = f'{message[:-2]}"'
            raise RestoreValidationError(_brief(expression.what, message), expression.hint) from error
        session.execute(f"DEALLOCATE {_PREPARED}", expression.what)


def _brief(what: str, message: str) -> str:
    end = len(what) + _SHOWN
    return message if len(message) <= end else f"{message[:end]}…"


def _message_about(error: RestoreDataError, end: int, tail: str) -> str:
    """The server's message about an expression that ends at `end`, in one line, without this module's SQL."""
    cause = error.__cause__
    place = cause.diag.statement_position if isinstance(cause, psycopg.Error) else None
    if place is not None and int(place) > end:
        return f"{_PLACE.split(error.message)[0]} at its end"
    said, ours = " ".join(error.message.split()), " ".join(tail.split())
    return said.replace(ours, "") if ours else said


@contextmanager
def _without_values(expression: Expression, denied: type[RestoreValidationError]) -> Iterator[None]:
    """A block that evaluates the expression. Its error may quote the values of a row, so the message is left out."""
    what, hint = expression.what, expression.hint
    try:
        yield
    except RestorePermissionError as error:
        raise denied(_brief(what, error.message), hint) from error
    except (RestoreDataError, RestoreValidationError) as error:  # the latter: the expression writes
        code = sqlstate_of(error) or ""
        if code.startswith(_WITHOUT_VALUES):
            raise RestoreValidationError(_brief(what, error.message), hint) from error
        log.debug("restore condition failed", reason=" ".join(str(error.__cause__).split()))
        kind = type(error.__cause__).__name__
    else:
        return
    # Not raised from that error, because the details of a cause are shown.
    raise RestoreValidationError(f"{what} fails on a row: {kind} ({code})", _VALUES_HINT)
