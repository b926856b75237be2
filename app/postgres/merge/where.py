"""The operator's condition on the rows of a merge (`--where`): one expression, and nothing that it does stays.

It is read by the server alone first, and then where it is to stand: what is one expression in both places cannot reach
out of either. It is evaluated in a transaction that is rolled back; what comes out of that is where the rows stand that
meet it. So a function that writes leaves nothing behind, in a preview or otherwise. Some functions do what no ROLLBACK
takes back: they make a replication slot, end a session, write a file of the server. Those are for roles that were given
them; so the condition is evaluated as one that may read everything and nothing else, wherever the session may take it.
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
# As the empty path makes the server spell them.
_CALLED = f"""
    SELECT p.oid::pg_catalog.regprocedure::pg_catalog.text FROM pg_catalog.pg_proc p
    WHERE p.proname OPERATOR(pg_catalog.=) {{}}
      AND NOT pg_catalog.has_function_privilege('{_READER}', p.oid, 'EXECUTE') ORDER BY 1"""
_SET_SINCE = 160000  # before, every member may take a role on
_VALUES_HINT = "'residency-backup -v …' shows the server's words, which may hold values of rows"
_SETTINGS = (
    "SET TRANSACTION READ ONLY",  # temporary tables may be written all the same
    "SET LOCAL standard_conforming_strings = on",
)
_TAIL = "\n)) IS TRUE"  # the line break ends a comment in the condition
_PREPARED = "restore_condition"
_WITHOUT_VALUES = ("25", "53", "57")  # kinds of errors whose words are the server's alone
_IN_MEMORY = 16 << 20
_BLOCK = 1 << 20
_PLACE = re.compile(" at (?:or near|end of input)")
_SHOWN = 100  # letters of what the server says, which may quote the whole condition


def keep_only(session: MergeSession, rows: str, name: str, where: str) -> None:
    """Delete the rows that do not meet a condition.

    Args:
        session: where the rows are.
        rows: their temporary table, as SQL.
        name: what to call it.
        where: an SQL expression over its columns, which may be named by ``t.`` too.

    Raises:
        RestoreValidationError: the condition is no expression, or fails on a row.
        RestoreError: as the session's methods do.
    """
    what = f"the condition on {name}"
    try:
        _keep_only(session, rows, what, where)
    except _DeniedError as error:
        raise RestoreValidationError(error.message, _to_be_given(session, error, what)) from error.__cause__


def _keep_only(session: MergeSession, rows: str, what: str, where: str) -> None:
    meets = f"SELECT t.ctid FROM {rows} AS t WHERE "
    with SpooledTemporaryFile(_IN_MEMORY) as places:
        with session.rolled_back(what):
            for setting in _SETTINGS:
                session.execute(setting, "a setting")
            reader = _as_reader(session)
            _require_expression(session, meets, where, what)
            with _told_without_values(what, _DeniedError if reader else RestoreValidationError):
                session.read(f"COPY ({meets}(SELECT ({where}{_TAIL}) TO STDOUT", places.write, what)
        places.seek(0)
        blocks = iter(lambda: places.read(_BLOCK), b"")
        with session.transaction(what):
            session.execute("CREATE TEMP TABLE restore_kept (place pg_catalog.tid) ON COMMIT DROP", what)
            session.copy(b"COPY pg_temp.restore_kept FROM STDIN", blocks, what)
            session.execute("ANALYZE pg_temp.restore_kept", what)
            kept = "SELECT FROM pg_temp.restore_kept k WHERE k.place OPERATOR(pg_catalog.=) t.ctid"
            session.execute(f"DELETE FROM {rows} AS t WHERE NOT EXISTS ({kept})", what)


class _DeniedError(RestoreValidationError):
    """The role that may only read may not do something."""


def _to_be_given(session: MergeSession, denied: _DeniedError, what: str) -> str:
    """How an administrator lets it do that, if it is a function that only looks."""
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
    """Go on as a role that may only read, to the end of the transaction; False if the session may not be that."""
    able = "SET" if session.connection.info.server_version >= _SET_SINCE else "MEMBER"
    if not session.query(f"SELECT pg_catalog.pg_has_role('{_READER}', '{able}')", "a setting")[0][0]:
        return False
    session.execute(f"SET LOCAL ROLE {_READER}", "a setting")
    return True


def _require_expression(session: MergeSession, meets: str, where: str, what: str) -> None:
    """Let the server read the condition, and do nothing else: alone, and where it is to stand."""
    for head, tail in ((meets, "\n"), (f"{meets}(SELECT (", _TAIL)):
        begun = f"PREPARE {_PREPARED} AS {head}{where}"
        try:
            session.execute(f"{begun}{tail}", what)
        except RestoreDataError as error:
            said = _of_theirs(error, len(begun))
            if said.endswith(' "'):  # the line break is ours
                said = f'{said[:-2]}"'
            raise RestoreValidationError(_brief(what, said), _HINT) from error
        session.execute(f"DEALLOCATE {_PREPARED}", what)


def _brief(what: str, message: str) -> str:
    end = len(what) + _SHOWN
    return message if len(message) <= end else f"{message[:end]}…"


def _of_theirs(error: RestoreDataError, end: int) -> str:
    """What the server says of a condition that ends there, in one line, without what stands around it."""
    cause = error.__cause__
    place = cause.diag.statement_position if isinstance(cause, psycopg.Error) else None
    if place is not None and int(place) > end:
        return f"{_PLACE.split(error.message)[0]} at its end"
    return " ".join(error.message.replace(_TAIL, "").replace('\n"', '"').split())


@contextmanager
def _told_without_values(what: str, denied: type[RestoreValidationError]) -> Iterator[None]:
    """The condition is an expression: an error now comes of a row, and what is said of it may hold the row's values."""
    try:
        yield
    except RestorePermissionError as error:
        raise denied(_brief(what, error.message), _HINT) from error
    except (RestoreDataError, RestoreValidationError) as error:  # the second: it writes, and may not
        code = sqlstate_of(error) or ""
        if code.startswith(_WITHOUT_VALUES):
            raise RestoreValidationError(_brief(what, error.message), _HINT) from error
        log.debug("restore condition failed", reason=" ".join(str(error.__cause__).split()))
        kind = type(error.__cause__).__name__
    else:
        return
    # Not from that error: what is said behind one is shown.
    raise RestoreValidationError(f"{what} fails on a row: {kind} ({code})", _VALUES_HINT)
