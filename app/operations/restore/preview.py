"""What a restore would do, with nothing touched; what differs between two backups, or a backup and live."""

from __future__ import annotations

from dataclasses import dataclass, replace

from app.domain.changes import Changes, MergeRequest, TableChanges
from app.domain.checks import Finding, Severity, first_error
from app.domain.restore import Mode
from app.operations.backups.inventory import Inventory, inventory
from app.operations.restore.checks import preview_checks
from app.operations.restore.methods import changes_report
from app.operations.restore.request import RestoreRequest, Wanted
from app.operations.restore.source import RestoreSource, locate, open_source
from app.operations.service import SILENT, Progress, Service, target_for
from app.ports.target import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A plan.

    Attributes:
        database: the one that would change.
        method: how it would be done.
        refused: whether the restore would be refused for its conflicts.
    """

    backup: str
    mode: Mode
    database: str
    method: str
    changes: Changes
    findings: tuple[Finding, ...]
    refused: bool

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person must see."""
        found = tuple(each.message for each in self.findings if each.severity is Severity.WARNING)
        return (*found, *self.changes.warnings)


def preview(service: Service, request: RestoreRequest, progress: Progress = SILENT) -> Preview:
    """Plan a restore. The live database is neither changed nor locked.

    Raises:
        BackupNotFoundError: there is no such backup.
        RestoreError, BackupError: the restore would be refused, or the server does not answer.
    """
    wanted = Wanted.of(service, request)
    backups = inventory(service)
    source = open_source(service, locate(service, request.backup, backups), progress)
    target = target_for(service, wanted)
    checked = preview_checks(service, target, wanted, source, backups)
    if error := first_error(checked.findings):
        raise error
    assert checked.facts is not None  # noqa: S101 -- else a finding was raised
    there = checked.facts.live is not None
    changes = _plan(target, source, wanted.merge, progress) if there else _all_new(source)
    return Preview(
        backup=source.name,
        mode=wanted.mode,
        database=wanted.changes,
        method=str(wanted.method(checked.facts)),
        changes=changes,
        findings=checked.findings,
        refused=wanted.by_rows and wanted.merge.refuses(changes),
    )


def diff(service: Service, one: str, other: str | None, progress: Progress = SILENT) -> Changes:
    """What differs between a backup and another, or the live database: what a replace by it would change.

    Raises:
        BackupNotFoundError: there is no such backup.
        RestoreError, BackupError: one of them cannot be read.
    """
    backups = inventory(service)
    source = _sound(service, one, backups, progress)
    if other is None:
        return _plan(service.target, source, MergeRequest(exact=True), progress)
    second = _sound(service, other, backups, progress)
    progress.start("compare", source.archive.index.raw_bytes + second.archive.index.raw_bytes)
    return service.target.compare(source.archive, second.archive, progress.advance)


def preview_json(plan: Preview) -> dict[str, object]:
    """A plan, as JSON takes it."""
    words = {"backup": plan.backup, "mode": str(plan.mode), "database": plan.database, "method": plan.method}
    return {
        **words,
        "dry_run": True,
        "refused": plan.refused,
        **changes_report(plan.changes),
        "warnings": list(plan.warnings),
    }


def _sound(service: Service, name: str, backups: Inventory, progress: Progress) -> RestoreSource:
    source = open_source(service, locate(service, name, backups), progress)
    if error := first_error([source.verified]):
        raise error
    return source


def _plan(target: Target, source: RestoreSource, request: MergeRequest, progress: Progress) -> Changes:
    progress.start("compare", source.archive.index.raw_bytes)
    with target.merging(source.archive, request, progress.advance) as merging:
        changes = merging.preview()
    if not request.exact or request.tables:
        return changes
    # What a merge says of triggers, keys and sequences is no concern of a replace, which rebuilds it all.
    columns = (line for line in changes.schema if line.startswith("column "))
    tables = tuple(replace(each, conflicting=0) for each in changes.tables)  # the backup wins
    lines, otherwise = target.schema(source.archive)
    schema = (*columns, *lines)
    return replace(changes, tables=tables, notes=(), warnings=(), schema=schema, otherwise=tuple(otherwise))


def _all_new(source: RestoreSource) -> Changes:
    tables = (TableChanges(table=str(each.table), inserted=each.rows) for each in source.archive.index.tables)
    return Changes(tables=tuple(tables), schema=("the database does not exist, and will be created",))
