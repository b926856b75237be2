"""Which slots are due and not run: missed while the service was down, lost on the way, or free for another attempt."""

from __future__ import annotations

from datetime import datetime

from app.domain.clocks import SKEW
from app.domain.slots import Slot
from app.operations.schedule import Schedule
from app.operations.service import Service


def due_slots(service: Service) -> list[Slot]:
    """The slots to run now, at most one of each tier: the last that came due.

    However many were missed, only the last is made up for: a backup shows the present, not the past. A slot that came
    due before the service first looked is nobody's fault, and passes. A record of a slot that is not due yet is from a
    clock that ran ahead: it is forgotten, for the slot is still to be run.
    """
    now = service.clock()
    service.catalog.abandon_dead(now)
    service.catalog.forget_slots(service.database, now + SKEW)
    return [slot for schedule in service.schedules.values() if (slot := _due(service, schedule, now))]


def _due(service: Service, schedule: Schedule, now: datetime) -> Slot | None:
    slot = schedule.last_due(now)
    first = service.catalog.first_slot_due(service.database, slot.tier)
    if first is None or slot.due < first:  # the latter where a schedule was moved to later on its first day
        service.catalog.pass_slot(service.database, slot, now)
        return None
    record = service.catalog.slot(service.database, slot.tier, slot.period)
    return slot if record is None or record.may_run(now) else None
