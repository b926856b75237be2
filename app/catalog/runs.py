"""SQL of runs: beginning, signs of life, end. A function works in its caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select, update

from app.catalog import signs, slots
from app.catalog.rows import run_of, run_values
from app.catalog.tables import UNDER_WAY, RunState, insert_into, runs
from app.domain.backup import Tier
from app.ports.runs import Run


def under_way(connection: Connection, database: str | None = None, tier: Tier | None = None) -> Sequence[Row[Any]]:
    """Rows of the runs under way, oldest first: with one order for all, two transactions cannot deadlock."""
    query = select(runs).where(runs.c.state == RunState.RUNNING).order_by(runs.c.started_at, runs.c.id)
    if database is not None:
        query = query.where(runs.c.database == database)
    if tier is not None:
        query = query.where(runs.c.tier == tier)
    return connection.execute(query).all()


def begin(connection: Connection, run: Run) -> bool:
    """Record a run as this process's. False if another of its tier is under way.

    On PostgreSQL this waits for a transaction that begins or ends another run of the tier.
    """
    values = run_values(run) | {"state": RunState.RUNNING, "holder": signs.signed(connection)}
    statement = insert_into(connection, runs, values).on_conflict_do_nothing(
        index_elements=["database", "tier"], index_where=UNDER_WAY
    )
    return connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == 1


def may_have_made(connection: Connection, database: str, tier: Tier, backup_id: str, at: datetime) -> bool:
    """Whether a run may have made a backup at an instant; also if no run is recorded that began before it."""
    began = (runs.c.database == database) & (runs.c.started_at <= at)
    if connection.execute(select(runs.c.id).where(began).limit(1)).first() is None:
        return True
    going = runs.c.finished_at.is_(None) | (runs.c.finished_at >= at)
    same = (runs.c.tier == tier) & (runs.c.backup_id.is_(None) | (runs.c.backup_id == backup_id))
    return connection.execute(select(runs.c.id).where(began, going, same).limit(1)).first() is not None


def withdraw(connection: Connection, run: Run) -> None:
    """Remove a run that was begun in this transaction."""
    connection.execute(runs.delete().where(runs.c.id == run.id))


def beat(connection: Connection, run: Run, now: datetime) -> bool:
    """Record a sign of life. False if the run is no longer this process's."""
    return _change(connection, run, heartbeat_at=now)


def end(connection: Connection, run: Run, state: RunState, now: datetime, **facts: str) -> bool:
    """Record how a run ended. False, and nothing is changed, if it is no longer this process's."""
    return _change(connection, run, state=state, finished_at=now, **facts)


def _change(connection: Connection, run: Run, **values: object) -> bool:
    """Change a run if it is under way and this process's: a process that lost it must not change it."""
    mine = (runs.c.id == run.id) & (runs.c.state == RunState.RUNNING) & signs.is_mine(runs)
    change = update(runs).where(mine).values(**values, holder=signs.signed(connection))
    return connection.execute(change).rowcount == 1


def abandon_dead(
    connection: Connection, now: datetime, lease: timedelta, database: str | None = None, tier: Tier | None = None
) -> list[Run]:
    """End the runs whose holders are dead, and their slots: both failed for a transient reason."""
    present = signs.moment(connection, now)
    return [
        run_of(row)
        for row in under_way(connection, database, tier)
        if (why := signs.why_dead(row, present, lease)) and _abandon(connection, row, now, why)
    ]


def _abandon(connection: Connection, row: Row[Any], now: datetime, why: str) -> bool:
    """End a run, unless it ended or gave a sign of life since it was looked at."""
    unchanged = (runs.c.id == row.id) & (runs.c.state == RunState.RUNNING)
    unchanged &= (runs.c.heartbeat_at == row.heartbeat_at) & (runs.c.holder == row.holder)
    values = {"state": RunState.ABANDONED, "finished_at": now, "message": why}
    if connection.execute(update(runs).where(unchanged).values(**values)).rowcount != 1:
        return False
    slots.fail(connection, run_of(row), now, transient=True)
    return True
