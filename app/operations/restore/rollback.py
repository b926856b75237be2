"""Undoes a restore that is complete, or finishes one that a crash left half done.

shadow database:  rename the two databases back; the restored one is put aside
in place:         safety backup of what came since -> replace in place by the restore's own safety backup
rows:             run the script that undoes the merge
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote

import structlog

from app.archive.reader import Archive
from app.domain.events import RestoreEvent
from app.domain.hooks import ROLLBACK, Outcome
from app.domain.psql import in_psql, renaming
from app.domain.restore import Method, Restore, RestoreState, Side, Step, never_undone, newer_restores
from app.errors import (
    BackupCancelledError,
    BackupNotFoundError,
    CatalogError,
    ResidencyBackupError,
    RestoreCancelledError,
    RestoreError,
    RestoreHookError,
    RestoreNotFoundError,
    RestoreRollbackError,
    RestoreRunningError,
    RestoreValidationError,
)
from app.operations.backups.inventory import find
from app.operations.backups.servers import of_this_server
from app.operations.backups.verify import read_manifest
from app.operations.ending import Ending
from app.operations.restore.hooks import Hooks, require_hooks
from app.operations.restore.journal import Journal
from app.operations.restore.partial_backup import restoring_safety
from app.operations.restore.position import Obstacle, obstacle_to_rename
from app.operations.restore.recover import (
    PATIENCE_SECONDS,
    as_complete,
    as_rolled_back,
    clean_up,
    interrupted,
    recover,
)
from app.operations.restore.safety import safety_request, take_safety_backup
from app.operations.restore.subscriptions import pause, remarks_on_rollback, resume, resume_or_remark
from app.operations.service import SILENT, Progress, Service, target_for
from app.ports.events import Event, failure
from app.ports.tree import Tree

_OTHER = "take another backup to go back to: residency-backup list"
_RESTORES = "to see what became of it: residency-backup restores"
_ENDED = {
    RestoreState.FAILED: "it failed, and the database is as before",
    RestoreState.ABANDONED: "it could not be cleaned up",
    RestoreState.ROLLED_BACK: "it was rolled back already",
}


@dataclass(frozen=True, slots=True)
class RollbackOutcome:
    """A restore that is undone, and remarks for people."""

    restore: Restore
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def rollback(service: Service, restore_id: str, progress: Progress = SILENT) -> RollbackOutcome:
    """Undo a restore.

    Raises:
        RestoreNotFoundError: there is none of that id.
        RestoreRunningError: it is under way.
        RestoreValidationError: there is nothing to roll back to, or it is on another server.
        RestoreHookError: RESTORE_BEFORE_COMMAND failed, or a command around it cannot be run; nothing was changed.
        RestoreRollbackError: it failed; says what stands where, and how to go on.
        RestoreCancelledError: it was cancelled; the database is as the restore left it.
    """
    record = _find(service, restore_id)
    with structlog.contextvars.bound_contextvars(database=record.changes, restore=record.id):
        if any(other.id == record.id for other in interrupted(service)):
            recovered = recover(service, record)
            if recovered is None:
                raise RestoreRunningError(f"restore {record.id} is being recovered by another process", _RESTORES)
            if recovered.state is not RestoreState.COMPLETE:
                state = "rolled back" if recovered.state is RestoreState.ROLLED_BACK else "not complete"
                note = f"the restore was {state} when its process died; what it left is cleaned up"
                return RollbackOutcome(recovered, [note])
            record = recovered
        _require_undo(service, record)
        if record.into is None:
            require_hooks(service.options)
        return _roll_back(service, record, progress)


def replace_by_safety_backup(service: Service, journal: Journal, progress: Progress = SILENT) -> None:
    """Make the live database what the safety backup holds, in one transaction."""
    backup = find(service, journal.record.safety or "")
    manifest = read_manifest(service.tree, backup)
    archive = Archive(lambda: service.tree.open(backup.file), manifest.codec, manifest.index)
    progress.start("roll back in place", manifest.raw_bytes)
    journal.write(Step.ROLLING_BACK, transaction=None)
    target = target_for(service, journal.record)
    # The database's own search_path: functions find what they found before.
    target.replace_in_place(archive, manifest.server, _record_transaction(journal), search_path="")


def _find(service: Service, restore_id: str) -> Restore:
    record = service.restores.restore(restore_id) if isinstance(restore_id, str) else None
    if record is None or record.database != service.database:
        message = f"there is no restore {restore_id} of {service.database}"
        raise RestoreNotFoundError(message, "to list them: residency-backup restores")
    if not of_this_server(service.source, [record]):
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
    obstacle = _obstacle(service, record)
    if obstacle is None:
        return
    hint = _OTHER
    if record.state in {RestoreState.FAILED, RestoreState.ROLLED_BACK}:
        hint = "nothing to do: the database is as it was before"
    elif record.state is RestoreState.ABANDONED:
        hint = "residency-backup check --repair"
    elif record.safety:
        hint = f"the state before is in {record.safety}: {restoring_safety(service, record)}"
    raise RestoreValidationError(f"restore {record.id} cannot be rolled back: {obstacle.why}", obstacle.hint or hint)


def _obstacle(service: Service, record: Restore) -> Obstacle | None:
    """Why a restore cannot be rolled back; None if it can."""
    if record.state is not RestoreState.COMPLETE:
        return Obstacle(_ENDED[record.state])
    if record.undo_until is None:
        return Obstacle("nothing that was before it is kept")
    if service.clock() >= record.undo_until:
        return Obstacle(f"it could be until {record.undo_until:%Y-%m-%d %H:%M %Z} (RESTORE_UNDO_HOURS)")
    return _newer_restore(service, record) or _undo_is_gone(service, record)


def _newer_restore(service: Service, record: Restore) -> Obstacle | None:
    newer = newer_restores(record, of_this_server(service.source, service.restores.restores(service.database)))
    if final := never_undone(newer, service.clock()):
        return Obstacle(f"restore {final.id} came after it, and cannot be undone")
    if newer:
        first = newer[0].id
        return Obstacle(f"restore {first} came after it: roll that back first", f"residency-backup rollback {first}")
    return None


def _undo_is_gone(service: Service, record: Restore) -> Obstacle | None:
    if record.method is Method.IN_PLACE:
        return _safety_is_gone(service, record)
    if record.method is Method.SHADOW:
        return obstacle_to_rename(record, target_for(service, record).databases())
    if record.method is Method.ROWS and record.id not in service.tree.scripts.ids():
        return Obstacle(f"{_script(service.tree, record)}, which was kept for it, is gone")
    return None


def _safety_is_gone(service: Service, record: Restore) -> Obstacle | None:
    try:
        find(service, record.safety or "")
    except BackupNotFoundError as error:
        return Obstacle(f"the safety backup, which was kept for it, is gone: {error.message}", _OTHER)
    return None


def _script(tree: Tree, record: Restore) -> Path:
    return tree.scripts.path(record.id)


def _roll_back(service: Service, record: Restore, progress: Progress) -> RollbackOutcome:
    now = service.clock()
    claimed = replace(
        record,
        state=RestoreState.RUNNING,
        step=Step.ROLLING_BACK,
        transaction=None,
        heartbeat_at=now,
        finished_at=None,
        rolled_back_by=service.options.by,
    )
    if not service.restores.replace_restore(claimed, record):
        raise RestoreRunningError(f"restore {record.id} is being rolled back by another process", _RESTORES)
    figures = {"method": str(record.method), "by": claimed.rolled_back_by}
    service.events.emit(Event(RestoreEvent.ROLLBACK_STARTED, restore=record.id, figures=figures))
    journal = Journal(service, claimed)
    undo_by: dict[Method | None, Callable[[Service, Journal, Progress], list[str]]] = {
        Method.SHADOW: _by_rename,
        Method.IN_PLACE: _in_place,
        Method.ROWS: _by_script,
    }
    hooks = Hooks(journal, ROLLBACK, progress)
    with journal.beating():
        with RollbackEnding(journal, hooks):
            hooks.before()
            return _finish(journal, hooks, undo_by[record.method](service, journal, progress))
        return _finish(journal, hooks, ["it was cancelled or cut off after it had been committed, and so is done"])


def _by_rename(service: Service, journal: Journal, progress: Progress) -> list[str]:
    record = journal.record
    progress.start("swap", None)
    undo, shadow = record.undo or "", record.shadow or ""
    target = target_for(service, record)
    pause(target, journal, Side.MADE)
    downtime = target.swap(undo, record.changes, shadow)
    figures = {"downtime": downtime, "kept": shadow}
    service.events.emit(Event(RestoreEvent.ROLLBACK_SWAPPED, restore=record.id, figures=figures))
    return remarks_on_rollback(target, journal.record, shadow)


def _in_place(service: Service, journal: Journal, progress: Progress) -> list[str]:
    record = journal.record
    # Nothing else would be left of the rows that came since the restore.
    request = safety_request(record, f"before the rollback of restore {record.id}")
    taken = take_safety_backup(service, record, request, progress)
    journal.write(before_rollback=taken.backup.id)
    replace_by_safety_backup(service, journal, progress)
    return [f"the database was made what the safety backup {record.safety} holds"]


def _by_script(service: Service, journal: Journal, progress: Progress) -> list[str]:
    progress.start("undo rows", None)
    with service.tree.scripts.open(journal.record.id) as script:
        target_for(service, journal.record).run_script(script, _record_transaction(journal))
    return []


def _record_transaction(journal: Journal) -> Callable[[str], None]:
    """Returns a function to call before the commit, which records the transaction's id."""
    return lambda transaction: journal.write(transaction=transaction)


def _finish(journal: Journal, hooks: Hooks, notes: list[str]) -> RollbackOutcome:
    service = journal.service
    target = target_for(service, journal.record)
    notes += resume_or_remark(service, target, journal.record, Side.REPLACED)
    warnings = hooks.after(Outcome.COMPLETE)
    record = as_rolled_back(service, journal.record)
    if record.undo_until is not None and _is_kept(service, record):
        until = f"{record.undo_until:%Y-%m-%d %H:%M %Z}"
        kept = f"database {record.shadow}" if record.method is Method.SHADOW else f"backup {record.safety}"
        notes.append(f"what was there before the rollback is kept as {kept} until {until}")
    try:
        service.restores.save_restore(record)
    except (CatalogError, RestoreError) as error:
        notes.append(f"the end of the rollback is not in the catalog: {error.message}; residency-backup check --repair")
        service.events.emit(failure(RestoreEvent.CATALOG_NOT_SAVED, error, restore=record.id))
    figures = {"method": str(record.method), "by": record.rolled_back_by}
    service.events.emit(Event(RestoreEvent.ROLLED_BACK, restore=record.id, figures=figures))
    return RollbackOutcome(record, notes, warnings)


def _is_kept(service: Service, record: Restore) -> bool:
    """Whether what was there before the rollback is kept; if there was no live database, nothing is."""
    if record.method is not Method.SHADOW:
        return True
    try:
        return record.shadow in target_for(service, record).databases()
    except ResidencyBackupError as error:
        service.events.emit(failure(RestoreEvent.ROLLED_BACK_UNSEEN, error, restore=record.id))
        return False  # nothing unknown is promised; `check` reports it later


class RollbackEnding(Ending):
    """Ends a rollback that failed: the record says where everything stands."""

    def __init__(self, journal: Journal, hooks: Hooks) -> None:
        self._journal = journal
        self._hooks = hooks

    def cancelled(self, signal: KeyboardInterrupt | BackupCancelledError) -> Exception:  # noqa: ARG002
        """The error of a rollback that was cancelled."""
        return RestoreCancelledError("the rollback was cancelled", "the database is as the restore left it")

    def recover(self, error: Exception, cause: BaseException) -> Exception | None:  # noqa: ARG002
        """Find out and record where everything stands; None if the rollback was committed all the same."""
        service, record = self._journal.service, self._journal.record
        try:
            if isinstance(error, RestoreValidationError):  # the server refused it before anything was begun
                resume(service.events, target_for(service, record), record, Side.MADE)
                recovered = as_complete(service, record)
            else:
                recovered = clean_up(service, record, patience=PATIENCE_SECONDS)
            if recovered.state is RestoreState.ROLLED_BACK:
                return None
            self._hooks.after(Outcome.FAILED, error)
            service.restores.save_restore(recovered)
        except ResidencyBackupError as second:
            self._hooks.after(Outcome.FAILED, error)
            return RestoreRollbackError(f"{error}; then {second.message}", second.hint)
        if isinstance(error, RestoreCancelledError | RestoreHookError):
            return error
        return _rollback_error(service, record, error)

    def tell(self, error: Exception) -> None:
        """Say why it failed."""
        record = self._journal.record
        self._journal.service.events.emit(failure(RestoreEvent.NOT_ROLLED_BACK, error, restore=record.id))


def _rollback_error(service: Service, record: Restore, error: Exception) -> RestoreRollbackError:
    """Says what stands where, and what can be done by hand."""
    live, method = record.changes, record.method or Method.IN_PLACE
    is_refused = isinstance(error, RestoreValidationError)
    rename = in_psql(
        "postgres", "BEGIN", renaming(live, record.shadow or ""), renaming(record.undo or "", live), "COMMIT"
    )
    by_hand = {
        Method.SHADOW: restoring_safety(service, record) if is_refused else rename,
        Method.IN_PLACE: restoring_safety(service, record),
        Method.ROWS: f"psql -X -1 -v ON_ERROR_STOP=1 -d {quote(live)} -f {quote(str(_script(service.tree, record)))}",
    }
    where = f"database {live} is as the restore left it"
    if method is Method.SHADOW and not is_refused:
        where += f", and what was before is in database {record.undo}"
    if record.safety:
        where += f"; the safety backup is {record.safety}"
    first = f"{error.hint}; " if isinstance(error, ResidencyBackupError) and error.hint else ""
    return RestoreRollbackError(
        f"restore {record.id} could not be rolled back: {error}; {where}",
        f"{first}try again: residency-backup rollback {record.id}; by hand: {by_hand[method]}",
    )
