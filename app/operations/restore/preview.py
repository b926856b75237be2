"""Previews a restore, and compares two backups, or a backup with the live database. Nothing is changed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from app.archive.index import TableName
from app.domain.changes import Changes, MergeRequest, TableChanges
from app.domain.checks import Finding, Severity, first_error
from app.domain.listed import listed
from app.domain.restore import Method, Mode, preview_name
from app.domain.revisions import SchemaVersions
from app.operations.backups.inventory import Inventory, inventory
from app.operations.restore.checks import COMMANDS, check_preview
from app.operations.restore.job import Job
from app.operations.restore.migration import migrated_rows, rows_of
from app.operations.restore.partial_backup import not_comparable
from app.operations.restore.parts import with_what_was_read
from app.operations.restore.request import RestoreRequest
from app.operations.restore.revisions import offering_migration, revision_notes, schema_versions, versions_between
from app.operations.restore.source import RestoreSource, locate, open_source
from app.operations.service import SILENT, Progress, Service
from app.ports.target import Target

_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A plan.

    Attributes:
        database: the one that would change.
        method: how it would be changed.
        refused: whether the restore would be refused for its conflicts.
        commands: the operator's that it would run, a sentence each.
    """

    backup: str
    mode: Mode
    database: str
    method: Method
    changes: Changes
    findings: list[Finding]
    refused: bool
    commands: tuple[str, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person must see."""
        of_checks = (finding.message for finding in self.findings if finding.severity is Severity.WARNING)
        return (*of_checks, *self.changes.warnings)


def preview(service: Service, request: RestoreRequest, progress: Progress = SILENT) -> Preview:
    """Plan a restore. The live database is neither changed nor locked.

    Raises:
        BackupNotFoundError: there is no such backup.
        RestoreError, BackupError: the restore would be refused, or the server does not answer.
    """
    backups = inventory(service)
    place = locate(service, request.backup, backups)
    source = open_source(service, place, progress, in_parts=request.of_chosen_tables)
    job = Job(service=service, request=request, backups=backups, source=source, progress=progress)
    findings = check_preview(job)
    rows = migrated_rows(job, preview_name(request.changes, secrets.token_hex(6))) if job.migration else rows_of(job)
    with offering_migration(job):
        brought = replace(source, archive=rows.archive)
        changes = _plan(job.target, brought, rows.request, progress) if job.live else _all_new(source)
    with_what_was_read(findings, source, service.events, None)
    notes = (*revision_notes(job, findings), *rows.notes, *changes.notes)
    changes = replace(changes, versions=job.versions, notes=notes)
    return Preview(
        backup=source.name,
        mode=request.mode,
        database=request.changes,
        method=job.method,
        changes=changes,
        findings=findings,
        refused=request.by_rows and request.merge.refuses(changes),
        commands=tuple(_commands(findings)),
    )


def _commands(findings: list[Finding]) -> Iterator[str]:
    return (found.message for found in findings if found.check in COMMANDS and found.severity is Severity.OK)


def diff(service: Service, one: str, other: str | None, progress: Progress = SILENT) -> Changes:
    """Differences between a backup and another, or the live database: what a replace by it would change.

    Raises:
        BackupNotFoundError: there is no such backup.
        RestoreError, BackupError: one of them cannot be read.
    """
    backups = inventory(service)
    source = _verified_source(service, one, backups, progress)
    if other is None:
        held = () if source.backup is None else source.backup.tables_held
        changes = _plan(service.target, source, MergeRequest(exact=True, tables=held), progress)
        # Rows that differ conflict in a merge only.
        changes = replace(changes, tables=tuple(replace(table, conflicting=0) for table in changes.tables))
        # Asked in the live database itself: to look, nobody needs a way into another one.
        return _with_versions(changes, schema_versions(service, service.target, source, service.source.facts()))
    second = _verified_source(service, other, backups, progress)
    for backup in (source.backup, second.backup):
        if backup is not None and not backup.is_whole:
            raise not_comparable(backup)
    progress.start("compare", source.archive.index.raw_bytes + second.archive.index.raw_bytes)
    changes = service.target.compare(source.archive, second.archive, progress.advance)
    return _with_versions(changes, versions_between(service, source, second))


def _with_versions(changes: Changes, versions: SchemaVersions) -> Changes:
    notes = (str(versions), *changes.notes) if versions.differ else changes.notes
    return replace(changes, versions=versions, notes=notes)


def _verified_source(service: Service, name: str, backups: Inventory, progress: Progress) -> RestoreSource:
    source = open_source(service, locate(service, name, backups), progress)
    if error := first_error([source.verified]):
        raise error
    return source


def _plan(target: Target, source: RestoreSource, request: MergeRequest, progress: Progress) -> Changes:
    progress.start("compare", source.archive.index.raw_bytes)
    with target.merging(source.archive, request, progress.advance) as merging:
        changes = merging.preview()
    if not request.whole:
        return changes
    # A whole replace rebuilds triggers, keys and sequences: what a merge reports of them does not apply.
    columns = (line for table in changes.columns for line in table.lines())
    tables = tuple(replace(table, conflicting=0) for table in changes.tables)  # the backup wins
    lines, otherwise = target.schema(source.archive)
    schema = (*columns, *lines)
    by_insert, warnings = _by_insert(source, target.tables())
    tables = tuple(table for table in tables if table.table not in by_insert)
    return replace(changes, tables=tables, notes=(), warnings=warnings, schema=schema, otherwise=tuple(otherwise))


def _all_new(source: RestoreSource) -> Changes:
    tables = (TableChanges(table=str(table.table), inserted=table.rows) for table in source.archive.index.tables)
    schema = ("the database does not exist, and will be created",)
    return Changes(tables=tuple(tables), schema=schema, warnings=_by_insert(source, {})[1])


def _by_insert(source: RestoreSource, roots: Mapping[TableName, TableName]) -> tuple[set[str], tuple[str, ...]]:
    """Tables whose rows are INSERT statements, which are not compared; and what is said of them."""
    if source.tables is None or not source.tables.inserts:
        return set(), ()
    names = {str(roots.get(table, table)) for table in source.tables.described}
    shown = listed(sorted(names), _SHOWN)
    return names, (f"the file has rows as INSERT statements, which are not compared beforehand: {shown}",)
