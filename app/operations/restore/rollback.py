"""Undoes a restore that is complete, or finishes one that a crash left half done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

import structlog

from app.archive.reader import Archive
from app.domain.events import EventName, RestoreEvent
from app.domain.psql import in_psql, renaming
from app.domain.restore import Method, Restore, RestoreState, Side, Step, never_undone, newer_restores
from app.errors import (
    BackupCancelledError,
    CatalogError,
    ResidencyBackupError,
    RestoreCancelledError,
    RestoreError,
    RestoreNotFoundError,
    RestoreRollbackError,
    RestoreRunningError,
    RestoreValidationError,
)
from app.operations.backups.inventory import find
from app.operations.backups.servers import of_this_server
from app.operations.backups.verify import read_manifest
from app.operations.ending import Ending
from app.operations.restore.journal import Journal
from app.operations.restore.position import Obstacle, no_way_back
from app.operations.restore.recover import PATIENCE_SECONDS, after_rollback, complete, resolve, settle, unsettled
from app.operations.restore.replication import pause, put_aside, resume, resumed_or_said
from app.operations.restore.safety import take_safety_backup
from app.operations.service import SILENT, Progress, Service, target_for
from app.ports.events import Event, failure
from app.ports.target import Target

_LOOK = "look again: residency-backup restores"
_ENDED = {
    RestoreState.FAILED: "it failed, and the database is as before",
    RestoreState.ABANDONED: "it could not be cleaned up",
    RestoreState.ROLLED_BACK: "it was rolled back already",
}


@dataclass(frozen=True, slots=True)
class RollbackOutcome:
    """A restore that is undone, and what a person should know of it."""

    restore: Restore
    notes: tuple[str, ...] = ()


def rollback(service: Service, restore_id: str, progress: Progress = SILENT) -> RollbackOutcome:
    """Undo a restore.

    Raises:
        RestoreNotFoundError: there is none of that id.
        RestoreRunningError: it is under way.
        RestoreValidationError: there is nothing to roll back to, or it is on another server.
        RestoreRollbackError: it failed; says what stands where, and how to go on.
        RestoreCancelledError: it was cancelled; the database is as the restore left it.
    """
    record = _find(service, restore_id)
    with structlog.contextvars.bound_contextvars(database=record.changes, restore=record.id):
        if any(each.id == record.id for each in unsettled(service)):
            settled = settle(service, record)
            if settled is None:
                raise RestoreRunningError(f"restore {record.id} is being settled by another", _LOOK)
            if settled.state is not RestoreState.COMPLETE:
                state = "rolled back" if settled.state is RestoreState.ROLLED_BACK else "not complete"
                note = f"the restore was {state} when its process died; what it left is cleaned up"
                return RollbackOutcome(settled, (note,))
            record = settled
        _require_undo(service, record)
        return _roll_back(service, record, progress)


def back_in_place(service: Service, journal: Journal, progress: Progress = SILENT) -> None:
    """Make the live database what the safety backup holds, in one transaction."""
    backup = find(service, journal.record.safety or "")
    manifest = read_manifest(service, backup)
    archive = Archive(lambda: service.tree.open(backup.file), manifest.codec, manifest.index)
    progress.start("roll back in place", manifest.raw_bytes)
    journal.write(Step.ROLLING_BACK, transaction=None)
    # Functions find what they found before.
    target_for(service, journal.record).replace_in_place(archive, manifest.server, _recording(journal), search_path="")


def _find(service: Service, restore_id: str) -> Restore:
    record = service.restores.restore(restore_id) if isinstance(restore_id, str) else None
    if record is None or record.database != service.database:
        message = f"there is no restore {restore_id} of {service.database}"
        raise RestoreNotFoundError(message, "'residency-backup restores' lists them")
    if not of_this_server(service, [record]):
        message = f"restore {restore_id} was made on another server, of system identifier {record.server}"
        raise RestoreValidationError(message, "roll it back there: DATABASE_URL leads to another one now")
    return record


def _require_undo(service: Service, record: Restore) -> None:
    """Make sure that there is something to roll back to.

    Raises:
        RestoreRunningError, RestoreValidationError: there is not; says why, and what else helps.
    """
    if record.state is RestoreState.RUNNING:
        raise RestoreRunningError(f"restore {record.id} is under way", "wait for its end, or cancel it")
    found = _why_not(service, record)
    if found is None:
        return
    hint = "take another backup to go back to"
    if record.state is not RestoreState.COMPLETE:
        hint = "nothing to do: the database is as it was before"
    if record.safety and record.state is RestoreState.COMPLETE:
        live = record.database
        hint = f"the state before is in {record.safety}: {_from_safety(record, live)}"
    raise RestoreValidationError(f"restore {record.id} cannot be rolled back: {found.why}", found.hint or hint)


def _why_not(service: Service, record: Restore) -> Obstacle | None:
    if record.state is not RestoreState.COMPLETE:
        return Obstacle(_ENDED[record.state])
    if record.undo_until is None:
        return Obstacle("nothing that was before it is kept")
    if service.clock() >= record.undo_until:
        return Obstacle(f"it could be until {record.undo_until:%Y-%m-%d %H:%M %Z} (RESTORE_UNDO_HOURS)")
    newer = newer_restores(record, of_this_server(service, service.restores.restores(service.database)))
    if final := never_undone(newer, service.clock()):
        return Obstacle(f"restore {final.id} came after it, and cannot be undone")
    if newer:
        return Obstacle(f"restore {newer[0].id} came after it: roll that back first")
    return _no_means(service, record)


def _no_means(service: Service, record: Restore) -> Obstacle | None:
    if record.method is Method.SHADOW:
        return no_way_back(record, target_for(service, record).databases())
    if record.method is Method.ROWS and record.id not in service.scripts.ids():
        return Obstacle(f"{_script(service, record)}, which was kept for it, is gone")
    return None


def _script(service: Service, record: Restore) -> Path:
    return service.scripts.path(record.id)


def _roll_back(service: Service, record: Restore, progress: Progress) -> RollbackOutcome:
    now = service.clock()
    claimed = replace(
        record, state=RestoreState.RUNNING, step=Step.ROLLING_BACK, transaction=None, heartbeat_at=now, finished_at=None
    )
    if not service.restores.settle_restore(claimed, record):
        raise RestoreRunningError(f"restore {record.id} is being rolled back by another", _LOOK)
    journal = Journal(service, claimed)
    _tell(journal, RestoreEvent.ROLLBACK_STARTED, method=str(record.method))
    ways: dict[Method | None, Callable[[Service, Journal, Progress], list[str]]] = {
        Method.SHADOW: _by_rename,
        Method.IN_PLACE: _in_place,
        Method.ROWS: _by_script,
    }
    with journal.beating():
        with RollbackEnding(journal):
            return _done(journal, ways[record.method](service, journal, progress))
        return _done(journal, ["it was cancelled or cut off after it had been committed, and so is done"])


def _tell(journal: Journal, name: EventName, **figures: object) -> None:
    journal.service.events.emit(Event(name, restore=journal.record.id, figures=figures))


def _by_rename(service: Service, journal: Journal, progress: Progress) -> list[str]:
    record = journal.record
    progress.start("swap", None)
    undo, shadow = record.undo or "", record.shadow or ""
    target = target_for(service, record)
    pause(target, journal, Side.MADE)
    downtime = target.swap(undo, record.changes, shadow)
    _tell(journal, RestoreEvent.ROLLBACK_SWAPPED, downtime=downtime, kept=shadow)
    return put_aside(target, journal.record, shadow)


def _in_place(service: Service, journal: Journal, progress: Progress) -> list[str]:
    # Nothing else would be left of what came since the restore.
    taken = take_safety_backup(service, journal.record, f"before the rollback of restore {journal.record.id}", progress)
    journal.write(before_rollback=taken.backup.id)
    back_in_place(service, journal, progress)
    return [f"the database was made what the safety backup {journal.record.safety} holds"]


def _by_script(service: Service, journal: Journal, progress: Progress) -> list[str]:
    progress.start("undo rows", None)
    target: Target = target_for(service, journal.record)
    with service.scripts.open(journal.record.id) as script:
        target.run_script(script, _recording(journal))
    return []


def _recording(journal: Journal) -> Callable[[str], None]:
    return lambda transaction: journal.write(transaction=transaction)


def _done(journal: Journal, notes: list[str]) -> RollbackOutcome:
    service = journal.service
    notes += resumed_or_said(service.events, target_for(service, journal.record), journal.record, Side.REPLACED)
    record = after_rollback(service, journal.record)
    if record.undo_until is not None and _is_kept(service, record):
        until = f"{record.undo_until:%Y-%m-%d %H:%M %Z}"
        kept = f"database {record.shadow}" if record.method is Method.SHADOW else f"backup {record.safety}"
        notes.append(f"what was there before the rollback is kept as {kept} until {until}")
    try:
        service.restores.save_restore(record)
    except (CatalogError, RestoreError) as error:
        notes.append(f"the end of the rollback is not in the catalog: {error.message}; residency-backup check --repair")
        service.events.emit(failure(RestoreEvent.CATALOG_NOT_SAVED, error, restore=record.id))
    _tell(journal, RestoreEvent.ROLLED_BACK, method=str(record.method))
    return RollbackOutcome(record, tuple(notes))


def _is_kept(service: Service, record: Restore) -> bool:
    """Whether what was there before the rollback is; where there was no live database, none could be kept."""
    if record.method is not Method.SHADOW:
        return True
    try:
        return record.shadow in target_for(service, record).databases()
    except ResidencyBackupError as error:
        service.events.emit(failure(RestoreEvent.ROLLED_BACK_UNSEEN, error, restore=record.id))
        return False  # what is not known is not promised; `check` says it later


class RollbackEnding(Ending):
    """How a rollback ends that fails: recorded is where it leaves everything."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def cancelled(self, signal: KeyboardInterrupt | BackupCancelledError) -> Exception:  # noqa: ARG002
        """The error of a rollback that was cancelled."""
        return RestoreCancelledError("the rollback was cancelled", "the database is as the restore left it")

    def settle(self, error: Exception, cause: BaseException) -> Exception | None:  # noqa: ARG002
        """Find out and record where everything stands; None if the rollback had gone through."""
        service, record = self._journal.service, self._journal.record
        try:
            # What the server found unfit was never begun.
            refused = isinstance(error, RestoreValidationError)
            if refused:
                resume(service.events, target_for(service, record), record, Side.MADE)
            settled = complete(service, record) if refused else resolve(service, record, patience=PATIENCE_SECONDS)
            if settled.state is RestoreState.ROLLED_BACK:
                return None
            service.restores.save_restore(settled)
        except ResidencyBackupError as failed:
            return RestoreRollbackError(f"{error}; then {failed.message}", failed.hint)
        return error if isinstance(error, RestoreCancelledError) else _failed(service, record, error)

    def tell(self, error: Exception) -> None:
        """Say why it failed."""
        record = self._journal.record
        self._journal.service.events.emit(failure(RestoreEvent.NOT_ROLLED_BACK, error, restore=record.id))


def _from_safety(record: Restore, live: str) -> str:
    return f"residency-backup restore {record.safety} --mode replace --confirm {quote(live)}"


def _failed(service: Service, record: Restore, error: Exception) -> RestoreRollbackError:
    """Says what stands where, and what can be done by hand."""
    live = record.changes
    from_safety = _from_safety(record, live)
    there = not isinstance(error, RestoreValidationError)
    renames = (renaming(live, record.shadow or ""), renaming(record.undo or "", live))
    by_hand = {
        Method.SHADOW: in_psql("postgres", "BEGIN", *renames, "COMMIT") if there else from_safety,
        Method.IN_PLACE: from_safety,
        Method.ROWS: f"psql -X -1 -v ON_ERROR_STOP=1 -d {quote(live)} -f {quote(str(_script(service, record)))}",
    }
    stands = f"database {live} is as the restore left it"
    if record.method is Method.SHADOW and there:
        stands += f", and what was before is in database {record.undo}"
    if record.safety:
        stands += f"; the safety backup is {record.safety}"
    words = f"restore {record.id} could not be rolled back: {error}; {stands}"
    first = f"{error.hint}; " if isinstance(error, ResidencyBackupError) and error.hint else ""
    method = record.method or Method.IN_PLACE
    return RestoreRollbackError(
        words, f"{first}try again: residency-backup rollback {record.id}; by hand: {by_hand[method]}"
    )
