"""The search_path that a database and a role have, which a session of ours does not.

Anybody who may create things in a schema of that path can make an operator or a function that fits the words of a
question better than the server's own does, and would so be run by whoever asks: often by a superuser. So every session
begins with an empty path (`app.postgres.database`), under which names are the server's own; what belongs to the
database's users is looked for, and evaluated, under theirs.

Source: CVE-2018-1058.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

OWN_PATH = "SELECT reset_val FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'search_path'"
_TAKEN = f"SELECT pg_catalog.set_config('search_path', ({OWN_PATH}), true)"


@contextmanager
def under_own_path(connection: psycopg.Connection) -> Iterator[None]:
    """A block of questions, each of whose names says its schema; all else that it does is undone."""
    with connection.transaction(force_rollback=True):
        connection.execute(_TAKEN.encode())
        yield
