"""The safety backup: what is there is kept before it is changed. It comes when nothing known bars the way any more."""

from __future__ import annotations

from app.domain.backup import Tier
from app.domain.checks import Finding
from app.domain.psql import in_psql, renaming
from app.domain.restore import Step
from app.errors import (
    BackupCancelledError,
    BackupError,
    BackupPermissionError,
    BackupRunningError,
    BackupStorageError,
    CatalogError,
    RestoreBusyError,
    RestoreError,
    RestorePermissionError,
    RestoreRunningError,
    RestoreStorageError,
    ServerUnavailableError,
    TableLockedError,
    TargetUnavailableError,
)
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.restore.checks import needs_safety
from app.operations.restore.request import Job


def safety_backup(job: Job) -> None:
    """Take, verify and pin a backup of what is there."""
    if not needs_safety(job.wanted, job.facts):
        absent = "does not exist" if not job.live else "is not the live database"
        job.findings.append(Finding.ok("safety backup", f"none is taken: {job.wanted.changes} {absent}"))
        return
    journal = job.journal
    journal.write(Step.SAFETY)
    with job.phase("safety backup"):
        label = f"before restore {journal.record.id}"
        request = BackupRequest(tier=Tier.SAFETY, label=label, pinned_reason=journal.record.pin)
        try:
            taken = take_backup(job.service, request, job.progress, job.backups)
        except (BackupCancelledError, CatalogError):
            raise
        except BackupError as error:
            raise safety_error(job.wanted.changes, error) from error
    if taken is None:
        raise RuntimeError("a backup without a slot cannot have been made already")
    job.warnings += taken.warnings
    journal.write(safety=taken.backup.id)
    message = f"{taken.backup.id}: taken, verified and pinned until the restore can no longer be rolled back"
    job.findings.append(Finding.ok("safety backup", message))


def safety_error(live: str, error: BackupError) -> RestoreError:
    """What is there cannot be kept, and so is not replaced."""
    kinds: dict[type[BackupError], type[RestoreError]] = {
        BackupStorageError: RestoreStorageError,
        BackupPermissionError: RestorePermissionError,
        BackupRunningError: RestoreRunningError,
        TableLockedError: RestoreBusyError,
        ServerUnavailableError: TargetUnavailableError,
    }
    kind = next((kinds[each] for each in kinds if isinstance(error, each)), RestoreError)
    aside = (
        f"if {live} is beyond saving: {in_psql('postgres', renaming(live, f'{live}_broken'))}; then restore again, "
        "or restore into another database with --into"
    )
    return kind(f"the safety backup of {live} failed: {error.message}", "; ".join(filter(None, (error.hint, aside))))
