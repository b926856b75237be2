"""Gives a finished backup its name. The backup that had the name is kept under another one, or replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.archive.manifest import Manifest
from app.domain.backup import Backup, BackupName
from app.domain.events import BackupEvent, EventName
from app.errors import ResidencyBackupError
from app.operations.backup.beside import keep_beside
from app.operations.backup.year import keep_year
from app.operations.backups.inventory import Inventory, inventory
from app.operations.service import Service
from app.ports.events import Event, Events, failure
from app.ports.tree import Draft


@dataclass(slots=True)
class BackupResult:
    """A backup that was made, and warnings of what failed after that."""

    backup: Backup
    events: Events = field(repr=False)
    warnings: list[str] = field(default_factory=list)

    def warn(self, name: EventName, error: ResidencyBackupError | str) -> None:
        """Add and emit a warning: something failed, but the backup is made."""
        if isinstance(error, str):
            event = Event(name, backup=self.backup.id, reason=error)
        else:
            event = failure(name, error, backup=self.backup.id)
        self.warnings.append(f"{name.phrase}: {event.reason}")
        self.events.emit(event)


def publish(
    service: Service, draft: Draft, manifest: Manifest, backups: Inventory, warnings: Sequence[str]
) -> BackupResult:
    """Give a backup that was written and read back its name, and write its manifest.

    Args:
        service: the parts.
        draft: the file.
        manifest: what it holds.
        backups: the last look at the tree.
        warnings: what is not in the backup.

    Raises:
        BackupWriteError: it cannot be named, or the earlier backup cannot be kept; then that one is as before.
    """
    name = BackupName(manifest.tier, manifest.period)
    renamed = keep_year(service, name, backups)
    file = name.file(manifest.codec)
    taken = BackupResult(manifest.to_backup(name.id, file), service.events)
    kept = keep_beside(service, taken.backup, inventory(service, backups) if renamed else backups)
    if renamed or kept:
        backups = inventory(service, backups)  # an earlier file has another name by now
    proven = any(backup.is_verified for backup in backups if backup.id == name.id)
    problem = draft.publish(file, manifest.to_json().encode(), backups.own_files(name.id), proven=proven)
    for warning in warnings:
        taken.warn(BackupEvent.INCOMPLETE, warning)
    if kept:
        taken.warn(BackupEvent.KEPT_BESIDE, kept)
    if problem:
        saved = service.tree.read_manifest(file) is not None
        taken.warn(BackupEvent.EARLIER_NOT_REMOVED if saved else BackupEvent.MANIFEST_NOT_SAVED, problem)
    return taken
