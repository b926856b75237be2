"""Deletes a backup that somebody names, for a reason that is recorded.

find it -> is it this database's, and may it go? -> remove it -> record who deleted it, and why
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.backup import Backup, Origin, checked_note
from app.domain.clocks import from_future
from app.domain.events import BackupEvent
from app.errors import BackupValidationError, CatalogError
from app.operations.backups.inventory import find, inventory
from app.operations.backups.lineage import ours
from app.operations.backups.pins import pinned_for, why_needed
from app.operations.backups.removal import remove
from app.operations.backups.servers import asked, require_folder, require_ours
from app.operations.ending import VerbEnding
from app.operations.service import Service
from app.ports.events import Event, failure
from app.ports.runs import Deletion

_REASON = "say why, it is recorded: --reason 'holds what must be forgotten'"


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """A backup that is gone, why, and what could not be recorded of that."""

    backup: Backup
    reason: str
    warnings: list[str]


def delete(service: Service, name: str, reason: str) -> DeleteResult:
    """Delete a backup.

    Args:
        service: the parts.
        name: its id, or its path in the tree.
        reason: why, in one line.

    Raises:
        BackupNotFoundError: there is none of that name.
        BackupValidationError: there is no reason, or the backup must stay; says why, and what would release it.
        ServerMismatchError: the backups are another server's.
        BackupError: it cannot be removed.
        CatalogError: the file is gone, and the catalog does not say so.
    """
    with VerbEnding(service.events, BackupEvent.NOT_DELETED, "the deletion was cancelled") as ending:
        if not checked_note("reason", reason).strip():
            raise BackupValidationError("a backup is deleted for a reason, and none is given", _REASON)
        require_folder(service)
        require_ours(service, asked(service.source))
        listing = inventory(service)
        backup = find(service, name, listing)
        ending.backup = backup.id
        _require_removable(service, backup, ours(service, listing))
        remove(service, backup, listing)
        return DeleteResult(backup, reason, _recorded(service, backup, reason))


def _require_removable(service: Service, backup: Backup, own: Sequence[Backup]) -> None:
    """Refuse to delete what may be the last that there is, or what something needs.

    Raises:
        BackupValidationError: says why it stays, and what would release it.
    """
    if all(other.id != backup.id for other in own):
        raise BackupValidationError(
            f"{backup.id} is not of this server's database {service.database}",
            f"it is of {backup.database}, {backup.identity}: delete it with the settings of that one",
        )
    if not backup.sha256:
        message = f"{backup.id} has no manifest, and the catalog does not know it: nothing says what it is"
        raise BackupValidationError(message, "index it first: residency-backup sync; or remove the file by hand")
    if why := why_needed(service, backup.id):
        raise BackupValidationError(f"{backup.id} cannot be deleted: {why}", "to see all: residency-backup restores")
    if backup.pinned_reason is not None:
        pinned = f"{backup.id} is pinned" + (f": {backup.pinned_reason}" if backup.pinned_reason else "")
        hint = f"if it is not wanted any more: residency-backup keep --release {backup.id}"
        if pinned_for([backup]):  # a restore that the catalog does not know any more, or one that is over
            hint = f"what is over is released by: residency-backup check --repair; {hint}"
        raise BackupValidationError(pinned, hint)
    if backup == _newest_verified(service, backup, own):
        raise BackupValidationError(
            f"{backup.id} is the newest verified {'backup' if backup.tier.is_sql else 'full backup'}, and stays",
            f"take another one first: residency-backup create {'manual' if backup.tier.is_sql else 'full'}",
        )


def _newest_verified(service: Service, backup: Backup, own: Sequence[Backup]) -> Backup | None:
    """The newest verified backup of its kind; one from the future only if there is no other."""
    verified = [other for other in own if other.origin is Origin.DUMP and other.is_verified]
    alike = [other for other in verified if other.tier.is_sql is backup.tier.is_sql and other.is_whole]
    now = service.clock()
    return next((other for other in alike if not from_future(other, now)), next(iter(alike), None))


def _recorded(service: Service, backup: Backup, reason: str) -> list[str]:
    """Tell of the deletion, and record it once it is done; a warning if the catalog does not take it."""
    by = service.options.by
    figures = {"bytes": backup.bytes, "by": by}
    service.events.emit(Event(BackupEvent.DELETED, backup=backup.id, reason=reason, figures=figures))
    deletion = Deletion(
        database=backup.database,
        id=backup.id,
        created_at=backup.created_at,
        sha256=backup.sha256,
        deleted_at=service.clock(),
        deleted_by=by,
        reason=reason,
    )
    try:
        service.catalog.record_deletion(deletion)
    except CatalogError as error:
        service.events.emit(failure(BackupEvent.CATALOG_NOT_SAVED, error, backup=backup.id))
        return [f"the catalog does not say who deleted {backup.id}, and why: {error.message}"]
    return []
