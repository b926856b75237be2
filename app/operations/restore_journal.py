"""Keeps a restore's record: each step is in the catalog before it is done, and so is each name that it makes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import structlog

from app.domain.restore import Restore, Step
from app.errors import CatalogError
from app.operations.service import Service

BEAT_SECONDS = 10.0
log = structlog.get_logger(__name__)


class Journal:
    """The record of a restore that this process holds."""

    def __init__(self, service: Service, record: Restore) -> None:
        self.service = service
        self.record = record

    def write(self, step: Step | None = None, **changes: Any) -> None:
        """Record where the restore stands.

        Args:
            step: the one that is begun next.
            changes: fields of the record.

        Raises:
            CatalogError: it cannot be recorded; so the step must not be done.
            RestoreError: another process took this one for dead.
        """
        if step is not None:
            changes["step"] = step
            log.debug("restore step", step=str(step))
        record = replace(self.record, heartbeat_at=self.service.clock(), **changes)
        self.service.restores.save_restore(record)
        self.record = record

    @contextmanager
    def beating(self, every: float = BEAT_SECONDS) -> Iterator[None]:
        """Give signs of life for the length of a block."""
        ended = threading.Event()
        work = threading.Thread(target=self._beat, args=(ended, every), name=f"restore-{self.record.id}", daemon=True)
        work.start()
        try:
            yield
        finally:
            ended.set()
            work.join()

    def _beat(self, ended: threading.Event, every: float) -> None:
        while not ended.wait(every):
            try:
                if not self.service.restores.beat_restore(self.record, self.service.clock()):
                    return  # the next step finds out
            except CatalogError as error:
                log.warning("restore heartbeat not saved", error=type(error).__name__, reason=error.message)
