"""SQL of slots. A function works in its caller's transaction, which must hold the run of the tier."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from app.catalog.rows import record_of
from app.catalog.tables import NOBODYS, insert_into, slots
from app.domain.backup import Tier
from app.domain.servers import ANY, Identity
from app.domain.slots import Slot, SlotRecord, SlotState
from app.ports.runs import Run

KEY = ["database", "system_identifier", "tier", "period"]


def read(connection: Connection, database: str, tier: Tier, period: str, server: Identity = ANY) -> SlotRecord | None:
    """The entry of a slot: of the server, or else one without a server; None if there is none.

    If the server is not known, the last entry of any server.
    """
    rows = connection.execute(select(slots).where(_is(database, tier, period)))
    records = [record for row in rows if (record := record_of(row)).server.same_system(server)]
    return max(records, key=lambda entry: (entry.server.system_identifier is not None, entry.updated_at), default=None)


def first_due(connection: Connection, database: str, tier: Tier) -> datetime | None:
    """When the tier's first entry came due; None if it has none."""
    query = select(func.min(slots.c.due)).where((slots.c.database == database) & (slots.c.tier == tier))
    found: datetime | None = connection.execute(query).scalar_one()
    return found


def last_due(connection: Connection, database: str) -> datetime | None:
    """When the last entry of a database came, or comes, due; None if it has none."""
    query = select(func.max(slots.c.due)).where(slots.c.database == database)
    found: datetime | None = connection.execute(query).scalar_one()
    return found


def forget(connection: Connection, database: str, after: datetime) -> None:
    """Remove the entries of slots that come due after an instant."""
    connection.execute(delete(slots).where((slots.c.database == database) & (slots.c.due > after)))


def begin(connection: Connection, run: Run, slot: Slot, before: SlotRecord | None, now: datetime) -> None:
    """Record one more attempt at a slot; `before` was its entry."""
    values = {
        "due": slot.due,
        "state": SlotState.RUNNING,
        "attempts": before.attempts + 1 if before else 1,
        "transient": False,
        "updated_at": now,
        "database_oid": run.server.database_oid,
    }
    key = {
        "database": run.database,
        "system_identifier": run.server.system_identifier or NOBODYS,
        "tier": slot.tier,
        "period": slot.period,
    }
    statement = insert_into(connection, slots, key | values)
    connection.execute(statement.on_conflict_do_update(index_elements=KEY, set_=values))


def done(connection: Connection, run: Run, now: datetime) -> None:
    """Record that the slot of a run, if it has one, was run."""
    _end(connection, run, SlotState.DONE, now, transient=False)


def fail(connection: Connection, run: Run, now: datetime, *, transient: bool) -> None:
    """Record that the slot of a run, if it has one, was not run."""
    _end(connection, run, SlotState.FAILED, now, transient=transient)


def pass_over(connection: Connection, database: str, slot: Slot, now: datetime) -> None:
    """Record that a slot need not be run, unless it has an entry."""
    if read(connection, database, slot.tier, slot.period) is not None:
        return
    values = {
        "database": database,
        "system_identifier": NOBODYS,
        "tier": slot.tier,
        "period": slot.period,
        "due": slot.due,
        "state": SlotState.PASSED,
        "attempts": 0,
        "transient": False,
        "updated_at": now,
    }
    connection.execute(insert_into(connection, slots, values).on_conflict_do_nothing(index_elements=KEY))


def _end(connection: Connection, run: Run, state: SlotState, now: datetime, *, transient: bool) -> None:
    if run.slot is None:
        return
    mine = slots.c.system_identifier == (run.server.system_identifier or NOBODYS)
    here = _is(run.database, run.tier, run.slot.period) & mine
    connection.execute(update(slots).where(here).values(state=state, transient=transient, updated_at=now))


def _is(database: str, tier: Tier, period: str) -> ColumnElement[bool]:
    return (slots.c.database == database) & (slots.c.tier == tier) & (slots.c.period == period)
