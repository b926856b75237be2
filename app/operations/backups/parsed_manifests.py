"""What the catalog remembers of manifests, so that a look at the tree need not read all of them."""

from __future__ import annotations

from collections.abc import Iterable

from app.domain.events import BackupEvent
from app.errors import CatalogError
from app.operations.backups.same_name import TreeFile
from app.operations.service import Service
from app.ports.events import failure


def keep_parsed(service: Service, files: Iterable[TreeFile]) -> None:
    """Record what the manifests of the tree say. It only saves time, so a failure is a warning.

    Args:
        service: the parts.
        files: all of the tree.
    """
    known = {file.stored.file: file.known for file in files if file.known is not None}
    new = {file: manifest for file, manifest in known.items() if not manifest.recorded}
    try:
        service.catalog.keep_manifests(service.database, known.keys(), new)
    except CatalogError as error:
        service.events.emit(failure(BackupEvent.CATALOG_NOT_SAVED, error))
