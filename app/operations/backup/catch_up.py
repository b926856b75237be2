"""The slots to run now: missed while the service was down, lost by the broker, or free for another attempt."""

from __future__ import annotations

from datetime import datetime

from app.domain.clocks import SKEW
from app.domain.events import BackupEvent, EventName
from app.domain.servers import ANY
from app.domain.slots import Slot
from app.errors import OUT_OF_MEMORY, BackupError, BackupReadError, ServerMismatchError
from app.operations.backups.servers import asked, lineage_of, require_folder, require_ours
from app.operations.schedule import Schedule
from app.operations.service import Service
from app.ports.events import Event, Events, failure

_KILLED_HINT = f"{OUT_OF_MEMORY}; a scheduled run is tried again by itself, any other is not"
_reported: dict[tuple[str, str], str] = {}  # the last slot of each database and tier: what this process has logged


def due_slots(service: Service) -> list[Slot]:
    """The slots to run now, at most one of each tier: the last that came due.

    If several slots of a tier were missed, only the last is run: a backup shows the present, not the past. A slot
    that came due before the service was first started counts as passed, not as missed. A slot that another server ran
    counts as not run. The record of a slot that is not due yet comes from a clock that was ahead: it is forgotten, so
    that the slot is run in its time.
    """
    require_folder(service)
    now = service.clock()
    for run in service.catalog.abandon_dead(now):
        figures = {"slot": run.slot and run.slot.period, "run": run.id}
        killed = BackupEvent.KILLED
        event = Event(killed, database=run.database, tier=run.tier, figures=figures, hint=_KILLED_HINT)
        service.events.emit(event)
    service.catalog.forget_slots(service.database, now + SKEW)
    due = [slot for schedule in service.options.schedules.values() if (slot := _due(service, schedule, now))]
    return [slot for slot in due if _is_ours(service, slot)]


def _due(service: Service, schedule: Schedule, now: datetime) -> Slot | None:
    slot = schedule.last_due(now)
    first = service.catalog.first_slot_due(service.database, slot.tier)
    if first is None or slot.due < first:  # the latter if a schedule was moved to a later time on its first day
        service.catalog.pass_slot(service.database, slot, now)
        return None
    server = lineage_of(service).current or ANY
    record = service.catalog.slot(service.database, slot.tier, slot.period, server)
    return slot if record is None or record.may_run(now) else None


def _is_ours(service: Service, slot: Slot) -> bool:
    """Whether this server is to run the slot. If not, an event says so once for each slot, not every minute."""
    try:
        require_ours(service, asked(service.source))
    except ServerMismatchError as error:
        _tell(service.events, service.database, slot, BackupEvent.OTHER_SERVER, error)
        return False
    try:
        service.tree.folder.require_readable()
    except BackupReadError as error:
        _tell(service.events, service.database, slot, BackupEvent.MARKER_UNREADABLE, error)
        return False
    return True


def _tell(events: Events, database: str, slot: Slot, name: EventName, error: BackupError) -> None:
    key = (database, str(slot.tier))
    if _reported.get(key) != slot.period:
        _reported[key] = slot.period
        events.emit(failure(name, error, tier=slot.tier, slot=slot.period))
