"""A restore, from the request to its end: all of it, or nothing.

    record it in the catalog -> pin the backup -> checks -> change the database (restore/methods.py) -> record the end

Around the change the operator's commands are run (restore/hooks.py).

The safety backup is taken by the methods, right before they change anything. If a step fails or is cancelled, the live
database is as before, and what was made beside it is removed.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import structlog

from app.domain.backup import Backup
from app.domain.checks import Severity
from app.domain.events import RestoreEvent
from app.domain.hooks import Outcome
from app.domain.restore import Method, Restore, RestoreState, Step
from app.errors import (
    BackupCancelledError,
    BackupStorageError,
    CatalogError,
    ResidencyBackupError,
    RestoreCancelledError,
    RestoreError,
    RestoreRollbackError,
)
from app.operations.backups.expire import expire_quietly
from app.operations.backups.inventory import Inventory, inventory
from app.operations.backups.pins import release
from app.operations.ending import Ending
from app.operations.restore.checks import check_restore
from app.operations.restore.hooks import Hooks
from app.operations.restore.job import RestoreJob, RestoreOutcome
from app.operations.restore.journal import Journal
from app.operations.restore.methods import change
from app.operations.restore.recover import PATIENCE_SECONDS, clean_up
from app.operations.restore.report import report_of
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import replace_by_safety_backup
from app.operations.restore.room import room_error
from app.operations.restore.source import locate, name_of, open_source
from app.operations.service import SILENT, Progress, Service
from app.ports.events import Event, Events, failure


def restore(service: Service, request: RestoreRequest, progress: Progress = SILENT) -> RestoreOutcome:
    """Restore.

    Raises:
        RestoreRunningError: another restore is under way, or this request was served already.
        BackupNotFoundError: there is no such backup.
        RestoreValidationError: the request is not confirmed.
        RestoreRollbackError: the restore failed, and so did its clean-up; says what stands where.
        RestoreError, BackupError: the first error; the live database is as before.
    """
    request.require_confirmation()
    backups = inventory(service)
    place = locate(service, request.backup, backups)
    record = _new_record(service, request, name_of(place))
    with structlog.contextvars.bound_contextvars(database=request.changes, restore=record.id):
        service.restores.begin_restore(record)
        figures = {"mode": str(record.mode), "by": record.begun_by}
        service.events.emit(Event(RestoreEvent.STARTED, restore=record.id, backup=record.backup, figures=figures))
        journal = Journal(service, record)
        hooks = Hooks(journal, str(request.mode), progress)
        with journal.beating():
            with RestoreEnding(journal, hooks):
                job = _checked_job(journal, request, place, backups, progress)
                hooks.before()
                change(job)
                job.outcome.warnings += hooks.after(Outcome.COMPLETE)
                return _finish(job)
            return _done_all_the_same(journal, hooks)


def _new_record(service: Service, request: RestoreRequest, backup: str) -> Restore:
    now = service.clock()
    return Restore(
        id=secrets.token_hex(6),
        database=service.database,
        mode=request.mode,
        backup=backup,
        into=request.into,
        started_at=now,
        heartbeat_at=now,
        request_key=request.request_key,
        begun_by=service.options.by,
    )


def _checked_job(
    journal: Journal, request: RestoreRequest, place: Backup | Path, backups: Inventory, progress: Progress
) -> RestoreJob:
    """Pin and open the backup, and run the checks."""
    service = journal.service
    source = open_source(service, place, progress, pinned_for=journal.record, in_parts=request.of_chosen_tables)
    if source.backup is not None and source.stored is not None:
        backups = backups.with_manifest(source.backup.file, source.stored.data, source.stored.manifest)
    job = RestoreJob(
        service=service,
        request=request,
        backups=backups,
        source=source,
        progress=progress,
        journal=journal,
        outcome=RestoreOutcome(restore=journal.record),
    )
    job.outcome.findings = check_restore(job, journal.record.id)
    job.outcome.warnings += [
        finding.message for finding in job.outcome.findings if finding.severity is Severity.WARNING
    ]
    job.outcome.versions = job.versions
    journal.note(server=job.facts.system_identifier)
    return job


def _finish(job: RestoreJob) -> RestoreOutcome:
    """Record the end. If it cannot be recorded now, `check --repair` finds it out later."""
    record, outcome = job.record, job.outcome
    backups = inventory(job.service, job.backups)  # anew: somebody may have pinned one for a reason of their own
    still_needed = record.safety if record.undo_until else None
    released = release(job.service, record, backups, but=still_needed, known=job.source.stored)
    if record.undo_until is None and job.live and record.method is Method.SHADOW:
        outcome.warnings.append("this restore cannot be rolled back: what was there before could not be kept")
    elif record.undo_until is None and not job.live:
        outcome.notes.append(f"{record.changes} did not exist: there is nothing to roll back to")
    now = job.service.clock()
    try:
        job.journal.write(Step.DONE, state=RestoreState.COMPLETE, finished_at=now, report=report_of(outcome))
    except (CatalogError, RestoreError) as error:
        outcome.warnings.append(
            f"the end of the restore is not in the catalog: {error.message}; residency-backup check --repair"
        )
        job.service.events.emit(failure(RestoreEvent.CATALOG_NOT_SAVED, error, restore=record.id))
    outcome.restore = job.record
    _emit_end(job.service.events, outcome)
    expire_quietly(job.service, [backup for backup in backups if backup.id not in released])
    return outcome


def _emit_end(events: Events, outcome: RestoreOutcome) -> None:
    record, changes = outcome.restore, outcome.changes
    figures = {
        "rows": sum(outcome.rows.values()) if changes is None else changes.total("inserted"),
        "seconds": outcome.seconds,
        "undo_until": str(record.undo_until),
        "mode": str(record.mode),
        "safety": record.safety,
        "downtime": outcome.downtime,
        "by": record.begun_by,
    }
    events.emit(Event(RestoreEvent.COMPLETED, restore=record.id, backup=record.backup, figures=figures))


class RestoreEnding(Ending):
    """Ends a restore that failed: the live database is as before, or the error says where everything stands."""

    def __init__(self, journal: Journal, hooks: Hooks) -> None:
        self._journal = journal
        self._hooks = hooks
        self._failed_at = journal.record
        self._recovered: Restore | None = None

    def cancelled(self, signal: KeyboardInterrupt | BackupCancelledError) -> Exception:  # noqa: ARG002
        """The error of a restore that was cancelled."""
        return RestoreCancelledError("the restore was cancelled", "the live database is as before")

    def recover(self, error: Exception, cause: BaseException) -> Exception | None:  # noqa: ARG002
        """Leave everything as before; None if the change was committed all the same."""
        journal = self._journal
        service, record = journal.service, journal.record
        self._failed_at = record
        try:
            if record.method is Method.IN_PLACE and record.step is Step.POST_COMMAND and record.safety:
                replace_by_safety_backup(service, journal)
            recovered = clean_up(service, journal.record, patience=PATIENCE_SECONDS)
        except ResidencyBackupError as second:
            _abandon(journal, second, error)
            return _with_safety(RestoreRollbackError(f"{error}; then {second.message}", second.hint), record)
        if recovered.state is RestoreState.COMPLETE:
            journal.record = recovered
            return None
        self._recovered = recovered
        return _with_safety(room_error(error) if isinstance(error, BackupStorageError) else error, record)

    def tell(self, error: Exception) -> None:
        """Say why it failed, and in which step."""
        record = self._failed_at
        name = RestoreEvent.CLEAN_UP_FAILED if self._recovered is None else RestoreEvent.FAILED
        self._journal.service.events.emit(failure(name, error, restore=record.id, step=str(record.step)))

    def record(self, error: Exception) -> None:
        """Record the error. A restore whose clean-up failed is recorded already, for `check --repair`."""
        self._hooks.after(Outcome.FAILED, error)
        if self._recovered is None:
            return
        hint = error.hint if isinstance(error, ResidencyBackupError) else None
        failed = replace(self._recovered, state=RestoreState.FAILED, error=type(error).__name__)
        _save_end(self._journal, replace(failed, message=str(error), hint=hint))


def _with_safety(error: Exception, record: Restore) -> Exception:
    """The same error with the safety backup in its hint, because it may be needed now."""
    if record.safety is None or not isinstance(error, ResidencyBackupError):
        return error
    safety = f"the safety backup taken before it is {record.safety}"
    return type(error)(error.message, "; ".join(filter(None, (error.hint, safety))))


def _abandon(journal: Journal, error: ResidencyBackupError, cause: Exception) -> None:
    """Record that the clean-up failed: `check --repair` goes on from there."""
    abandoned = replace(
        journal.record,
        state=RestoreState.ABANDONED,
        cause=str(cause),
        error=type(error).__name__,
        message=error.message,
        hint=error.hint,
    )
    _save_end(journal, abandoned)


def _save_end(journal: Journal, record: Restore) -> None:
    try:
        journal.service.restores.save_restore(record)
    except (CatalogError, RestoreError) as error:
        journal.service.events.emit(failure(RestoreEvent.FAILURE_NOT_SAVED, error, restore=record.id))


def _done_all_the_same(journal: Journal, hooks: Hooks) -> RestoreOutcome:
    """Record a restore that was cancelled, or lost its connection, after its change was committed."""
    note = journal.record.message or "it was cancelled or cut off after it had been committed, and so is done"
    event = Event(RestoreEvent.DONE_ALL_THE_SAME, restore=journal.record.id)
    journal.service.events.emit(event)
    done = journal.record
    warnings = [note, *hooks.after(Outcome.COMPLETE)]
    _save_end(journal, done)
    return RestoreOutcome(restore=done, warnings=warnings)
