"""What instants are believed when a backup is made."""

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


def made_already(service: Service, slot: Slot, server: Identity, backups: Sequence[Backup]) -> Backup | None:
    """The slot's backup among `backups`, if a run made it but could not say so to the catalog."""
    latest = service.clock() + (-SKEW if _is_first_attempt(service, slot) else SKEW)
    wanted = BackupName(slot.tier, slot.period)
    found = (each for each in backups if each.database == service.database)
    own = (each for each in found if each.identity.same_system(server))
    candidates = (each for each in own if each.id == wanted.id and each.period == wanted.period)
    return next((each for each in candidates if each.good and slot.due <= each.created_at <= latest), None)


def _is_first_attempt(service: Service, slot: Slot) -> bool:
    """Whether a catalog that was there before says that nobody has begun the slot yet.

    A backup of the slot that is only just made was then made by a clock that ran ahead.
    """
    record = service.catalog.slot(service.database, slot.tier, slot.period)
    first = service.catalog.first_slot_due(service.database, slot.tier)
    return record is not None and record.attempts <= 1 and first is not None and first < slot.due


def dated(service: Service, taken_at: datetime) -> datetime:
    """The instant of a snapshot: the server's word, but never newer than now, for such a backup is not believed."""
    now = service.clock()
    if abs(taken_at - now) <= SKEW:
        return taken_at
    ahead = round((taken_at - now).total_seconds())
    figures = {"ahead_seconds": ahead, "now": now.isoformat()}
    service.events.emit(Event(BackupEvent.CLOCK_DIFFERS, figures=figures))
    return min(taken_at, now)
