"""Pins of restores: retention must not remove what a restore needs, nor what undoes it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import structlog

from app.domain.backup import Backup
from app.domain.restore import Restore, RestoreState
from app.errors import CatalogError, ManifestError, ResidencyBackupError
from app.operations.backups.keep import set_pin
from app.operations.service import Service
from app.ports.restores import Restores

log = structlog.get_logger(__name__)
_PIN = re.compile(r"restore (?P<id>[0-9a-f]{12})")


def pin(service: Service, backup: Backup, restore: Restore) -> None:
    """Pin a backup for a restore, unless somebody has pinned it already.

    One without a manifest has nothing to write a pin into, and is none that retention removes.
    """
    if backup.kept is not None:
        return
    try:
        set_pin(service, backup, restore.pin)
    except ManifestError as error:
        log.warning("restore pin not set", backup=backup.id, error=type(error).__name__, reason=error.message)


def release(service: Service, restore: Restore, backups: Sequence[Backup], *, but: str | None = None) -> list[str]:
    """Release what a restore pinned, except one backup; returns what was released. What fails waits for the next."""
    released = []
    for backup in backups:
        if backup.kept != restore.pin or backup.id == but:
            continue
        try:
            set_pin(service, backup, None)
        except ResidencyBackupError as error:
            log.warning("restore pin not released", backup=backup.id, error=type(error).__name__, reason=error.message)
        else:
            released.append(backup.id)
    return released


def in_use(restores: Restores, database: str) -> set[str]:
    """Backups that a restore under way, or one that is not settled, restores from or has taken, pinned or not.

    A pin can be lost: to a person, to another restore whose time is over, or for want of a manifest.
    """
    try:
        records = restores.restores(database)
    except CatalogError as error:
        log.warning("restores not readable, going by the pins", error=type(error).__name__, reason=error.message)
        return set()
    open_ = (each for each in records if each.state in {RestoreState.RUNNING, RestoreState.ABANDONED})
    return {name for each in open_ for name in (each.backup, each.safety) if name is not None}


def pinned_for(backups: Iterable[Backup]) -> list[tuple[str, Backup]]:
    """Backups pinned by restores, with the restores' ids."""
    pinned = ((_PIN.fullmatch(backup.kept or ""), backup) for backup in backups)
    return [(found["id"], backup) for found, backup in pinned if found]
