"""The tasks: arguments in, an operation called, JSON out."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import structlog
from celery import Task, shared_task

from app import documents
from app.bootstrap import Program
from app.domain.backup import Tier
from app.domain.callers import task_from
from app.domain.restore import Mode, Policy
from app.errors import (
    BackupError,
    BackupValidationError,
    Cancelled,
    ResidencyBackupError,
    RestoreError,
    RestoreValidationError,
)
from app.operations.backup.catch_up import due_slots
from app.operations.backup.skipped import why_skipped
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.expire import expire_quietly
from app.operations.backups.prune import prune as prune_backups
from app.operations.backups.verify import verify as verify_backups
from app.operations.restore.preview import preview as preview_restore
from app.operations.restore.recover import recover_untouched
from app.operations.restore.request import RestoreOptions, RestoreRequest
from app.operations.restore.rollback import rollback as roll_back
from app.operations.restore.run import restore as run_restore
from app.operations.service import Service
from tasks.schedule import CATCH_UP, CATCH_UP_SECONDS, SCHEDULED

log = structlog.get_logger(__name__)
JSON = dict[str, Any]


class BackupTask(Task[Any, Any]):
    """A task with a service. Our own errors are results, not crashes: the worker logs them without a traceback."""

    abstract = True
    throws = (BackupError, RestoreError)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task. A signal that cancels it is raised as our own error."""
        try:
            inspect.signature(self.run).bind(*args, **kwargs)
        except TypeError as error:
            wrong = RestoreValidationError if self.name.startswith("restore.") else BackupValidationError
            raise wrong(f"{self.name}: {error}", "see docs/operations.md and README.md for its arguments") from error
        try:
            return self.run(*args, **kwargs)  # not super(): the worker has set up the context already
        except Cancelled as cancelled:
            raise cancelled.error from cancelled

    def on_failure(self, exc: Exception, *_: Any, **__: Any) -> None:
        """Log an error that no operation has logged, such as a refusal: Celery's line is at INFO and has no hint."""
        if isinstance(exc, ResidencyBackupError) and not exc.logged:
            event = "restore task failed" if self.name.startswith("restore.") else "backup task failed"
            log.error(event, error=type(exc).__name__, reason=exc.message, hint=exc.hint)

    @property
    def service(self) -> Service:
        """The service, made in the process of the run, so that no connection crosses a fork."""
        program: Program = self.app.program  # type: ignore[attr-defined] # ours, see tasks.application
        return program.service(by=self._caller())

    def _caller(self) -> str:
        """Who sent the task."""
        request = self.request
        return task_from(request.id, request.get("origin"), scheduled=bool(request.get("scheduled")))


@shared_task(name="backup.daily", bind=True, base=BackupTask)
def daily(self: BackupTask) -> JSON:
    """Take the daily backup."""
    return _take(self, Tier.DAILY)


@shared_task(name="backup.weekly", bind=True, base=BackupTask)
def weekly(self: BackupTask) -> JSON:
    """Take the weekly backup."""
    return _take(self, Tier.WEEKLY)


@shared_task(name="backup.monthly", bind=True, base=BackupTask)
def monthly(self: BackupTask) -> JSON:
    """Take the monthly backup."""
    return _take(self, Tier.MONTHLY)


@shared_task(name="backup.manual", bind=True, base=BackupTask)
def manual(self: BackupTask, label: str | None = None) -> JSON:
    """Take a backup now, with a label."""
    return _take(self, Tier.MANUAL, label)


@shared_task(name="backup.full", bind=True, base=BackupTask)
def full(self: BackupTask) -> JSON:
    """Take a full backup: the whole server and the folders beside it."""
    return _take(self, Tier.FULL)


@shared_task(name="backup.verify", bind=True, base=BackupTask)
def verify(self: BackupTask, backup: str | None = None) -> JSON:
    """Read one backup back, or all, and compare them with their manifests."""
    outcome = verify_backups(self.service, backup)
    return documents.verification_task(outcome)


@shared_task(name="backup.prune", bind=True, base=BackupTask)
def prune(self: BackupTask, dry_run: bool = False) -> JSON:  # noqa: FBT001, FBT002 -- the contract's argument
    """Apply retention."""
    outcome = prune_backups(self.service, dry_run=dry_run)
    return documents.pruning(outcome, dry_run=dry_run)


@shared_task(name=CATCH_UP, bind=True, base=BackupTask)
def catch_up(self: BackupTask) -> JSON:
    """Send tasks for slots that are due and were not run, and remove undo databases whose time is over."""
    slots = due_slots(self.service)
    expire_quietly(self.service)
    for slot in slots:
        self.app.send_task(f"backup.{slot.tier}", headers=SCHEDULED, expires=CATCH_UP_SECONDS)
    recover_untouched(self.service)
    return documents.catch_up(slots)


# Celery logs the first characters of a result. This one shows values of rows, so none of it is logged.
@shared_task(name="restore.preview", bind=True, base=BackupTask, resultrepr_maxsize=1)
def preview(  # noqa: PLR0913, PLR0917 -- the contract's arguments, by name or by position, and the command line's
    self: BackupTask,
    backup: str,
    mode: str = Mode.REPLACE,
    tables: Sequence[str] | None = None,
    on_conflict: str = Policy.TAKE_BACKUP,
    into: str | None = None,
    dependents: bool = False,  # noqa: FBT001, FBT002 -- as above
    where: str | None = None,
    search_path: str | None = None,
    as_role: str | None = None,
    skip_tables: Sequence[str] | None = None,
    skip_columns: Sequence[str] | None = None,
    map_tables: Sequence[str] | None = None,
    map_columns: Sequence[str] | None = None,
    fills: Sequence[str] | None = None,
    allow_missing: bool = False,  # noqa: FBT001, FBT002 -- as above
    parents: bool = False,  # noqa: FBT001, FBT002 -- as above
) -> JSON:
    """Report what a restore would do."""
    service = self.service
    options = RestoreOptions(
        mode=mode,
        tables=tables,
        on_conflict=on_conflict,
        into=into,
        dependents=dependents,
        where=where,
        search_path=search_path,
        as_role=as_role,
        skip_tables=skip_tables,
        skip_columns=skip_columns,
        map_tables=map_tables,
        map_columns=map_columns,
        fills=fills,
        allow_missing=allow_missing,
        parents=parents,
    )
    return documents.preview(preview_restore(service, RestoreRequest.parse(service, backup, **options)))


@shared_task(name="restore.run", bind=True, base=BackupTask)
def run(  # noqa: PLR0913, PLR0917 -- as above
    self: BackupTask,
    backup: str,
    mode: str = Mode.REPLACE,
    confirm: str | None = None,
    tables: Sequence[str] | None = None,
    on_conflict: str = Policy.TAKE_BACKUP,
    into: str | None = None,
    dependents: bool = False,  # noqa: FBT001, FBT002 -- as above
    where: str | None = None,
    search_path: str | None = None,
    as_role: str | None = None,
    skip_tables: Sequence[str] | None = None,
    skip_columns: Sequence[str] | None = None,
    map_tables: Sequence[str] | None = None,
    map_columns: Sequence[str] | None = None,
    fills: Sequence[str] | None = None,
    allow_missing: bool = False,  # noqa: FBT001, FBT002 -- as above
    parents: bool = False,  # noqa: FBT001, FBT002 -- as above
) -> JSON:
    """Restore, once: the task's id recognises a message that is delivered twice."""
    service = self.service
    options = RestoreOptions(
        mode=mode,
        confirm=confirm,
        tables=tables,
        on_conflict=on_conflict,
        into=into,
        dependents=dependents,
        where=where,
        search_path=search_path,
        as_role=as_role,
        skip_tables=skip_tables,
        skip_columns=skip_columns,
        map_tables=map_tables,
        map_columns=map_columns,
        fills=fills,
        allow_missing=allow_missing,
        parents=parents,
    )
    outcome = run_restore(service, RestoreRequest.parse(service, backup, self.request.id, **options))
    return documents.restore(outcome, values=False)


@shared_task(name="restore.rollback", bind=True, base=BackupTask)
def rollback(self: BackupTask, restore: str) -> JSON:
    """Undo a restore."""
    return documents.rollback(roll_back(self.service, restore))


def _take(task: BackupTask, tier: Tier, label: str | None = None) -> JSON:
    service = task.service
    slot = None
    if task.request.get("scheduled"):
        if tier not in service.options.schedules:
            return {"skipped": f"{tier} backups are off"}
        slot = service.options.schedules[tier].last_due(service.clock())
    taken = take_backup(service, BackupRequest(tier=tier, slot=slot, label=label))
    if taken is None and slot is not None:
        why = why_skipped(service, slot)
        log.info("backup skipped", tier=str(tier), reason=why)
        return {"skipped": why}
    if taken is None:
        raise RuntimeError("a backup without a slot cannot have been made already")
    return documents.backup_task(service.tree, taken.backup)
