"""How a failed run ends: its error is reported and recorded, and its temporary files are removed."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.backup import Tier
from app.domain.events import BackupEvent
from app.errors import BackupCancelledError, BackupRunningError, CatalogError, ResidencyBackupError
from app.operations.backups.leftovers import remove_leftovers
from app.operations.ending import Ending, why_cancelled
from app.operations.service import Service
from app.ports.events import Event, failure
from app.ports.runs import Run


@dataclass(slots=True)
class RunEnding(Ending):
    """Ends a run that failed.

    Attributes:
        service: the parts; once the run is bound to its folder, the parts of that.
        tier: of the backup.
        run: the claim; None before it is made.
    """

    service: Service
    tier: Tier
    run: Run | None = None

    def cancelled(self, signal: KeyboardInterrupt | BackupCancelledError) -> Exception:
        """The reason that a signal handler named, or Ctrl-C."""
        return why_cancelled(signal, "cancelled by Ctrl-C")

    def tell(self, error: Exception) -> None:
        """Report why it failed. If another run is under way, that is reported, and is no failure."""
        if self.run is None and isinstance(error, BackupRunningError):
            self.service.events.emit(Event(BackupEvent.RUNNING, reason=error.message))
            return
        failed = failure(BackupEvent.FAILED, error, database=self.service.database, tier=self.tier)
        self.service.events.emit(failed)

    def record(self, error: Exception) -> None:
        """Free the claim, and remove what the run left."""
        if self.run is None:
            return
        transient = isinstance(error, ResidencyBackupError) and error.transient
        try:
            self.service.catalog.fail(self.run, error, self.service.clock(), transient=transient)
        except CatalogError as lost:
            self.service.events.emit(failure(BackupEvent.FAILURE_NOT_SAVED, lost, run=self.run.id))
        # A `with` block removes what it made. A signal may come after a file is made, and before its block begins.
        clear_up(self.service)


def clear_up(service: Service) -> bool:
    """Remove leftovers; return False if there were none. If one cannot be removed, only a warning is reported."""
    try:
        return bool(remove_leftovers(service))
    except ResidencyBackupError as error:  # some may be gone
        service.events.emit(failure(BackupEvent.LEFTOVERS_NOT_REMOVED, error))
        return True
