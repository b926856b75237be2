"""Deletions that a crash interrupted. Before one is finished, the rules that always keep a backup are applied again.

Since retention decided, newer backups may be lost or damaged, somebody may have pinned this one, or a restore may need
it.
"""

from __future__ import annotations

from dataclasses import replace

from app.domain.backup import Backup, BackupState, Tier
from app.domain.events import BackupEvent
from app.domain.retention import Retention, plan_retention
from app.operations.backups.inventory import MISSING, Inventory, inventory
from app.operations.backups.lineage import ours
from app.operations.backups.pins import in_use
from app.operations.service import Service
from app.ports.events import Event

_ALWAYS_ONLY = Retention(dict.fromkeys(Tier, 0))


def reinstated(service: Service, backup: Backup, before: Inventory | None = None) -> Backup | None:
    """Make a backup whose deletion was cut short a complete one again, if it must stay; None if it may go.

    Other deletions that were cut short do not count as backups: each of them may be gone a moment later.

    Args:
        service: the parts.
        backup: it, as the inventory or the catalog has it; its file is there, and has the bytes that the row names.
        before: an earlier look; what stands now is asked again, because other deletions may have gone on since.

    Raises:
        CatalogError: it must stay, and the catalog cannot be written.
    """
    found = inventory(service, before)
    row = found.rows.get(backup.file, backup)
    now = next((other for other in found if other.id == row.id), backup)
    # A crash may have come after the manifest went: then the row is the proof.
    whole = replace(row, state=BackupState.COMPLETE, pinned_reason=now.pinned_reason, problem=now.problem)
    why = _why_it_stays(service, whole, found)
    if why is None:
        return None
    service.catalog.save(whole)
    service.events.emit(Event(BackupEvent.REINSTATED, backup=whole.id, reason=why))
    return whole


def _why_it_stays(service: Service, backup: Backup, found: Inventory) -> str | None:
    if backup.id in in_use(service):
        return "a restore that is under way needs it"
    standing = (
        other for other in ours(service, found) if other.state is BackupState.COMPLETE and other.problem != MISSING
    )
    others = [other for other in standing if other.id != backup.id]
    plan = plan_retention([backup, *others], _ALWAYS_ONLY, service.clock())
    return ", ".join(plan.reasons.get(backup.id, ())) or None
