"""Which times a run trusts: that of an earlier backup of its slot, and that of the server's clock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.domain.backup import Backup, BackupName
from app.domain.clocks import SKEW
from app.domain.events import BackupEvent
from app.domain.servers import Identity
from app.domain.slots import Slot
from app.operations.service import Service
from app.ports.events import Event
from app.ports.runs import Catalog


def made_already(service: Service, slot: Slot, server: Identity, backups: Sequence[Backup]) -> Backup | None:
    """The slot's backup, if an earlier run made it but could not record that in the catalog."""
    latest = service.clock() + (-SKEW if _is_first_attempt(service.catalog, service.database, slot) else SKEW)
    wanted = BackupName(slot.tier, slot.period)
    found = (backup for backup in backups if backup.database == service.database)
    own = (backup for backup in found if backup.identity.same_system(server))
    candidates = (backup for backup in own if backup.id == wanted.id and backup.period == wanted.period)
    return next(
        (backup for backup in candidates if backup.is_verified and slot.due <= backup.created_at <= latest), None
    )


def _is_first_attempt(catalog: Catalog, database: str, slot: Slot) -> bool:
    """Whether the catalog, which knows earlier slots of the tier, knows no earlier attempt at this slot.

    A backup of the slot that is dated just now was then made under a clock that was ahead.
    """
    record = catalog.slot(database, slot.tier, slot.period)
    first = catalog.first_slot_due(database, slot.tier)
    return record is not None and record.attempts <= 1 and first is not None and first < slot.due


def dated(service: Service, taken_at: datetime) -> datetime:
    """The instant of a snapshot by the server's clock, but not later than now: no backup is from the future."""
    now = service.clock()
    if abs(taken_at - now) <= SKEW:
        return taken_at
    ahead = round((taken_at - now).total_seconds())
    figures = {"ahead_seconds": ahead, "now": now.isoformat()}
    service.events.emit(Event(BackupEvent.CLOCK_DIFFERS, figures=figures))
    return min(taken_at, now)
