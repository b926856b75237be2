"""Keeps the backup that a run would replace, where the new one is not the same thing a day later.

It holds a fraction of what the older one held: then something happened to the database, and the older one may be what
is wanted. Or it is of another server: then the older one is a lost server's last.
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


def keep_beside(service: Service, newer: Backup, backups: Inventory) -> str | None:
    """Move the backup that `newer` is about to replace to the ad hoc ones, pinned, if it is worth it.

    Returns:
        What to say of it, for whoever reads the run's warnings; None if nothing was moved.

    Raises:
        BackupWriteError: it cannot be moved; then the new one must not take its place.
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
    moved = replace(backup, id=new_id, file=file, tier=Tier.MANUAL, period=name.period, pinned_reason=reason)
    service.tree.rename(backup.file, moved.file, _manifest(service, backup, moved))
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


def _manifest(service: Service, backup: Backup, moved: Backup) -> bytes | None:
    """The manifest under its new name; None where there is none, and so nothing that retention would remove."""
    try:
        manifest: Manifest = read_manifest(service, backup)
    except ManifestError:
        return None
    facts = {"tier": moved.tier, "period": moved.period, "pinned_reason": moved.pinned_reason}
    return manifest.model_copy(update=facts).to_json().encode()
