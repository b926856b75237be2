"""Words of a dump that mean what a search_path says, in a load that was given one.

A dump's statements are run without a search_path, so that they mean one thing only. PostgreSQL has no way to write the
schema of the operator in `IS DISTINCT FROM`, `NULLIF`, `CASE … WHEN` and `JOIN … USING`, though: without a path it is
looked for among the server's own, and one of citext, hstore or ltree is not found, or is taken for another one. Given a
path, statements with these are run under that. So are rows loaded and materialized views filled: what they evaluate may
look a name up (`to_regclass`, `ts_stat`), and all names in these statements are qualified.
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
    "--search-path public; else the message is the server's: mend its cause"
)
_PATHS = """
    SELECT coalesce(nullif(%t, ''), reset_val) FROM pg_catalog.pg_settings
    WHERE name OPERATOR(pg_catalog.=) 'search_path'"""
_WAS = "SELECT pg_catalog.current_setting('search_path')"
_SET = "SELECT pg_catalog.set_config('search_path', %t, false)"


class PathSession(Protocol):
    """What is needed of a session that loads."""

    connection: psycopg.Connection
    operator_path: str | None


def set_operator_path(sessions: Sequence[PathSession], path: str | None) -> None:
    """Let sessions read such words under a path.

    Args:
        sessions: of the load, that have run nothing so far.
        path: schemas, as SET takes them; an empty one stands for those of database and role; None for no path.
    """
    for session in sessions if path is not None else ():
        row = session.connection.execute(_PATHS.encode(), (path,)).fetchone()
        session.operator_path = row[0] if row else path


@contextmanager
def under_operator_path(session: PathSession, statement: bytes | None = None) -> Iterator[None]:
    """A block that runs a statement, or loads rows, under the path if it needs one."""
    path, connection = session.operator_path, session.connection
    if path is None or (statement is not None and not UNQUALIFIABLE.search(statement)):
        yield
        return
    (was,) = connection.execute(_WAS.encode()).fetchone() or ("",)
    connection.execute(_SET.encode(), (path,))
    try:
        yield
    finally:  # a transaction that failed takes it back
        if connection.info.transaction_status in {TransactionStatus.IDLE, TransactionStatus.INTRANS}:
            connection.execute(_SET.encode(), (was,))
