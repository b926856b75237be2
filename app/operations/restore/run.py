"""A restore, from the request to its end: all of it, or nothing.

    record it in the catalog -> pin the backup -> checks -> change the database (restore/methods.py) -> record the end

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
from app.operations.restore.job import RestoreJob, RestoreOutcome
from app.operations.restore.journal import Journal
from app.operations.restore.methods import change
from app.operations.restore.recover import PATIENCE_SECONDS, resolve
from app.operations.restore.report import report_of
from app.operations.restore.request import RestoreRequest
from app.operations.restore.rollback import back_in_place
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
        started = Event(RestoreEvent.STARTED, backup=record.backup, restore=record.id)
        service.events.emit(replace(started, figures={"mode": str(record.mode)}))
        journal = Journal(service, record)
        with journal.beating():
            with RestoreEnding(journal):
                job = _checked_job(journal, request, place, backups, progress)
                change(job)
                return _finish(job)
            return _done_all_the_same(journal)


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
    )


def _checked_job(
    journal: Journal, request: RestoreRequest, place: Backup | Path, backups: Inventory, progress: Progress
) -> RestoreJob:
    """Pin and open the backup, and run the checks."""
    service = journal.service
    source = open_source(service, place, progress, pinned_for=journal.record)
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
    journal.note(server=job.facts.system_identifier)
    return job


def _finish(job: RestoreJob) -> RestoreOutcome:
    """Record the end. If it cannot be recorded now, `check --repair` finds it out later."""
    record, outcome = job.record, job.outcome
    backups = inventory(job.service, job.backups)
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
    _tell_end(job.service.events, outcome)
    expire_quietly(job.service, [backup for backup in backups if backup.id not in released])
    return outcome


def _tell_end(events: Events, outcome: RestoreOutcome) -> None:
    record = outcome.restore
    rows = sum(outcome.rows.values()) if outcome.changes is None else outcome.changes.total("inserted")
    figures: dict[str, object] = {"mode": str(record.mode), "safety": record.safety, "downtime": outcome.downtime}
    figures |= {"rows": rows, "seconds": outcome.seconds, "undo_until": str(record.undo_until)}
    completed = Event(RestoreEvent.COMPLETED, backup=record.backup, restore=record.id, figures=figures)
    events.emit(completed)


class RestoreEnding(Ending):
    """How a restore ends that fails: the live database is as before, or the error says what stands where."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._failed_at = journal.record
        self._settled: Restore | None = None

    def cancelled(self, signal: KeyboardInterrupt | BackupCancelledError) -> Exception:  # noqa: ARG002
        """The error of a restore that was cancelled."""
        return RestoreCancelledError("the restore was cancelled", "the live database is as before")

    def settle(self, error: Exception, cause: BaseException) -> Exception | None:  # noqa: ARG002
        """Leave everything as before; None if the restore had gone through already."""
        journal = self._journal
        service, record = journal.service, journal.record
        self._failed_at = record
        try:
            if record.method is Method.IN_PLACE and record.step is Step.POST_COMMAND and record.safety:
                back_in_place(service, journal)
            settled = resolve(service, journal.record, patience=PATIENCE_SECONDS)
        except ResidencyBackupError as failed:
            _abandon(journal, failed, error)
            return _with_safety(RestoreRollbackError(f"{error}; then {failed.message}", failed.hint), record)
        if settled.state is RestoreState.COMPLETE:
            journal.record = settled
            return None
        self._settled = settled
        return _with_safety(room_error(error) if isinstance(error, BackupStorageError) else error, record)

    def tell(self, error: Exception) -> None:
        """Say why it failed, and in which step."""
        record = self._failed_at
        name = RestoreEvent.CLEAN_UP_FAILED if self._settled is None else RestoreEvent.FAILED
        self._journal.service.events.emit(failure(name, error, restore=record.id, step=str(record.step)))

    def record(self, error: Exception) -> None:
        """Record the error. A restore whose clean-up failed is recorded already, for `check --repair`."""
        if self._settled is None:
            return
        hint = error.hint if isinstance(error, ResidencyBackupError) else None
        ended = replace(self._settled, state=RestoreState.FAILED, error=type(error).__name__)
        _record(self._journal, replace(ended, message=str(error), hint=hint))


def _with_safety(error: Exception, record: Restore) -> Exception:
    """The same error; its hint names the safety backup, which whoever is in trouble wants at hand."""
    if record.safety is None or not isinstance(error, ResidencyBackupError):
        return error
    taken = f"the safety backup taken before it is {record.safety}"
    return type(error)(error.message, "; ".join(filter(None, (error.hint, taken))))


def _abandon(journal: Journal, failure: ResidencyBackupError, cause: Exception) -> None:
    """`check --repair` goes on where this process has to leave it."""
    left = replace(journal.record, state=RestoreState.ABANDONED, error=type(failure).__name__, cause=str(cause))
    _record(journal, replace(left, message=failure.message, hint=failure.hint))


def _record(journal: Journal, record: Restore) -> None:
    try:
        journal.service.restores.save_restore(record)
    except (CatalogError, RestoreError) as lost:
        unsaved = failure(RestoreEvent.FAILURE_NOT_SAVED, lost, restore=record.id)
        journal.service.events.emit(unsaved)


def _done_all_the_same(journal: Journal) -> RestoreOutcome:
    """Record a restore that was cancelled, or lost its connection, after its change was committed."""
    note = journal.record.message or "it was cancelled or cut off after it had been committed, and so is done"
    journal.service.events.emit(Event(RestoreEvent.DONE_ALL_THE_SAME, restore=journal.record.id))
    _record(journal, journal.record)
    return RestoreOutcome(restore=journal.record, warnings=[note])
