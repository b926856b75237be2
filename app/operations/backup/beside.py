"""Keeps the backup that a run would replace, if the new one has much less content or is of another server.

If the new backup has less than half of the rows or tables, something happened to the database, and the older backup
may be the one that is needed. If it is of another server, the older backup may be the last one of a server that is
lost.
"""

from __future__ import annotations

from dataclasses import replace

from app.archive.manifest import Manifest
from app.domain.backup import Backup, Tier
from app.domain.events import BackupEvent
from app.domain.shrink import shrank
from app.errors import CatalogError, ManifestError
from app.operations.backup.replaced import free_ad_hoc_name
from app.operations.backups.inventory import Inventory
from app.operations.backups.verify import read_manifest
from app.operations.service import Service
from app.ports.events import Event, failure
from app.ports.tree import Tree


def keep_beside(service: Service, newer: Backup, backups: Inventory) -> str | None:
    """Make the backup that `newer` is about to replace a pinned manual backup, if it is worth keeping.

    Returns:
        A warning for the run that says why; None if nothing was moved.

    Raises:
        BackupWriteError: it cannot be moved; then the new backup must not replace it.
    """
    if newer.tier.ad_hoc or not newer.tier.is_sql:
        return None
    older = backups.standing(newer.id)
    why = None if older is None else _worth_it(older, newer)
    return None if older is None or why is None else _move(service, older, why, backups)


def _worth_it(older: Backup, newer: Backup) -> str | None:
    if not older.identity.same_system(newer.identity):
        return "the one that replaced it is of another server"
    return shrank(older, newer)


def _move(service: Service, backup: Backup, why: str, backups: Inventory) -> str:
    name = free_ad_hoc_name(Tier.MANUAL, backup.created_at, backups)
    new_id = name.id
    reason = f"was {backup.id}, and was replaced: {why}"
    file = backup.file.replace(backup.id, new_id, 1)
    moved = replace(backup, id=new_id, file=file, tier=Tier.MANUAL, period=name.period)
    moved = replace(moved, pinned_reason=reason, pinned_by=service.options.by)
    service.tree.rename(backup.file, moved.file, _manifest(service.tree, backup, moved))
    service.events.emit(Event(BackupEvent.RENAMED_BESIDE, backup=backup.id, figures={"renamed": new_id}))
    try:
        service.catalog.save(moved)
        service.catalog.forget(service.database, backup.id)
    except CatalogError as error:
        service.events.emit(failure(BackupEvent.CATALOG_NOT_SAVED, error, backup=new_id))
    return (
        f"the earlier {backup.id} is kept as {new_id}, pinned: {why}; to release it: "
        f"residency-backup keep --release {new_id}"
    )


def _manifest(tree: Tree, backup: Backup, moved: Backup) -> bytes | None:
    """The manifest for the new name; None if the backup has none: retention removes no backup without a manifest."""
    try:
        manifest: Manifest = read_manifest(tree, backup)
    except ManifestError:
        return None
    facts = {name: getattr(moved, name) for name in ("tier", "period", "pinned_reason", "pinned_by")}
    return manifest.model_copy(update=facts).to_json().encode()
