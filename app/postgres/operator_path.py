"""Runs statements of a dump under a given search_path if they hold operators that cannot be schema-qualified.

A dump is loaded under an empty search_path. But SQL has no way to qualify the operator of `IS DISTINCT FROM`, `NULLIF`,
`CASE … WHEN` and `JOIN … USING`. Under an empty path the server looks for it in pg_catalog only: an operator of citext,
hstore or ltree is not found, or another one is taken. If a path is given, such statements run under it. So do COPY and
REFRESH MATERIALIZED VIEW, because what they evaluate may look up names (`to_regclass`, `ts_stat`). All other names in
these statements are qualified.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import psycopg
from psycopg.pq import TransactionStatus

UNQUALIFIABLE = re.compile(
    rb"\bIS (?:NOT )?DISTINCT FROM\b|\bNULLIF\(|\bCASE\s+(?!WHEN\b)|\bUSING \(|\AREFRESH MATERIALIZED VIEW\s"
)
UNDEFINED_HINT = (
    "if it compares by IS DISTINCT FROM, NULLIF, CASE or USING, name the schemas of the types' extensions: "
    "--search-path public; else the message is the server's: remove its cause"
)
_PATHS = """
    SELECT coalesce(nullif(%t, ''), reset_val) FROM pg_catalog.pg_settings
    WHERE name OPERATOR(pg_catalog.=) 'search_path'"""
_WAS = "SELECT pg_catalog.current_setting('search_path')"
_SET = "SELECT pg_catalog.set_config('search_path', %t, false)"


class PathSession(Protocol):
    """A session of a load, as far as this module needs it."""

    connection: psycopg.Connection
    operator_path: str | None


def set_operator_path(sessions: Sequence[PathSession], path: str | None) -> None:
    """Set the search_path for such statements.

    Args:
        sessions: of the load; they have run no statement yet.
        path: schemas, as SET takes them; empty for the configured path of database and role; None for no path.
    """
    for session in sessions if path is not None else ():
        row = session.connection.execute(_PATHS.encode(), (path,)).fetchone()
        session.operator_path = row[0] if row else path


@contextmanager
def under_operator_path(session: PathSession, statement: bytes | None = None) -> Iterator[None]:
    """A block that runs a statement, or loads rows, under the path if that is needed."""
    path, connection = session.operator_path, session.connection
    if path is None or (statement is not None and not UNQUALIFIABLE.search(statement)):
        yield
        return
    (previous,) = connection.execute(_WAS.encode()).fetchone() or ("",)
    connection.execute(_SET.encode(), (path,))
    try:
        yield
    finally:  # the rollback of a failed transaction restores the setting
        if connection.info.transaction_status in {TransactionStatus.IDLE, TransactionStatus.INTRANS}:
            connection.execute(_SET.encode(), (previous,))
