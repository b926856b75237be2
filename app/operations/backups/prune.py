"""Applies retention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from app.domain.backup import Backup, BackupState
from app.domain.events import BackupEvent
from app.domain.retention import Plan, plan_retention
from app.errors import CatalogError, ResidencyBackupError, ServerMismatchError
from app.operations.backups.expire import expire_quietly
from app.operations.backups.found import known_bytes
from app.operations.backups.inventory import Inventory, inventory
from app.operations.backups.lineage import ours
from app.operations.backups.opened import ReplacedMeanwhileError
from app.operations.backups.parsed_manifests import keep_parsed
from app.operations.backups.pins import in_use
from app.operations.backups.removal import remove
from app.operations.backups.servers import asked, require_folder, require_ours
from app.operations.ending import VerbEnding
from app.operations.service import Service
from app.ports.events import Event, failure

_RUNS_KEPT = timedelta(days=365)


@dataclass(slots=True)
class PruneResult:
    """The plan, what of it was done, and why the rest was not."""

    plan: Plan
    removed: list[Backup] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def prune(service: Service, *, dry_run: bool = False) -> PruneResult:
    """Remove what retention does not keep. One file that cannot be removed does not keep the others.

    Args:
        service: the parts.
        dry_run: plan only; on another server, with the reason why nothing would be removed.

    Raises:
        ServerMismatchError: the backups are another server's.
        BackupError: the tree is not there, or cannot be read.
    """
    with VerbEnding(service.events, BackupEvent.PRUNE_FAILED, "retention was cut short; prune goes on from there"):
        return _planned(service) if dry_run else apply_retention(service)


def _planned(service: Service) -> PruneResult:
    """What retention would remove; on another server, with the reason why nothing would be removed.

    Raises:
        BackupError: the tree is not there, or cannot be read.
    """
    require_folder(service)
    refusals = []
    try:
        require_ours(service, asked(service.source))
    except ServerMismatchError as error:
        refusals = [f"prune would be refused: {error.message}; {error.hint}"]
    return PruneResult(_plan(service, ours(service, inventory(service))), problems=refusals)


def apply_retention(service: Service, before: Inventory | None = None) -> PruneResult:
    """Remove what retention does not keep, after a backup or by itself.

    Args:
        service: the parts.
        before: an earlier look at the backups, if there was one: its manifests are not parsed again.

    Raises:
        ServerMismatchError, BackupError: as of `prune`.
    """
    require_folder(service)
    require_ours(service, asked(service.source))
    listing = inventory(service, before)
    if expire_quietly(service, listing):
        listing = inventory(service, listing)  # what was pinned for a rollback is not any more
    keep_parsed(service, listing.files())
    own = ours(service, listing)
    # What a crash interrupted: with the file gone, or replaced meanwhile, only the row is left to remove.
    unfinished = [backup for backup in own if backup.state is BackupState.DELETING]
    outcome = PruneResult(_plan(service, own))
    _carry_out(service, [*outcome.plan.pruned, *unfinished], listing, outcome)
    _thin_runs(service, listing)
    return outcome


def _thin_runs(service: Service, listing: Inventory) -> None:
    """Forget old runs, but none that explains a backup which the catalog does not know. A failure is a warning."""
    known = known_bytes(listing.rows)
    unknown = (backup.verified_at for backup in listing if backup.sha256 not in known)
    try:
        instants = [at for at in unknown if at is not None]
        number = service.catalog.thin_runs(service.database, service.clock() - _RUNS_KEPT, instants)
    except CatalogError as error:
        service.events.emit(failure(BackupEvent.CATALOG_NOT_SAVED, error))
        return
    if number:
        service.events.emit(Event(BackupEvent.RUNS_THINNED, figures={"runs": number}))


def _plan(service: Service, own: Sequence[Backup]) -> Plan:
    needed = in_use(service)
    complete = [backup for backup in own if backup.id not in needed and backup.state is BackupState.COMPLETE]
    return plan_retention(complete, service.options.keep, service.clock())


def _carry_out(service: Service, newest_first: list[Backup], listing: Inventory, outcome: PruneResult) -> None:
    """Remove backups, the oldest first: if this is interrupted, the backups that are left have no holes."""
    for backup in reversed(newest_first):
        try:
            if not remove(service, backup, listing):
                continue
        except ReplacedMeanwhileError:
            service.events.emit(Event(BackupEvent.NAME_TAKEN, backup=backup.id))
            continue
        except ResidencyBackupError as error:
            outcome.problems.append(f"{backup.id}: {error.message}")
            continue
        outcome.removed.append(backup)
        service.events.emit(Event(BackupEvent.PRUNED, backup=backup.id, figures={"bytes": backup.bytes}))
