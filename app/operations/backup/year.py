"""Keeps last year's week 03 when this year's is written: a week's file name has no year."""

from __future__ import annotations

from dataclasses import replace

from app.domain.backup import BackupName, Tier, id_of
from app.domain.events import BackupEvent
from app.errors import CatalogError
from app.operations.backups.inventory import Inventory
from app.operations.service import Service
from app.ports.events import Event, failure


def keep_year(service: Service, name: BackupName, backups: Inventory) -> bool:
    """Rename a weekly backup of another year that stands under the name of this year's.

    Returns:
        Whether there was one.

    Raises:
        BackupWriteError: it cannot be renamed; then the new one must not take its place.
    """
    if name.tier is not Tier.WEEKLY:
        return False
    backup = backups.standing(name.id)
    if backup is None or backup.period == name.period:
        return False
    dated = id_of(name.tier, backup.period, with_year=True)
    renamed = replace(backup, id=dated, file=backup.file.replace(name.id, dated, 1))
    service.tree.rename(backup.file, renamed.file)
    service.events.emit(Event(BackupEvent.RENAMED_YEAR, backup=name.id, figures={"renamed": dated}))
    try:
        service.catalog.save(renamed)
        service.catalog.forget(service.database, name.id)
    except CatalogError as error:
        service.events.emit(failure(BackupEvent.CATALOG_NOT_SAVED, error, backup=dated))
    return True
