"""Locks in whose way a session of the service gets for sure: it waits in the server until somebody has acted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.fix_postgres import TestDatabase

HELD = 4711
LOCKS = {
    "rule": f"SELECT pg_advisory_xact_lock({HELD})",
    "question": "LOCK TABLE pg_catalog.pg_extension IN ACCESS EXCLUSIVE MODE",  # which a session does not need to begin
    "write": "LOCK TABLE notifications IN ROW EXCLUSIVE MODE",
}
_OURS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname LIKE %s AND application_name = 'residency-backup' AND wait_event_type IN ('Lock', 'Timeout')"""


@contextmanager
def held(database: TestDatabase, what: str) -> Iterator[None]:
    """Hold one of the locks for the length of a block."""
    with database.connect() as connection, connection.transaction():
        connection.execute(LOCKS[what].encode())
        yield


def at_work(database: TestDatabase) -> list[int]:
    """Sessions of ours, in it and what is made beside it, that wait in the server, or sleep."""
    return [pid for (pid,) in database.query(_OURS, f"{database.name}%")]
