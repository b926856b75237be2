"""The safety backup: what the database holds is backed up before a restore, or a rollback in place, changes it."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote

from app.domain.backup import Tier
from app.domain.checks import Finding
from app.domain.listed import listed
from app.domain.psql import in_psql, renaming
from app.domain.restore import Restore, Step
from app.errors import BackupCancelledError, BackupError, CatalogError, RestoreError, as_restore_error
from app.operations.backup.publish import BackupResult
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import Inventory
from app.operations.restore.job import Job, RestoreJob
from app.operations.service import Progress, Service
from app.ports.source import Part

FOLDER = "backup folder"
_SHOWN = 10


def folder_findings(job: Job) -> Iterator[Finding]:
    """Whether BACKUP_DIR takes what undoes the restore; what is laid beside the live database needs no such thing."""
    if not (job.takes_safety or (job.live and job.request.by_rows)):
        return
    what = f"the safety backup of {job.request.changes}" if job.takes_safety else "the script that undoes the merge"
    try:
        job.service.tree.probe(Tier.SAFETY)
    except BackupError as error:
        beside = f"residency-backup restore {quote(job.source.name)} --mode replace --into staging --confirm staging"
        hint = "; ".join(filter(None, (error.hint, f"a database beside the live one needs no such thing: {beside}")))
        message = f"{what} cannot be written: {error.message}"
        yield Finding.failed(FOLDER, as_restore_error(error, message, hint))
    else:
        yield Finding.ok(FOLDER, f"{what} can be written")


def safety_backup(job: RestoreJob, part: Part | None = None) -> None:
    """Take, verify and pin a backup of the live database, and record it. It comes last before the change.

    Args:
        job: the restore.
        part: the tables that can change; None if it may be all.
    """
    live, findings = job.request.changes, job.outcome.findings
    if not job.takes_safety:
        reason = "is not the live database" if job.live else "does not exist"
        findings.append(Finding.ok("safety backup", f"none is taken: {live} {reason}"))
        return
    job.journal.write(Step.SAFETY)
    with job.phase("safety backup"):
        request = safety_request(job.record, f"before restore {job.record.id}", part)
        taken = take_safety_backup(job.service, job.record, request, job.progress, job.backups)
    job.outcome.warnings += taken.warnings
    job.journal.write(safety=taken.backup.id)
    what = "it is of the whole database"
    if part:
        what = f"it has the rows of {listed(part.names, _SHOWN)}, and no other table can change"
    message = f"{taken.backup.id}: taken, verified and pinned until the restore can no longer be rolled back; {what}"
    findings.append(Finding.ok("safety backup", message))


def safety_request(record: Restore, label: str, part: Part | None = None) -> BackupRequest:
    """A safety backup that is pinned for a restore.

    Args:
        record: the restore.
        label: what the backup is of.
        part: the tables that can change; None for the whole database.
    """
    return BackupRequest(tier=Tier.SAFETY, label=label, pinned_reason=record.pin, part=part)


def take_safety_backup(
    service: Service,
    record: Restore,
    request: BackupRequest,
    progress: Progress,
    backups: Inventory | None = None,
) -> BackupResult:
    """Take a safety backup.

    Args:
        service: the parts.
        record: the restore that it is for.
        request: what `safety_request` makes.
        progress: called with the number of bytes read.
        backups: an earlier inventory; None to list them.

    Raises:
        RestoreError: it failed, so nothing may be changed.
        BackupCancelledError, CatalogError: as of any backup.
    """
    try:
        taken = take_backup(service, request, progress, backups)
    except (BackupCancelledError, CatalogError):
        raise
    except BackupError as error:
        raise _restore_error(record.changes, error) from error
    if taken is None:
        raise RuntimeError("a backup without a slot cannot have been made already")
    return taken


def _restore_error(live: str, error: BackupError) -> RestoreError:
    """The error of a restore whose safety backup failed: its class says why, as the backup's did."""
    aside = (
        f"if {live} is beyond saving: {in_psql('postgres', renaming(live, f'{live}_broken'))}; then restore again, "
        "or restore into another database with --into"
    )
    hint = "; ".join(filter(None, (error.hint, aside)))
    return as_restore_error(error, f"the safety backup of {live} failed: {error.message}", hint)
