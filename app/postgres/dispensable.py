"""What a restore does without, if the server refuses it: no row of a table, and no object, is lost by that.

- A materialized view that cannot be filled. Its rows are made of others', and pg_dump knows no order in which views are
  filled that functions read; so it is tried again when the rest is done. If that fails too (a foreign server that is
  away, a setting that the application makes, row level security), it is left without rows, and a remark says so.
- Rights of a role that was dropped: pg_dump gives its number for its name. A role may be called by a number too, so a
  remark says which ones were left out.
- A comment on an extension that belongs to another role: nobody else may write it, and it comes with the extension.
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
# The server is at fault, or who stands in the way: classes of SQLSTATE, and codes. A lost connection has none.
# A file that is not there (58P01) is a foreign table's: of the server's own the load has just written each.
_NOT_ITS_OWN = re.compile(r"25|40|53|57|58(?!P01)|XX|55P03|55006")


class LoadingSession(Protocol):
    """What is needed of the session that loads.

    Attributes:
        remarks: on what was done without.
        nameless: numbers of roles that are not there, whose rights were left out.
        unfilled: materialized views that could not be filled so far: statement, what it is called, why.
    """

    remarks: list[str]
    dropped_roles: dict[str, None]
    unfilled_views: list[tuple[bytes, str, str]]

    def run(self, statement: bytes, what: str) -> None:
        """Run one statement of the file."""

    def as_restore_error(self, error: psycopg.Error, what: str) -> RestoreError:
        """What an error of the driver means to a restore."""


def is_dispensable(statement: bytes) -> bool:
    """Whether a restore may do without a statement."""
    return bool(_REFRESH.match(statement) or _COMMENT.match(statement) or dropped_role(statement))


def note_refused(session: LoadingSession, statement: bytes, what: str, error: psycopg.Error) -> bool:
    """Note that the server refused a statement; False if the restore is to fail of it."""
    said = session.as_restore_error(error, what).message
    if _REFRESH.match(statement):
        # A function that relies on search_path has a way out that fills the view: --search-path.
        if _NOT_ITS_OWN.match(error.sqlstate or "XX") or relying_function(error):
            return False
        session.unfilled_views.append((statement, what, said))
    elif comment := _COMMENT.match(statement):
        if not isinstance(error, psycopg.errors.InsufficientPrivilege):
            return False
        if comment[1] not in EVERYWHERE:
            session.remarks.append(f"{what} is left as it is: the extension belongs to another role")
    elif not isinstance(error, psycopg.errors.UndefinedObject):
        return False
    elif number := dropped_role(statement):
        session.dropped_roles[number] = None
    log.debug("restore does without what the server refuses", what=what, reason=said)
    return True


def remark_dropped_roles(session: LoadingSession) -> None:
    """One remark on all rights that were left out."""
    if not session.dropped_roles:
        return
    names = ", ".join(quoted(number) for number in session.dropped_roles)
    session.remarks.append(
        f"rights of {names} are left out, since there is no role of that name: by a number pg_dump tells a role that"
        f" was dropped; if one is called so, CREATE ROLE {names.partition(',')[0]} NOLOGIN, and restore again"
    )
    session.dropped_roles = {}


def retry_views(session: LoadingSession) -> None:
    """Fill the materialized views that could not be filled in their turn, as long as that gets any further."""
    while left := session.unfilled_views:
        session.unfilled_views = []
        for statement, what, _ in left:
            session.run(statement, what)
        if len(session.unfilled_views) == len(left):
            break
    for statement, _, said in session.unfilled_views:
        again = statement.decode(errors="backslashreplace").rstrip("; \n")
        session.remarks.append(f"{said}; it is left without rows: when that is mended, {again}")
    session.unfilled_views = []
