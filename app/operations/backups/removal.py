"""Removes one backup: mark the row DELETING, remove the manifest, the file, the row.

After a crash no row promises a file that is gone, and the next `prune` finishes the removal.
"""

from __future__ import annotations

from dataclasses import replace

from app.domain.backup import Backup, BackupState
from app.domain.events import BackupEvent
from app.errors import BackupError, BackupValidationError, CatalogError
from app.operations.backups.descriptions import described_in
from app.operations.backups.inventory import MISSING, Inventory
from app.operations.backups.opened import holds, replaced_meanwhile
from app.operations.backups.pins import in_use
from app.operations.backups.unfinished import reinstated
from app.operations.service import Service
from app.ports.events import failure
from app.ports.tree import StoredFile, Tree


def remove(service: Service, backup: Backup, listing: Inventory) -> bool:
    """Remove a backup; False if a crash interrupted its deletion and it must stay by now.

    Args:
        service: the parts.
        backup: it, as the listing has it.
        listing: the look at the tree by which its removal was decided. The file itself is looked at again: a run may
            have given its name to a newer one, and somebody may have pinned it.

    Raises:
        ReplacedMeanwhileError: a newer backup has its name by now.
        BackupValidationError: it was pinned meanwhile, or a restore needs it.
        BackupError: the file cannot be removed.
        CatalogError: the file is gone, and its row cannot be removed.
    """
    if backup.problem != MISSING:
        stored = service.tree.look(backup.file)
        described = None if stored is None else described_in(stored, service.events)
        _require_same(service.tree, backup, stored, described)
        if stored is not None and backup.state is BackupState.DELETING and reinstated(service, backup, listing):
            return False
        _require_unpinned(service, backup, described)
        try:
            service.catalog.save(replace(backup, state=BackupState.DELETING))
        except CatalogError as error:
            # On a full disk nothing can be recorded, and only removing makes room; the next sync forgets the row.
            service.events.emit(failure(BackupEvent.CATALOG_NOT_SAVED, error, backup=backup.id))
        try:
            service.tree.remove(backup.file)
        except BackupError:
            _put_back(service, backup, stored)
            raise
    service.catalog.forget(service.database, backup.id)
    return True


def _put_back(service: Service, backup: Backup, stored: StoredFile | None) -> None:
    """Make a backup that could not be removed a complete one again, if nothing of it is gone."""
    try:
        now = service.tree.look(backup.file)
    except BackupError:
        return  # the disk cannot say
    if now is None or stored is None or now.manifest is None or now.manifest != stored.manifest:
        return  # the next `prune` finishes this
    try:
        service.catalog.save(backup)
    except CatalogError as error:
        service.events.emit(failure(BackupEvent.CATALOG_NOT_SAVED, error, backup=backup.id))


def _require_same(tree: Tree, backup: Backup, stored: StoredFile | None, described: Backup | None) -> None:
    """Make sure that the file is the one which the plan speaks of: a run may have given its name to a newer one.

    Raises:
        ReplacedMeanwhileError: it is not, or a run is just about to say what it is.
    """
    if stored is None:
        return  # what is gone needs no removing
    same = holds(tree, stored, backup.sha256) if described is None else described.sha256 == backup.sha256
    if not same:
        raise replaced_meanwhile(backup)


def _require_unpinned(service: Service, backup: Backup, described: Backup | None) -> None:
    """Look again right before the removal: the plan may be old by then."""
    if described is not None and backup.state is BackupState.COMPLETE and described.pinned_reason is not None:
        raise BackupValidationError(f"backup {backup.id} was pinned meanwhile")
    if backup.id in in_use(service):
        raise BackupValidationError(f"backup {backup.id} is needed by a restore that began meanwhile")
