"""Checks whether the backup is of another database or server: perhaps another one was meant."""

from __future__ import annotations

from collections.abc import Iterator

from app.domain.checks import Finding
from app.domain.servers import Identity
from app.operations.backups.servers import lineage_of
from app.operations.restore.job import Job

_ORIGIN = "origin"


def database_findings(job: Job) -> Iterator[Finding]:
    """Warn of a backup of another database."""
    request, backup = job.request, job.source.backup
    if backup is None or backup.database in {request.database, request.changes}:
        return
    message = f"{job.source.name} is a backup of database {backup.database}, not of {request.changes}"
    yield Finding.warning(_ORIGIN, message)


def server_findings(job: Job) -> Iterator[Finding]:
    """Warn of a live database that is about to change on another server than the backup's.

    It is a move, or a wrong DATABASE_URL. A restore into another database is a drill; if there is no live database,
    nothing can be lost.

    Raises:
        BackupError: the folder does not say which servers its backups are of.
        RestoreError: the server does not answer.
    """
    backup = job.source.backup
    origin = backup.identity if backup else Identity()
    here = Identity(job.facts.system_identifier)
    if job.request.into is not None or not job.live or here.same_system(origin):
        return
    message = (
        f"the backup is of another server (system identifier {origin.system_identifier}), this one is "
        f"{here.system_identifier}"
    )
    lineage = lineage_of(job.service)
    current = lineage.current
    if current is not None and here.same_system(current) and lineage.is_ours(origin):
        yield Finding.ok(_ORIGIN, f"{message}, which took its place")
        return
    message += ": is DATABASE_URL right?"
    if current is not None and not here.same_system(current) and not job.request.by_rows:
        message += (
            " after a whole replace the next backup here makes this server the one that the folder's backups are of, "
            "unless the other one makes a backup first"
        )
    yield Finding.warning(_ORIGIN, message)
