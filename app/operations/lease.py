"""Keeps a claim alive while its work goes on, and notices when it is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import structlog

from app.domain.ports import Catalog, Run
from app.errors import BackupCreationError, CatalogError

HEARTBEAT_SECONDS = 10.0
log = structlog.get_logger(__name__)


class Lease:
    """A run that this process holds."""

    def __init__(self, catalog: Catalog, run: Run, clock: Callable[[], datetime]) -> None:
        self._catalog = catalog
        self._run = run
        self._clock = clock
        self._ended = threading.Event()
        self._lost = False

    def confirm(self) -> None:
        """Make sure that the run is still ours. A catalog that cannot be asked does not stop a finished backup.

        Raises:
            BackupCreationError: it was taken for dead, and another run may be under way.
        """
        self._beat()
        if self._lost:
            raise BackupCreationError(
                f"run {self._run.id} of the {self._run.tier} backup was taken for dead and gave up its place",
                "was this machine asleep or out of memory? the next run makes the backup",
            )

    def _beat(self) -> None:
        try:
            self._lost = self._lost or not self._catalog.heartbeat(self._run, self._clock())
        except CatalogError as error:
            log.warning(
                "backup heartbeat not saved", run=self._run.id, error=type(error).__name__, reason=error.message
            )

    def _keep_beating(self, every: float) -> None:
        while not self._ended.wait(every) and not self._lost:
            self._beat()


@contextmanager
def lease(
    catalog: Catalog, run: Run, clock: Callable[[], datetime], *, every: float = HEARTBEAT_SECONDS
) -> Iterator[Lease]:
    """Give signs of life every so many seconds for the length of a block."""
    held = Lease(catalog, run, clock)
    thread = threading.Thread(target=held._keep_beating, args=(every,), name=f"lease-{run.id}", daemon=True)  # noqa: SLF001
    thread.start()
    try:
        yield held
    finally:
        held._ended.set()  # noqa: SLF001
        thread.join()
