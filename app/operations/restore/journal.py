"""The record of a restore under way: each step is in the catalog before it is begun, with the names that it makes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import structlog

from app.domain.events import RestoreEvent
from app.domain.restore import Restore, Step
from app.errors import CatalogError, RestoreError
from app.operations.lease import lease
from app.operations.service import Service
from app.ports.events import failure

log = structlog.get_logger(__name__)


class Journal:
    """The record of a restore that this process holds."""

    def __init__(self, service: Service, record: Restore) -> None:
        self.service = service
        self.record = record

    def write(self, step: Step | None = None, **changes: Any) -> None:
        """Record where the restore stands.

        Args:
            step: what is begun next; None if it goes on with the step.
            changes: fields of the record.

        Raises:
            CatalogError: it cannot be recorded, so the step must not be begun.
            RestoreError: another process took this one for dead, and recovered the restore.
        """
        if step is not None:
            changes["step"] = step
            log.debug("restore step", step=str(step))
        record = replace(self.record, heartbeat_at=self.service.clock(), **changes)
        self.service.restores.save_restore(record)
        self.record = record

    def note(self, **changes: Any) -> None:
        """Change fields of the record, to be recorded with the next step."""
        self.record = replace(self.record, **changes)

    def beating(self) -> AbstractContextManager[object]:
        """Give signs of life for the length of a block. If they are refused, the next step fails."""
        hint = "to see what became of it: residency-backup restores"
        lost = RestoreError(f"restore {self.record.id} was taken for dead", hint)

        def tell(error: CatalogError) -> None:
            self.service.events.emit(failure(RestoreEvent.HEARTBEAT_NOT_SAVED, error))

        return lease(lambda now: self.service.restores.beat_restore(self.record, now), lost, self.service.clock, tell)
