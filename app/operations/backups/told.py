"""What the catalog knows of manifests, so that `list` and `show` need not parse all of them.

A manifest is known by the SHA-256 of its bytes, so a changed one is parsed again. This is for looking only: whatever
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
    """What backups there are, for somebody who only looks."""
    return inventory(service, told=_told(service))


def keep_told(service: Service, files: Iterable[TreeFile]) -> None:
    """Record what the manifests of all files tell. It saves time only, so a failure is a warning."""
    told = {
        digest_of(file.stored.manifest): file.told
        for file in files
        if file.stored.manifest is not None and file.told is not None
    }
    try:
        service.catalog.keep_told(service.database, told)
    except CatalogError as error:
        service.events.emit(failure(BackupEvent.CATALOG_NOT_SAVED, error))


def _told(service: Service) -> Mapping[str, Backup]:
    try:
        return service.catalog.told(service.database)
    except CatalogError:  # `inventory` warns of it
        return {}
