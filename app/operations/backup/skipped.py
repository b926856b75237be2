"""Why a scheduled run did nothing, as the ledger of slots has it."""

from __future__ import annotations

from app.domain.servers import ANY
from app.domain.slots import MAX_ATTEMPTS, Slot, SlotState
from app.operations.backups.servers import lineage_of
from app.operations.service import Service


def why_skipped(service: Service, slot: Slot) -> str:
    """What became of a slot that was not run now.

    Raises:
        CatalogError: the ledger cannot be read.
    """
    what = f"the {slot.tier} backup of {slot.period}"
    record = service.catalog.slot(service.database, slot.tier, slot.period, lineage_of(service).current or ANY)
    if record is None or record.state is SlotState.DONE:
        return f"{what} was run already"
    if record.state is SlotState.RUNNING:
        return f"{what} is being run"
    if not record.transient:
        return f"{what} failed for a reason that lasts: see the log, mend it, and run 'celery call backup.{slot.tier}'"
    if record.attempts >= MAX_ATTEMPTS:
        return f"{what} failed {record.attempts} times: see the log, and run 'celery call backup.{slot.tier}'"
    return f"{what} failed, and is tried again later: attempt {record.attempts + 1} of {MAX_ATTEMPTS}"
