"""Whether a transaction was committed: the server knows by its id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg

from app.postgres.database import Database
from app.postgres.session import RestoreSession, as_restore_errors

_STATUS = "SELECT pg_xact_status(%s::xid8)"
_MINE = "SELECT pg_catalog.pg_current_xact_id()::pg_catalog.text"
# A synchronous commit on a second connection: when it returns, all earlier WAL is on disk, with our transaction's id.
_FLUSH = "SELECT pg_logical_emit_message(true, 'residency-backup', 'restore')"


@contextmanager
def durable_ids(database: Database) -> Iterator[Callable[[RestoreSession], str]]:
    """Yields a function that returns the id of a session's open transaction, which has written something.

    The id is then on disk. After a crash, the server assigns ids again that no WAL record on disk mentions; the status
    of such an id would be another transaction's.
    """
    with as_restore_errors(), database.connect() as second:
        second.execute("SELECT set_config('default_transaction_read_only', 'off', false)")

        def durable_id(session: RestoreSession) -> str:
            with session.translated("the transaction's id"):
                row = session.connection.execute(_MINE).fetchone()
            with as_restore_errors(), database.translated():
                second.execute(_FLUSH)
            return str(row[0] if row else "")

        yield durable_id


def committed(database: Database, transaction: str) -> bool | None:
    """Whether a transaction of this server was committed; None if it still runs or the server does not know.

    Args:
        database: any one of the server.
        transaction: the id that `durable_ids` gave.
    """
    with as_restore_errors(), database.connect() as connection:
        try:
            with connection.transaction():
                status = connection.execute(_STATUS, (transaction,)).fetchone()
        except psycopg.errors.InvalidParameterValue:
            # The server never assigned this id: a crash lost it, with everything that was done under it.
            return False
    return {"committed": True, "aborted": False}.get(status[0]) if status else None
