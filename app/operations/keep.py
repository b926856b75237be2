"""Pins a backup, so that retention never removes it. The pin is in the manifest, and so outlives the catalog."""

from __future__ import annotations

from dataclasses import replace

import structlog

from app.domain.backup import Backup, checked_note
from app.operations.inventory import find
from app.operations.service import Service
from app.operations.verify import read_manifest

log = structlog.get_logger(__name__)


def keep(service: Service, name: str, reason: str | None) -> Backup:
    """Pin a backup, or release it.

    Args:
        service: the parts.
        name: an id or alias.
        reason: why it is pinned, may be empty; None releases it.

    Raises:
        BackupNotFoundError: there is none of that name.
        BackupValidationError: the reason is not a line of text.
        ManifestError: it has no readable manifest to write the pin into.
        BackupWriteError: the manifest cannot be written, or the backup was replaced meanwhile.
        CatalogError: the pin is in the manifest, which is what counts, but not in the catalog.
    """
    if reason is not None:
        checked_note("reason", reason)
    backup = find(service, name)
    stored = next((each for each in service.tree.files() if each.file == backup.file), None)
    manifest = read_manifest(service, backup).model_copy(update={"kept": reason})
    service.tree.write_manifest(backup.file, manifest.to_json().encode(), stored)
    pinned = replace(backup, kept=reason)
    service.catalog.pin(backup.database, backup.id, reason)
    log.info("backup released" if reason is None else "backup pinned", backup=backup.id, reason=reason or None)
    return pinned
