"""Pins a backup, so that retention never removes it. The pin is in the manifest, and so outlives the catalog."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.archive.manifest import Manifest
from app.domain.backup import Backup, checked_note
from app.domain.events import BackupEvent
from app.errors import BackupNotFoundError
from app.operations.backups.inventory import find
from app.operations.backups.opened import (
    OpenBackup,
    ReplacedMeanwhileError,
    as_described,
    each_look,
    opened,
    replaced_meanwhile,
)
from app.operations.options import Options
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


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest with its bytes in the tree: as long as these are the same, it need not be parsed again."""

    data: bytes
    manifest: Manifest


def set_pin(service: Service, backup: Backup, reason: str | None, known: StoredManifest | None = None) -> Backup:
    """Pin a backup, or with None release it.

    Args:
        service: the parts.
        backup: which one.
        reason: why it is pinned.
        known: its manifest, if it was parsed before.

    Raises:
        BackupNotFoundError: it is gone.
        ManifestError: it has no readable manifest to write the pin into.
        BackupWriteError: the manifest cannot be written, or the backup was replaced meanwhile.
        CatalogError: the pin is in the manifest, which is what counts, but not in the catalog.
    """
    for now in each_look(service, backup):
        try:
            with opened(service, now) as found:
                as_known = known is not None and known.data == found.data
                manifest = known.manifest if known is not None and as_known else found.manifest()
                pin_opened(found, manifest, reason)
                return replace(
                    as_described(now, manifest), pinned_reason=reason, pinned_by=_pinner(service.options, reason)
                )
        except (ReplacedMeanwhileError, BackupNotFoundError):
            continue
    raise replaced_meanwhile(backup)


def pin_opened(found: OpenBackup, manifest: Manifest, reason: str | None) -> StoredManifest:
    """Write a pin into the manifest of an open backup, and into the catalog.

    Raises:
        ReplacedMeanwhileError: the backup is another one by now.
        BackupWriteError, CatalogError: as of `set_pin`.
    """
    service, backup = found.service, found.backup
    by = _pinner(service.options, reason)
    pinned = manifest.model_copy(update={"pinned_reason": reason, "pinned_by": by})
    stored = service.tree.look(backup.file)
    found.require_still()
    if stored is None or stored.manifest != found.data:
        raise replaced_meanwhile(backup)
    data = pinned.to_json().encode()
    service.tree.write_manifest(backup.file, data, stored)
    service.catalog.pin(backup.database, backup.id, reason, by)
    name = BackupEvent.RELEASED if reason is None else BackupEvent.PINNED
    service.events.emit(Event(name, backup=backup.id, figures={"reason": reason or None, "by": service.options.by}))
    return StoredManifest(data, pinned)


def _pinner(options: Options, reason: str | None) -> str | None:
    return None if reason is None else options.by
