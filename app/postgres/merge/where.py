"""The operator's condition on the rows of a merge (`--where`); see `app.postgres.merge.guarded`."""

from __future__ import annotations

from tempfile import SpooledTemporaryFile

from app.postgres.merge.guarded import Expression, Place, evaluate
from app.postgres.merge.session import MergeSession

_HINT = "--where takes an SQL condition on the table's columns: \"start_date >= '2025-01-01'\""
IN_MEMORY = 16 << 20  # bytes of what an expression returns; more of it goes to a file
BLOCK = 1 << 20


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
    meets = f"SELECT t.ctid FROM {rows} AS t WHERE "
    within = Place(f"{meets}(SELECT (", "\n)) IS TRUE")
    condition = Expression(where, what, Place(meets, "\n"), within, "a condition", _HINT)
    with SpooledTemporaryFile(IN_MEMORY) as places:
        evaluate(session, condition, f"{within.head}{where}{within.tail}", places.write)
        places.seek(0)
        blocks = iter(lambda: places.read(BLOCK), b"")
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
