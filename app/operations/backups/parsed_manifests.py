"""Manifests that the catalog holds parsed, so that `list` and `show` need not parse all of them.

The key is the SHA-256 of a manifest's bytes, so a changed one is parsed again. This is for looking only: whatever
verifies, restores, publishes or removes a backup parses its manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.domain.backup import Backup
from app.domain.events import BackupEvent
from app.errors import CatalogError
from app.operations.backups.inventory import Inventory, inventory
from app.operations.backups.same_name import TreeFile, digest_of
from app.operations.service import Service
from app.ports.events import failure


def inventory_to_look_at(service: Service) -> Inventory:
    """The backups, for a verb that only looks."""
    return inventory(service, parsed=_parsed(service))


def keep_parsed(service: Service, files: Iterable[TreeFile]) -> None:
    """Record the backups that the manifests describe. It only saves time, so a failure is a warning."""
    described = {
        digest_of(file.stored.manifest): file.described
        for file in files
        if file.stored.manifest is not None and file.described is not None
    }
    try:
        service.catalog.keep_manifests(service.database, described)
    except CatalogError as error:
        service.events.emit(failure(BackupEvent.CATALOG_NOT_SAVED, error))


def _parsed(service: Service) -> Mapping[str, Backup]:
    try:
        return service.catalog.manifests(service.database)
    except CatalogError:  # `inventory` warns of that
        return {}
