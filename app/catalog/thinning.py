"""SQL that thins the record of runs. A function works in its caller's transaction."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, select, tuple_

from app.catalog.tables import RunState, backups, runs

_READ = 1000  # rows a statement
_MOST = 20  # statements a call


def superfluous(
    connection: Connection, database: str, before: datetime, instants: Collection[datetime]
) -> Sequence[str]:
    """The ids of runs that began before an instant and that nobody needs, as many as a few statements find.

    What stays is said at `Catalog.thin_runs`.
    """
    stands = set(connection.execute(select(backups.c.id).where(backups.c.database == database)).scalars())
    ordered = sorted(instants)
    found: list[str] = []
    last: dict[tuple[str, int, int], str] = {}  # of a tier and a month, among those that were looked at
    rows = _ended(connection, database, before)
    next(rows, None)  # the first one of all says when the record begins
    for row in rows:
        month = (str(row.tier), row.started_at.year, row.started_at.month)
        if month in last:
            found.append(last.pop(month))
        at = bisect_left(ordered, row.started_at)
        if row.backup_id not in stands and (at == len(ordered) or ordered[at] > row.finished_at):
            last[month] = row.id
    return found


def forget(connection: Connection, ids: Sequence[str]) -> None:
    """Remove runs, so many a statement."""
    for start in range(0, len(ids), _READ):
        connection.execute(delete(runs).where(runs.c.id.in_(ids[start : start + _READ])))


def _ended(connection: Connection, database: str, before: datetime) -> Iterator[Row[Any, Any, Any, Any, Any]]:
    """Runs that have ended and began before an instant, oldest first."""
    key = (runs.c.started_at, runs.c.id)
    columns = (*key, runs.c.tier, runs.c.finished_at, runs.c.backup_id)
    ended = (runs.c.state != RunState.RUNNING) & runs.c.finished_at.is_not(None)
    query = select(*columns).where(runs.c.database == database, runs.c.started_at < before, ended)
    query = query.order_by(*key).limit(_READ)
    page = connection.execute(query).all()
    for _ in range(_MOST - 1):
        yield from page
        if len(page) < _READ:
            return
        page = connection.execute(query.where(tuple_(*key) > tuple_(page[-1].started_at, page[-1].id))).all()
    yield from page
