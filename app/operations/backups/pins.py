"""Pins of restores: retention must not remove what a restore needs, nor what undoes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from app.domain.backup import Backup
from app.domain.events import RestoreEvent
from app.domain.restore import Restore, RestoreState
from app.errors import CatalogError, ResidencyBackupError
from app.operations.backups.keep import StoredManifest, set_pin
from app.operations.service import Service
from app.ports.events import failure

_PIN = re.compile(r"restore (?P<id>[0-9a-f]{12})")


def release(
    service: Service,
    restore: Restore,
    backups: Sequence[Backup],
    *,
    but: str | None = None,
    known: StoredManifest | None = None,
) -> list[str]:
    """Release what a restore pinned, except one backup; returns what was released.

    A failed release is tried again by the next run.

    Args:
        service: the parts.
        restore: the restore.
        backups: all that there are.
        but: id of the one that stays pinned.
        known: the manifest of one of them, if it was parsed before.
    """
    released = []
    for backup in backups:
        if backup.pinned_reason != restore.pin or backup.id == but:
            continue
        try:
            set_pin(service, backup, None, known)
        except ResidencyBackupError as error:
            service.events.emit(failure(RestoreEvent.PIN_NOT_RELEASED, error, backup=backup.id))
        else:
            released.append(backup.id)
    return released


def in_use(service: Service) -> set[str]:
    """The source and the safety backup of each restore that is under way or not recovered, pinned or not.

    A person may have released one, and a backup without a manifest cannot be pinned.
    """
    try:
        records = service.restores.restores(service.database)
    except CatalogError as error:
        service.events.emit(failure(RestoreEvent.BY_PINS, error))
        return set()
    open_ = (record for record in records if record.state in {RestoreState.RUNNING, RestoreState.ABANDONED})
    return {name for record in open_ for name in (record.backup, record.safety) if name is not None}


def why_needed(service: Service, backup_id: str) -> str | None:
    """Why restores need a backup, in words; None if none does.

    Raises:
        CatalogError: nobody can tell.
    """
    now = service.clock()
    for record in service.restores.restores(service.database):
        if record.state in {RestoreState.RUNNING, RestoreState.ABANDONED}:
            if backup_id in {record.backup, record.safety, record.before_rollback}:
                return f"restore {record.id}, which is under way or not recovered, needs it"
        elif record.undo_until is not None and record.undo_until > now and backup_id == record.safety:
            return f"it is what was there before restore {record.id}, until {record.undo_until:%Y-%m-%d %H:%M %Z}"
    return None


def pinned_for(backups: Iterable[Backup]) -> list[tuple[str, Backup]]:
    """Backups pinned by restores, with the restores' ids."""
    pinned = ((_PIN.fullmatch(backup.pinned_reason or ""), backup) for backup in backups)
    return [(found["id"], backup) for found, backup in pinned if found]
