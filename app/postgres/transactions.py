"""What became of a transaction, whoever began it: the server knows by the transaction's id."""

from __future__ import annotations

import psycopg

from app.postgres.maintenance import Maintenance

_STATUS = "SELECT pg_xact_status(%s::xid8)"
_MINE = "SELECT pg_current_xact_id()::text"
# A commit of another transaction, whose record the disk has before it is reported, and so all that stands before it.
_FLUSH = "SELECT pg_logical_emit_message(true, 'residency-backup', 'restore')"


def durable_id(session: Maintenance, beside: Maintenance) -> str:
    """The id of a session's transaction, in a form that outlives a crash of the server.

    An id that no record on disk mentions is given away again after a crash; then whoever asked for it later would be
    told of another transaction.

    Args:
        session: in the transaction, which has written already.
        beside: another session, outside of a transaction.
    """
    identifier = str(session.ask(_MINE)[0][0])
    beside.ask(_FLUSH)
    return identifier


def committed(session: Maintenance, transaction: str) -> bool | None:
    """Whether a transaction of this server was committed; None where it still runs or nobody knows."""
    try:
        with session.connection.transaction():
            status = session.connection.execute(_STATUS, (transaction,)).fetchone()
    except psycopg.errors.InvalidParameterValue:
        return False  # an id that was never given away: the server lost it in a crash, with all that was done under it
    return {"committed": True, "aborted": False}.get(status[0]) if status else None
