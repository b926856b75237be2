"""Pins a backup, so that retention never removes it. The pin is in the manifest, and so outlives the catalog."""

from __future__ import annotations

from dataclasses import replace

from app.domain.backup import Backup, checked_note
from app.domain.events import EventName
from app.errors import BackupNotFoundError
from app.operations.backups.inventory import find
from app.operations.backups.opened import ReplacedMeanwhileError, as_described, each_look, opened, replaced_meanwhile
from app.operations.service import Service
from app.ports.events import Event


def keep(service: Service, name: str, reason: str | None) -> Backup:
    """Pin a backup, or release it.

    Args:
        service: the parts.
        name: an id or alias.
        reason: why it is pinned, may be empty; None releases it.

    Raises:
        BackupNotFoundError: there is none of that name.
        BackupValidationError: the reason is not a line of text.
        ManifestError, BackupWriteError, CatalogError: as of `set_pin`.
    """
    if reason is not None:
        checked_note("reason", reason)
    return set_pin(service, find(service, name), reason)


def set_pin(service: Service, backup: Backup, reason: str | None) -> Backup:
    """Pin a backup, or with None release it.

    Raises:
        BackupNotFoundError: it is gone.
        ManifestError: it has no readable manifest to write the pin into.
        BackupWriteError: the manifest cannot be written, or the backup was replaced meanwhile.
        CatalogError: the pin is in the manifest, which is what counts, but not in the catalog.
    """
    for now in each_look(service, backup):
        try:
            pinned = _written(service, now, reason)
            break
        except (ReplacedMeanwhileError, BackupNotFoundError):
            continue
    service.catalog.pin(pinned.database, pinned.id, reason)
    name = EventName.BACKUP_RELEASED if reason is None else EventName.BACKUP_PINNED
    service.events.emit(Event(name, backup=pinned.id, figures={"reason": reason or None}))
    return pinned


def _written(service: Service, backup: Backup, reason: str | None) -> Backup:
    """Write the pin into the manifest.

    Raises:
        ReplacedMeanwhileError: the backup is another one by now.
    """
    with opened(service, backup) as found:
        manifest = found.manifest().model_copy(update={"pinned_reason": reason})
        stored = service.tree.look(backup.file)
        found.require_still()
        if stored is None or stored.manifest != found.data:
            raise replaced_meanwhile(backup)
        service.tree.write_manifest(backup.file, manifest.to_json().encode(), stored)
    return replace(as_described(backup, manifest), pinned_reason=reason)
