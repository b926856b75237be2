"""Keeps last year's week 03 when this year's is written: a week's file name has no year."""

from __future__ import annotations

from dataclasses import replace

import structlog

from app.domain.backup import Tier, id_of
from app.errors import CatalogError
from app.operations.backups.inventory import Inventory
from app.ports.runs import Catalog
from app.ports.tree import Tree

log = structlog.get_logger(__name__)


def keep_year(tree: Tree, catalog: Catalog, tier: Tier, period: str, backups: Inventory) -> bool:
    """Rename a weekly backup of another year that stands under the name which `period` is about to take.

    Returns:
        Whether there was one.

    Raises:
        BackupWriteError: it cannot be renamed; then the new one must not take its place.
    """
    if tier is not Tier.WEEKLY:
        return False
    name = id_of(tier, period)
    backup = backups.standing(name)
    if backup is None or backup.period == period:
        return False
    dated = id_of(tier, backup.period, with_year=True)
    renamed = replace(backup, id=dated, file=backup.file.replace(name, dated, 1))
    tree.rename(backup.file, renamed.file)
    log.info("backup renamed, to keep its year", backup=name, renamed=dated)
    try:
        catalog.save(renamed)
        catalog.forget(backup.database, name)
    except CatalogError as error:
        log.warning("backup catalog not saved", backup=dated, error="CatalogError", reason=error.message)
    return True
