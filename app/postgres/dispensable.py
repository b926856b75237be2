"""Statements that a restore can do without if the server refuses them: no row of a table and no object is lost.

- REFRESH of a materialized view. pg_dump knows no order for views that functions read, so a failed one is tried again
  at the end. If it fails again (a foreign server that is away, a setting that only the application makes, row level
  security), the view stays without rows, and a remark says so.
- A grant to a role that was dropped: pg_dump writes its oid as its name. Since a role may have a number for its name, a
  remark lists the names.
- A comment on an extension that belongs to another role: only its owner may write it, and the extension brings its own.
- What `pg_dump --clean` drops before it makes it: a new database has nothing to drop.
- CREATE SCHEMA of one that each new database has, as `pg_dump -n public` writes it.
- Statistics of tables, which pg_dump 18 writes and an older server cannot take: the load runs ANALYZE.
"""

from __future__ import annotations

import re
from typing import Protocol

import psycopg
import structlog

from app.archive.inspect.content import EVERYWHERE, dropped_role
from app.domain.psql import quoted
from app.errors import RestoreError
from app.postgres.search_path_hints import relying_function

log = structlog.get_logger(__name__)
_REFRESH = re.compile(rb"REFRESH MATERIALIZED VIEW\s", re.IGNORECASE)
_COMMENT = re.compile(rb'COMMENT ON EXTENSION "?([^\s";]+)', re.IGNORECASE)
_DROP = re.compile(rb"DROP\s|ALTER\s[^;']{1,1000}?\sDROP\s|SELECT (?:pg_catalog\.)?lo_unlink\(", re.IGNORECASE)
# What `pg_dump --clean` puts in the place of a view that others need: the view itself comes later.
_DUMMY_VIEW = re.compile(rb"CREATE OR REPLACE VIEW\s[^;']{1,1000}?\sAS\s+SELECT\s+NULL::", re.IGNORECASE)
_CREATE_SCHEMA = re.compile(rb"CREATE SCHEMA\s", re.IGNORECASE)
_STATISTICS = re.compile(rb"SELECT \* FROM pg_catalog\.pg_restore_(?:relation|attribute)_stats\(")
# SQLSTATEs of "there is no such table, column, schema, function, object".
_NONE_THERE = frozenset({"42P01", "42703", "3F000", "42883", "42704"})
# For each statement that needs no remark, the SQLSTATEs with which it may fail.
_WITHOUT_REMARK = (
    (_DROP, _NONE_THERE),
    (_DUMMY_VIEW, _NONE_THERE),
    (_CREATE_SCHEMA, frozenset({"42P06"})),
    (_STATISTICS, frozenset({"42883"})),
)
# SQLSTATEs of the server's own failures and of locks: not the view's fault. A lost connection has no SQLSTATE.
# 58P01 (a missing file) is a foreign table's: the load has just written all files of the server's own tables.
_NOT_ITS_OWN = re.compile(r"25|40|53|57|58(?!P01)|XX|55P03|55006")


class LoadingSession(Protocol):
    """A session of a load, as far as this module needs it.

    Attributes:
        remarks: on what the load did without.
        dropped_roles: names (in fact oids) of roles that do not exist, whose grants were left out.
        unfilled_views: statement, name and error of materialized views that were not filled so far.
    """

    remarks: list[str]
    dropped_roles: dict[str, None]
    unfilled_views: list[tuple[bytes, str, str]]

    def run(self, statement: bytes, what: str) -> None:
        """Run one statement of the file."""

    def as_restore_error(self, error: psycopg.Error, what: str) -> RestoreError:
        """The error of this service for an error of the driver."""


def is_dispensable(statement: bytes) -> bool:
    """Whether a restore may do without a statement."""
    forms = (_REFRESH, _COMMENT, *(form for form, _ in _WITHOUT_REMARK))
    return any(form.match(statement) for form in forms) or dropped_role(statement) is not None


def note_refused(session: LoadingSession, statement: bytes, what: str, error: psycopg.Error) -> bool:
    """Note a statement that the server refused; False if the restore must fail because of it."""
    message = session.as_restore_error(error, what).message
    if _REFRESH.match(statement):
        # If a function relies on search_path, the restore fails: with --search-path the view can be filled.
        if _NOT_ITS_OWN.match(error.sqlstate or "XX") or relying_function(error):
            return False
        session.unfilled_views.append((statement, what, message))
    elif comment := _COMMENT.match(statement):
        if not isinstance(error, psycopg.errors.InsufficientPrivilege):
            return False
        if comment[1] not in EVERYWHERE:
            session.remarks.append(f"{what} is left as it is: the extension belongs to another role")
    elif any(form.match(statement) and error.sqlstate in states for form, states in _WITHOUT_REMARK):
        pass
    elif not isinstance(error, psycopg.errors.UndefinedObject):
        return False
    elif number := dropped_role(statement):
        session.dropped_roles[number] = None
    else:
        return False
    log.debug("restore does without what the server refuses", what=what, reason=message)
    return True


def remark_dropped_roles(session: LoadingSession) -> None:
    """Add one remark on all grants that were left out."""
    if not session.dropped_roles:
        return
    names = ", ".join(quoted(number) for number in session.dropped_roles)
    session.remarks.append(
        f"rights of {names} are left out, because there is no such role: pg_dump writes a dropped role as a number"
        f"; if a role has that name, CREATE ROLE {names.partition(',')[0]} NOLOGIN, and restore again"
    )
    session.dropped_roles = {}


def retry_views(session: LoadingSession) -> None:
    """Fill the materialized views that were not filled, again and again as long as one more succeeds."""
    while pending := session.unfilled_views:
        session.unfilled_views = []
        for statement, what, _ in pending:
            session.run(statement, what)
        if len(session.unfilled_views) == len(pending):
            break
    for statement, _, message in session.unfilled_views:
        refresh = statement.decode(errors="backslashreplace").rstrip("; \n")
        session.remarks.append(f"{message}; the view stays without rows: when the cause is removed, run {refresh}")
    session.unfilled_views = []
