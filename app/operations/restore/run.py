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
from app.domain.events import EventName
from app.domain.restore import Method, Restore, RestoreState, Step
from app.errors import (
    BackupCancelledError,
    BackupStorageError,
    CatalogError,
    ResidencyBackupError,
    RestoreCancelledError,
    RestoreError,
    RestoreRollbackError,
    as_logged,
)
from app.operations.backups.expire import expire_quietly
from app.operations.backups.inventory import Inventory, inventory
from app.operations.backups.pins import release
from app.operations.restore.checks import check_restore
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
from app.ports.events import Event, failure


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
        started = Event(
            EventName.RESTORE_STARTED, restore=record.id, backup=record.backup, figures={"mode": str(record.mode)}
        )
        service.events.emit(started)
        journal = Journal(service, record)
        with journal.beating():
            try:
                job = _checked_job(journal, request, place, backups, progress)
                change(job)
                return _finish(job)
            except (KeyboardInterrupt, BackupCancelledError) as signal:
                error: Exception = RestoreCancelledError("the restore was cancelled", "the live database is as before")
                _fail(journal, error, signal)
            except Exception as raised:  # noqa: BLE001 -- whatever it was, it is raised again when all is as before
                _fail(journal, raised, raised)
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
        job.service.events.emit(failure(EventName.RESTORE_CATALOG_NOT_SAVED, error, restore=record.id))
    outcome.restore = job.record
    _emit_end(job.service, outcome)
    expire_quietly(job.service, [backup for backup in backups if backup.id not in released])
    return outcome


def _emit_end(service: Service, outcome: RestoreOutcome) -> None:
    record, changes = outcome.restore, outcome.changes
    figures = {
        "rows": sum(outcome.rows.values()) if changes is None else changes.total("inserted"),
        "seconds": outcome.seconds,
        "undo_until": str(record.undo_until),
        "mode": str(record.mode),
        "safety": record.safety,
        "downtime": outcome.downtime,
    }
    service.events.emit(Event(EventName.RESTORE_COMPLETED, restore=record.id, backup=record.backup, figures=figures))


def _fail(journal: Journal, error: Exception, cause: BaseException) -> None:
    """Leave everything as before and raise the error. Returns only if the change was committed all the same.

    Raises:
        RestoreRollbackError: the clean-up failed.
    """
    service, record = journal.service, journal.record
    try:
        if record.method is Method.IN_PLACE and record.step is Step.POST_COMMAND and record.safety:
            replace_by_safety_backup(service, journal)
        recovered = clean_up(service, journal.record, patience=PATIENCE_SECONDS)
    except ResidencyBackupError as second:
        _abandon(journal, second, error)
        both = _with_safety(RestoreRollbackError(f"{error}; then {second.message}", second.hint), record)
        _emit_failure(service, EventName.RESTORE_CLEANUP_FAILED, both, record)
        raise both from cause
    if recovered.state is RestoreState.COMPLETE:
        journal.record = recovered
        return
    error = _with_safety(room_error(error) if isinstance(error, BackupStorageError) else error, record)
    hint = error.hint if isinstance(error, ResidencyBackupError) else None
    _emit_failure(service, EventName.RESTORE_FAILED, error, record)
    failed = replace(recovered, state=RestoreState.FAILED, error=type(error).__name__, message=str(error), hint=hint)
    _save_end(journal, failed)
    raise error from (error.__cause__ if error is cause else cause)  # what the server said stands behind it


def _emit_failure(service: Service, name: EventName, error: Exception, record: Restore) -> None:
    service.events.emit(failure(name, error, restore=record.id, step=str(record.step)))
    as_logged(error)


def _with_safety(error: Exception, record: Restore) -> Exception:
    """The same error with the safety backup in its hint: whoever is in trouble wants it at hand."""
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
        journal.service.events.emit(failure(EventName.RESTORE_FAILURE_NOT_SAVED, error, restore=record.id))


def _done_all_the_same(journal: Journal) -> RestoreOutcome:
    """Record a restore that was cancelled, or lost its connection, after its change was committed."""
    note = journal.record.message or "it was cancelled or cut off after it had been committed, and so is done"
    event = Event(EventName.RESTORE_COMPLETED_ALL_THE_SAME, restore=journal.record.id)
    journal.service.events.emit(event)
    _save_end(journal, journal.record)
    return RestoreOutcome(restore=journal.record, warnings=[note])
