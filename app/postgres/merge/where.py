"""The operator's condition on the rows of a merge (`--where`): one expression, whose side effects are rolled back.

The server parses the condition alone first, and then in its place: a text that is one expression in both cannot escape
from either. It is evaluated in a transaction that is rolled back, and returns the ctids of the rows that fulfil it. So
a function that writes leaves nothing behind, in a preview or a merge. Some functions do what ROLLBACK does not undo:
they create a replication slot, terminate a session, write a file of the server. Only roles with special rights may call
them; so the condition is evaluated as a role that may only read, if the session may become that role.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile

import psycopg
import structlog

from app.domain.psql import in_psql
from app.errors import RestoreDataError, RestorePermissionError, RestoreValidationError
from app.postgres.merge.session import MergeSession
from app.postgres.quoting import literal
from app.postgres.server_messages import message_of
from app.postgres.session import sqlstate_of

log = structlog.get_logger(__name__)
_HINT = "--where takes an SQL condition on the table's columns: \"start_date >= '2025-01-01'\""
_READER = "pg_read_all_data"
_READER_HINT = f"a condition is evaluated as a role that may only read ({_READER})"
_DENIED = re.compile(r"permission denied for function (.+)")
# Under an empty search_path, so that names are shown qualified.
_CALLED = f"""
    SELECT p.oid::pg_catalog.regprocedure::pg_catalog.text FROM pg_catalog.pg_proc p
    WHERE p.proname OPERATOR(pg_catalog.=) {{}}
      AND NOT pg_catalog.has_function_privilege('{_READER}', p.oid, 'EXECUTE') ORDER BY 1"""
_SET_SINCE = 160000  # before, every member may SET ROLE
_VALUES_HINT = "'residency-backup -v …' shows the server's message, which may contain values of rows"
_SETTINGS = (
    "SET TRANSACTION READ ONLY",  # allows writing to temporary tables
    "SET LOCAL standard_conforming_strings = on",
)
_TAIL = "\n)) IS TRUE"  # the line break ends a comment in the condition
_PREPARED = "restore_condition"
_WITHOUT_VALUES = ("25", "53", "57")  # classes of SQLSTATEs whose messages quote no values
_IN_MEMORY = 16 << 20
_BLOCK = 1 << 20
_PLACE = re.compile(" at (?:or near|end of input)")
_SHOWN = 100  # characters of the server's message, which may quote the whole condition


def keep_only(session: MergeSession, rows: str, name: str, where: str, left: str | None = None) -> None:
    """Delete the rows that do not fulfil a condition.

    Args:
        session: of the rows.
        rows: name of their temporary table, as SQL.
        name: of the table in messages.
        where: an SQL expression over its columns, which may also be named with ``t.``.
        left: name of a table that gets the deleted rows; None if nobody wants them.

    Raises:
        RestoreValidationError: the condition is no expression, or fails for a row.
        RestoreError: as the session's methods raise it.
    """
    what = f"the condition on {name}"
    try:
        _keep_only(session, (rows, left), what, where)
    except _DeniedError as error:
        raise RestoreValidationError(error.message, _grant_hint(session, error, what)) from error.__cause__


def _keep_only(session: MergeSession, tables: tuple[str, str | None], what: str, where: str) -> None:
    rows, left = tables
    meets = f"SELECT t.ctid FROM {rows} AS t WHERE "
    with SpooledTemporaryFile(_IN_MEMORY) as places:
        with session.rolled_back(what):
            for setting in _SETTINGS:
                session.execute(setting, "a setting")
            reader = _as_reader(session)
            _require_expression(session, meets, where, what)
            with _without_values(what, _DeniedError if reader else RestoreValidationError):
                session.read(f"COPY ({meets}(SELECT ({where}{_TAIL}) TO STDOUT", places.write, what)
        places.seek(0)
        blocks = iter(lambda: places.read(_BLOCK), b"")
        with session.transaction(what):
            session.execute("CREATE TEMP TABLE restore_kept (place pg_catalog.tid) ON COMMIT DROP", what)
            session.copy(b"COPY pg_temp.restore_kept FROM STDIN", blocks, what)
            session.execute("ANALYZE pg_temp.restore_kept", what)
            kept = "SELECT FROM pg_temp.restore_kept k WHERE k.place OPERATOR(pg_catalog.=) t.ctid"
            session.execute(deletion(rows, f"NOT EXISTS ({kept})", left), what)


def deletion(rows: str, condition: str, left: str | None = None) -> str:
    """The statement that deletes rows `t`, or moves them to another table."""
    deleted = f"DELETE FROM {rows} AS t WHERE {condition}"
    return f"WITH gone AS ({deleted} RETURNING *) INSERT INTO {left} SELECT * FROM gone" if left else deleted


class _DeniedError(RestoreValidationError):
    """The role that may only read lacks a right."""


def _grant_hint(session: MergeSession, denied: _DeniedError, what: str) -> str:
    """A hint: how a superuser grants the right, if it is for a function."""
    cause = denied.__cause__.__cause__ if denied.__cause__ else None
    called = _DENIED.match(message_of(cause)) if isinstance(cause, psycopg.Error) else None
    if called is None:
        return _READER_HINT
    with session.rolled_back(what), session.catalogs():
        functions = ", ".join(name for (name,) in session.query(_CALLED.format(literal(called[1])), what))
        database = session.connection.info.dbname
    granting = in_psql(database, f"GRANT EXECUTE ON FUNCTION {functions} TO {_READER}")
    return f"{_READER_HINT}; what looks and does nothing else can be given to it: {granting}"


def _as_reader(session: MergeSession) -> bool:
    """SET LOCAL ROLE to a role that may only read; False if the session may not do that."""
    able = "SET" if session.connection.info.server_version >= _SET_SINCE else "MEMBER"
    if not session.query(f"SELECT pg_catalog.pg_has_role('{_READER}', '{able}')", "a setting")[0][0]:
        return False
    session.execute(f"SET LOCAL ROLE {_READER}", "a setting")
    return True


def _require_expression(session: MergeSession, meets: str, where: str, what: str) -> None:
    """Let the server parse the condition without running it: alone, and in its place."""
    for head, tail in ((meets, "\n"), (f"{meets}(SELECT (", _TAIL)):
        begun = f"PREPARE {_PREPARED} AS {head}{where}"
        try:
            session.execute(f"{begun}{tail}", what)
        except RestoreDataError as error:
            message = _message_about(error, len(begun))
            if message.endswith(' "'):  # our line break
                message = f'{message[:-2]}"'
            raise RestoreValidationError(_brief(what, message), _HINT) from error
        session.execute(f"DEALLOCATE {_PREPARED}", what)


def _brief(what: str, message: str) -> str:
    end = len(what) + _SHOWN
    return message if len(message) <= end else f"{message[:end]}…"


def _message_about(error: RestoreDataError, end: int) -> str:
    """The server's message about a condition that ends at `end`, in one line, without this module's SQL."""
    cause = error.__cause__
    place = cause.diag.statement_position if isinstance(cause, psycopg.Error) else None
    if place is not None and int(place) > end:
        return f"{_PLACE.split(error.message)[0]} at its end"
    return " ".join(error.message.replace(_TAIL, "").replace('\n"', '"').split())


@contextmanager
def _without_values(what: str, denied: type[RestoreValidationError]) -> Iterator[None]:
    """A block that evaluates the condition. Its error may quote the values of a row, so the message is left out."""
    try:
        yield
    except RestorePermissionError as error:
        raise denied(_brief(what, error.message), _HINT) from error
    except (RestoreDataError, RestoreValidationError) as error:  # the latter: the condition writes
        code = sqlstate_of(error) or ""
        if code.startswith(_WITHOUT_VALUES):
            raise RestoreValidationError(_brief(what, error.message), _HINT) from error
        log.debug("restore condition failed", reason=" ".join(str(error.__cause__).split()))
        kind = type(error.__cause__).__name__
    else:
        return
    # Not raised from that error, because the details of a cause are shown.
    raise RestoreValidationError(f"{what} fails on a row: {kind} ({code})", _VALUES_HINT)
