"""Restores: all or nothing.

begin in the catalog -> pin the source -> checks -> safety backup -> load beside, prove, swap (or one transaction) ->
done. Whatever fails or cancels it: the live database is as before, and what was made beside it is gone.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

import structlog

from app.domain.checks import Severity, first_error
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
from app.operations.backups.pins import pin, release
from app.operations.restore.checks import require_confirmation, restore_checks, room_error
from app.operations.restore.journal import Journal
from app.operations.restore.methods import change
from app.operations.restore.recover import PATIENCE_SECONDS, resolve
from app.operations.restore.report import to_report
from app.operations.restore.request import Job, Restored, RestoreRequest, Wanted, restored
from app.operations.restore.rollback import back_in_place
from app.operations.restore.source import Located, locate, open_source
from app.operations.service import SILENT, Progress, Service, target_for
from app.ports.target import TargetFacts

log = structlog.get_logger(__name__)


def restore(service: Service, request: RestoreRequest, progress: Progress = SILENT) -> Restored:
    """Restore.

    Raises:
        RestoreRunningError: another restore is under way, or this request was served already.
        BackupNotFoundError: there is no such backup.
        RestoreValidationError: the request makes no sense, or is not confirmed.
        RestoreRollbackError: it failed, and so did cleaning up after it; says what stands where.
        RestoreError, BackupError: the first thing that failed; the live database is as before.
    """
    wanted = Wanted.of(service, request)
    require_confirmation(wanted)
    backups = inventory(service)
    located = locate(service, request.backup, backups)
    now = service.clock()
    record = Restore(
        id=secrets.token_hex(6),
        database=service.database,
        mode=wanted.mode,
        backup=located.name,
        into=wanted.into,
        started_at=now,
        heartbeat_at=now,
        request_key=request.request_key,
    )
    with structlog.contextvars.bound_contextvars(database=wanted.changes, restore=record.id):
        service.restores.begin_restore(record)
        log.info("restore started", backup=located.name, mode=str(wanted.mode))
        journal = Journal(service, record)
        with journal.beating():
            try:
                if located.backup is not None:
                    pin(service, located.backup, record)
                job = _prepared(journal, wanted, located, backups, progress)
                change(job)
                _done(job)
                return restored(job)
            except (KeyboardInterrupt, BackupCancelledError) as signal:
                error: Exception = RestoreCancelledError("the restore was cancelled", "the live database is as before")
                _undo(journal, error, signal)
            except Exception as failure:  # noqa: BLE001 -- whatever it was, it is raised again when all is as before
                _undo(journal, failure, failure)
            return _done_all_the_same(journal)


def _prepared(journal: Journal, wanted: Wanted, located: Located, backups: Inventory, progress: Progress) -> Job:
    """The checklist, and the job when all of it is well."""
    service = journal.service
    source = open_source(service, located, progress)
    target = target_for(service, journal.record)
    checked = restore_checks(journal, target, wanted, source, backups)
    if error := first_error(checked.findings):
        raise error
    facts: TargetFacts | None = checked.facts
    assert facts is not None  # noqa: S101 -- else a finding was raised
    journal.note(server=facts.system_identifier)
    return Job(
        service=service,
        wanted=wanted,
        source=source,
        backups=backups,
        target=target,
        facts=facts,
        journal=journal,
        progress=progress,
        findings=list(checked.findings),
        warnings=[each.message for each in checked.findings if each.severity is Severity.WARNING],
    )


def _done(job: Job) -> None:
    """Record the end. What cannot be recorded now is found out by `check --repair`."""
    record = job.journal.record
    backups = inventory(job.service, job.backups)
    released = release(job.service, record, backups, but=record.safety if record.undo_until else None)
    if record.undo_until is None and job.live and record.method is Method.SHADOW:
        job.warnings.append("this restore cannot be rolled back: what was there before could not be kept")
    elif record.undo_until is None and not job.live:
        job.notes.append(f"{job.wanted.changes} did not exist: there is nothing to roll back to")
    now, report = job.service.clock(), to_report(job)
    try:
        job.journal.write(Step.DONE, state=RestoreState.COMPLETE, finished_at=now, report=report)
    except (CatalogError, RestoreError) as error:
        job.warnings.append(
            f"the end of the restore is not in the catalog: {error.message}; residency-backup check --repair"
        )
        log.warning("restore catalog not saved", error=type(error).__name__, reason=error.message)
    figures = {"mode": str(record.mode), "backup": record.backup, "safety": record.safety, "downtime": job.downtime}
    rows = sum(job.rows.values()) if job.changes is None else job.changes.total("inserted")
    log.info("restore completed", rows=rows, seconds=job.seconds, undo_until=str(record.undo_until), **figures)
    expire_quietly(job.service, [backup for backup in backups if backup.id not in released])


def _undo(journal: Journal, error: Exception, cause: BaseException) -> None:
    """Leave everything as before and raise what went wrong; returns only where the restore had gone through already.

    Raises:
        RestoreRollbackError: the clean-up failed.
    """
    service, record = journal.service, journal.record
    try:
        if record.method is Method.IN_PLACE and record.step is Step.POST_COMMAND and record.safety:
            back_in_place(service, journal)
        settled = resolve(service, journal.record, patience=PATIENCE_SECONDS)
    except ResidencyBackupError as failure:
        _abandon(journal, failure, error)
        both = _with_safety(RestoreRollbackError(f"{error}; then {failure.message}", failure.hint), record)
        _log_failure("restore failed, and so did its clean-up", both, record)
        raise both from cause
    if settled.state is RestoreState.COMPLETE:
        journal.record = settled
        return
    error = _with_safety(room_error(error) if isinstance(error, BackupStorageError) else error, record)
    hint = error.hint if isinstance(error, ResidencyBackupError) else None
    _log_failure("restore failed", error, record)
    failed = replace(settled, state=RestoreState.FAILED, error=type(error).__name__, message=str(error), hint=hint)
    _record(journal, failed)
    raise error from (error.__cause__ if error is cause else cause)  # what the server said stands behind it


def _log_failure(event: str, error: Exception, record: Restore) -> None:
    hint = error.hint if isinstance(error, ResidencyBackupError) else None
    log.error(event, error=type(error).__name__, reason=str(error), hint=hint, step=str(record.step))
    as_logged(error)


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
        log.warning("restore failure not saved in the catalog", error=type(lost).__name__, reason=lost.message)


def _done_all_the_same(journal: Journal) -> Restored:
    """It was cancelled, or lost its connection, when the change was committed already."""
    note = journal.record.message or "it was cancelled or cut off after it had been committed, and so is done"
    log.warning("restore completed although it was cancelled or cut off after its commit")
    _record(journal, journal.record)
    return Restored(
        restore=journal.record,
        rows={},
        findings=(),
        notes=(),
        warnings=(note,),
        seconds={},
        downtime=None,
        changes=None,
    )
