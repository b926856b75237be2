"""The record of a restore under way: each step is in the catalog before it is begun, with the names that it makes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from typing import Any, TypedDict, Unpack

import structlog

from app.domain.events import RestoreEvent
from app.domain.restore import Method, Restore, RestoreState, Step
from app.errors import CatalogError, RestoreError
from app.operations.lease import lease
from app.operations.service import Service
from app.ports.events import failure

log = structlog.get_logger(__name__)


class Changes(TypedDict, total=False):
    """Fields of the record that change while a restore runs, besides its step."""

    state: RestoreState
    finished_at: datetime
    method: Method
    server: str | None
    safety: str | None
    shadow: str | None
    undo: str | None
    undo_until: datetime | None
    transaction: str | None
    made_oid: int | None
    replaced_oid: int | None
    changed_oid: int | None
    paused_replaced: tuple[str, ...]
    paused_made: tuple[str, ...]
    before_rollback: str
    report: Mapping[str, Any]


class Journal:
    """The record of a restore that this process holds."""

    def __init__(self, service: Service, record: Restore) -> None:
        self.service = service
        self.record = record

    def write(self, step: Step | None = None, **changes: Unpack[Changes]) -> None:
        """Record where the restore stands.

        Args:
            step: what is begun next; None if it goes on with the step.
            changes: fields of the record.

        Raises:
            CatalogError: it cannot be recorded, so the step must not be begun.
            RestoreError: another process took this one for dead, and recovered the restore.
        """
        if step is not None:
            log.debug("restore step", step=str(step))
        step = step or self.record.step
        record = replace(self.record, step=step, heartbeat_at=self.service.clock(), **changes)
        self.service.restores.save_restore(record)
        self.record = record

    def note(self, **changes: Unpack[Changes]) -> None:
        """Change fields of the record, to be recorded with the next step."""
        self.record = replace(self.record, **changes)

    def beating(self) -> AbstractContextManager[object]:
        """Give signs of life for the length of a block. If they are refused, the next step fails."""
        hint = "to see what became of it: residency-backup restores"
        lost = RestoreError(f"restore {self.record.id} was taken for dead", hint)

        def tell(error: CatalogError) -> None:
            self.service.events.emit(failure(RestoreEvent.HEARTBEAT_NOT_SAVED, error))

        return lease(lambda now: self.service.restores.beat_restore(self.record, now), lost, self.service.clock, tell)
