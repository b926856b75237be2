"""Applies retention.

A deletion goes in this order: mark the row DELETING, remove the manifest, the file, the row. After a crash no row
promises a file that is gone, and the next run finishes the deletion.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from app.domain.backup import Backup, BackupState
from app.domain.events import BackupEvent
from app.domain.retention import Plan, plan_retention
from app.errors import BackupValidationError, CatalogError, ResidencyBackupError, ServerMismatchError
from app.operations.backups.expire import expire_quietly
from app.operations.backups.inventory import MISSING, Inventory, inventory
from app.operations.backups.lineage import ours
from app.operations.backups.opened import ReplacedMeanwhileError, holds, replaced_meanwhile
from app.operations.backups.parsed_manifests import keep_parsed
from app.operations.backups.pins import in_use
from app.operations.backups.same_name import describe
from app.operations.backups.servers import asked, require_folder, require_ours
from app.operations.backups.unfinished import reinstated
from app.operations.service import Service
from app.ports.events import Event, failure
from app.ports.tree import StoredFile


@dataclass(slots=True)
class PruneResult:
    """The plan, what of it was done, and why the rest was not."""

    plan: Plan
    removed: list[Backup] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def prune(service: Service, *, dry_run: bool = False, before: Inventory | None = None) -> PruneResult:
    """Remove what retention does not keep. One file that cannot be removed does not keep the others.

    Args:
        service: the parts.
        dry_run: plan only; on another server, with the reason why nothing would come of it.
        before: an earlier look at the backups, if there was one.

    Raises:
        ServerMismatchError: the backups are another server's.
        BackupError: the tree is not there, or cannot be read.
    """
    require_folder(service)
    refusals = []
    try:
        require_ours(service, asked(service))
    except ServerMismatchError as error:
        if not dry_run:
            raise
        refusals = [f"prune would be refused: {error.message}; {error.hint}"]
    listing = inventory(service, before)
    if not dry_run and expire_quietly(service, listing):
        listing = inventory(service, listing)
    if not dry_run:
        keep_parsed(service, listing.files())
    needed = in_use(service)
    found = ours(service, listing)
    backups = [backup for backup in found if backup.id not in needed]
    # What a crash interrupted: with the file gone, or replaced meanwhile, only the row is left to remove.
    unfinished = [backup for backup in found if backup.state is BackupState.DELETING]
    plan = plan_retention(
        [backup for backup in backups if backup.state is BackupState.COMPLETE], service.options.keep, service.clock()
    )
    outcome = PruneResult(plan, problems=refusals)
    if not dry_run:
        _carry_out(service, [*plan.pruned, *unfinished], outcome)
    return outcome


def _carry_out(service: Service, newest_first: list[Backup], outcome: PruneResult) -> None:
    """Remove backups, the oldest first: if this is interrupted, the backups that are left have no holes."""
    for backup in reversed(newest_first):
        try:
            if not _removed(service, backup):
                continue
        except ReplacedMeanwhileError:
            service.events.emit(Event(BackupEvent.NAME_TAKEN, backup=backup.id))
            continue
        except ResidencyBackupError as error:
            outcome.problems.append(f"{backup.id}: {error.message}")
            continue
        outcome.removed.append(backup)
        service.events.emit(Event(BackupEvent.PRUNED, backup=backup.id, figures={"bytes": backup.bytes}))


def _removed(service: Service, backup: Backup) -> bool:
    """Remove a backup; False if a crash interrupted its deletion and it must stay by now."""
    if backup.problem != MISSING:
        stored = service.tree.look(backup.file)
        described = None if stored is None else describe(stored, service.events).described
        _require_same(service, backup, stored, described)
        if stored is not None and backup.state is BackupState.DELETING and reinstated(service, backup):
            return False
        _require_unpinned(service, backup, described)
        try:
            service.catalog.save(replace(backup, state=BackupState.DELETING))
        except CatalogError as error:
            # On a full disk nothing can be recorded, and only removing makes room; the next sync forgets the row.
            service.events.emit(failure(BackupEvent.CATALOG_NOT_SAVED, error, backup=backup.id))
        service.tree.remove(backup.file)
    service.catalog.forget(service.database, backup.id)
    return True


def _require_same(service: Service, backup: Backup, stored: StoredFile | None, described: Backup | None) -> None:
    """Make sure that the file is the one which the plan speaks of: a run may have given its name to a newer one.

    Raises:
        ReplacedMeanwhileError: it is not, or a run is just about to say what it is.
    """
    if stored is None:
        return  # what is gone needs no removing
    same = holds(service, stored, backup.sha256) if described is None else described.sha256 == backup.sha256
    if not same:
        raise replaced_meanwhile(backup)


def _require_unpinned(service: Service, backup: Backup, described: Backup | None) -> None:
    """Look again right before the removal: the plan may be old by then."""
    if described is not None and backup.state is BackupState.COMPLETE and described.pinned_reason is not None:
        raise BackupValidationError(f"backup {backup.id} was pinned meanwhile")
    if backup.id in in_use(service):
        raise BackupValidationError(f"backup {backup.id} is needed by a restore that began meanwhile")
