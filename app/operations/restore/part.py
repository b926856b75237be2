"""A backup of some tables only as the source of a restore: the safety backup of a restore of chosen tables is one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress

from app.domain.backup import Backup
from app.domain.checks import Finding
from app.domain.listed import listed
from app.domain.restore import Restore
from app.errors import ResidencyBackupError, RestoreValidationError
from app.operations.backups.inventory import find
from app.operations.restore.job import Job
from app.operations.service import Service

_PART = "part"
_SHOWN = 10


def part_findings(job: Job) -> Iterator[Finding]:
    """Refuse to replace the live database by a backup of some of its tables: all other rows would be gone."""
    name, tables = job.source.name, job.source.only_tables
    if not tables or job.request.by_rows:
        return
    message = f"{name} {_holds(tables)}"
    if job.request.into is None:
        error = RestoreValidationError(
            f"{message}: it cannot replace the database", of_its_tables(name, tables, job.request.changes)
        )
        yield Finding.failed(_PART, error)
    else:
        yield Finding.warning(_PART, f"{message}: all other tables will be empty")


def of_its_tables(name: str, held: Sequence[str], database: str) -> str:
    """The command that makes the tables of such a backup what they are in it."""
    tables = "".join(f" --table {shlex.quote(table)}" for table in held)
    return f"residency-backup restore {shlex.quote(name)} --mode replace{tables} --confirm {shlex.quote(database)}"


def restoring_safety(service: Service, record: Restore) -> str:
    """The command that brings back what the safety backup of a restore holds."""
    with suppress(ResidencyBackupError):
        backup = find(service, record.safety or "")
        if not backup.is_whole:
            return of_its_tables(backup.id, backup.tables_held, record.changes)
    return f"residency-backup restore {record.safety} --mode replace --confirm {shlex.quote(record.changes)}"


def not_comparable(backup: Backup) -> RestoreValidationError:
    """The error of a comparison of such a backup with another one."""
    hint = f"compare it with the live database: residency-backup diff {backup.id}"
    return RestoreValidationError(
        f"{backup.id} {_holds(backup.tables_held)}: it is not compared with another backup", hint
    )


def _holds(tables: Sequence[str]) -> str:
    return f"holds the rows of {listed(tables, _SHOWN)} only"
