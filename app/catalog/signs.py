"""Signs of life: how long a holder has given none, by clocks that nobody sets, if there are any.

A holder gives its sign by the steady clock of its machine, which counts here if it is the same machine, and by the
clock of the catalog's server. If there is neither, the wall clock counts. A sign from the future is not believed: it is
put back into the past, so that the holder is dead soon unless it gives another.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, select, text, update

from app.catalog import holder
from app.catalog.tables import RunState, restores, runs
from app.domain.clocks import SKEW

# A process may be alive and its run lost: the catalog was away when the run ended, or a thread hangs. Without this
# limit the tier would be blocked until the process is restarted. A run that wakes up late does no harm: it asks for its
# lease before it publishes.
STUCK_LEASES = 10
# The part of the lease that counts as passed after a sign that is not believed; the rest is time for three more signs.
_DOUBTED = 0.6
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Moment:
    """The present, by the wall clock and by the clock of the catalog's server."""

    wall: datetime
    server: float | None


def moment(connection: Connection, now: datetime) -> Moment:
    """The present; `now` is what the wall clock says."""
    return Moment(now, server_time(connection))


def server_time(connection: Connection) -> float | None:
    """Seconds by the clock of the catalog's server; None for a file, which has none."""
    if connection.dialect.name == "sqlite":
        return None
    return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())


def signed(connection: Connection) -> str:
    """This process as a holder, with a sign of life."""
    return holder.signed(server_time(connection))


def is_mine(table: Table) -> ColumnElement[bool]:
    """The condition that this process holds a row of `table`."""
    name = holder.current()
    return (table.c.holder == name) | table.c.holder.startswith(f"{name}@", autoescape=True)


def why_dead(row: Row[Any], now: Moment, lease: timedelta) -> str | None:
    """Why the holder of a run, or of a restore, counts as dead; None if it is alive."""
    dead = holder.is_dead(row.holder)
    if dead:
        return "the process that held it is gone"
    silent = _silence(row, now)
    if silent is None or silent <= (lease if dead is None else STUCK_LEASES * lease):
        return None
    return f"it gave no sign of life for {silent.total_seconds():.0f} s"


def any_ahead(connection: Connection, now: Moment) -> bool:
    """Whether any sign of life is from the future."""
    return any(_silence(row, now) is None for _, row in _under_way(connection))


def disbelieve(connection: Connection, now: Moment, lease: timedelta) -> None:
    """Put the signs from the future back into the past."""
    for table, row in _under_way(connection):
        if _silence(row, now) is not None:
            continue
        server = "" if now.server is None else f"{now.server - _DOUBTED * lease.total_seconds():.3f}"
        name = holder.name_in(row.holder)
        believed = f"{name}@@{server}" if holder.server_sign(row.holder) is not None else name
        same = (table.c.id == row.id) & (table.c.holder == row.holder) & (table.c.heartbeat_at == row.heartbeat_at)
        change = update(table).where(same & (table.c.state == RunState.RUNNING))
        connection.execute(change.values(holder=believed, heartbeat_at=now.wall - _DOUBTED * lease))


def doubtful_for(connection: Connection, now: Moment, lease: timedelta) -> timedelta:
    """How long until every holder that cannot be looked at counts as dead, unless it gives a sign of life."""
    unseen = (row for _, row in _under_way(connection) if holder.is_dead(row.holder) is None)
    silent = [silence for row in unseen if (silence := _silence(row, now)) is not None]
    return max((lease - silence + _SECOND for silence in silent if silence <= lease), default=timedelta(0))


def _silence(row: Row[Any], now: Moment) -> timedelta | None:
    """How long a holder has given no sign of life; None for a sign from the future."""
    steady = holder.steady_silence(row.holder)
    if steady is not None:
        return timedelta(seconds=steady)
    given = holder.server_sign(row.holder)
    if given is not None and now.server is not None:
        silent = timedelta(seconds=now.server - given)
    else:
        silent = now.wall - row.heartbeat_at
    return silent if silent >= -SKEW else None


def _under_way(connection: Connection) -> list[tuple[Table, Row[Any]]]:
    """The runs and restores under way, of all databases, in an order in which two transactions cannot deadlock."""
    found: list[tuple[Table, Row[Any]]] = []
    for table in (runs, restores):
        query = select(table).where(table.c.state == RunState.RUNNING).order_by(table.c.started_at, table.c.id)
        found += [(table, row) for row in connection.execute(query)]
    return found
