"""Compares the schema revisions of a backup and of the live database, and says what to do if they differ.

Alembic's revision is in a backup's manifest, and among the facts of the server. For other tools, and for a dump without
a manifest, the rows of the tool's table are read. They are few.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from app.archive.inspect.versions import ALEMBIC, RecordedVersions, recorded_versions
from app.archive.manifest import ServerFacts
from app.archive.reader import Archive
from app.domain.checks import Finding, Severity
from app.domain.restore import Mode
from app.domain.revisions import Heads, Order, Revisions, SchemaVersions, ToolVersions, heads_of
from app.errors import BackupError, RestoreMisfitError
from app.operations.options import Options
from app.operations.restore.source import RestoreSource
from app.operations.service import Service
from app.ports.target import Target

if TYPE_CHECKING:
    from app.operations.restore.job import Job

REVISION = "revision"


def schema_versions(
    service: Service, target: Target, source: RestoreSource, live: ServerFacts | None
) -> SchemaVersions:
    """Compare the revisions of both.

    Args:
        service: the parts.
        target: the server, with the database that changes in the live one's place.
        source: the backup.
        live: facts of that database; None if it does not exist: then nothing differs.

    Raises:
        RestoreError: the server does not answer.
    """
    if live is None or source.verified.severity is Severity.ERROR:
        return SchemaVersions(Revisions(None, None))
    recorded = list(_recorded(service.options, source))
    revisions, problem = _with_history(service, Revisions(_heads(source, recorded), heads_of(live.alembic_revision)))
    return SchemaVersions(revisions, _others(target, recorded), problem)


def others_of(options: Options, target: Target, archive: Archive) -> tuple[ToolVersions, ...]:
    """The tables of other tools than Alembic in which an archive and the live database differ."""
    return _others(target, list(recorded_versions(archive, options.version_tables)))


def versions_between(service: Service, one: RestoreSource, other: RestoreSource) -> SchemaVersions:
    """Compare two backups, by Alembic's revisions alone."""
    first, second = (_heads(source, list(_recorded(service.options, source))) for source in (one, other))
    revisions, problem = _with_history(service, Revisions(first, second, names=(one.name, other.name)))
    return SchemaVersions(revisions, (), problem)


def revision_findings(job: Job) -> Iterator[Finding]:
    """What differs, and what to do now."""
    if not job.live:
        return
    versions = job.versions
    if not versions.differ:
        heads = ", ".join(sorted(versions.revisions.live or ()))
        yield Finding.ok(REVISION, f"backup and live database are of revision {heads}" if heads else "no tool differs")
    elif job.request.by_rows:
        yield Finding.ok(REVISION, f"{versions}: {_by_rows(job)}")
    elif versions.revisions.order is Order.AFTER:
        way = "the application that runs now may not know that schema: deploy its release, or choose an older backup"
        yield Finding.warning(REVISION, f"{versions}: {way}")
    elif job.service.options.post_command:
        yield Finding.ok(REVISION, f"{versions}: RESTORE_POST_COMMAND runs on the restored database")
    else:
        yield Finding.warning(REVISION, f"{versions}: {_after_a_replace(job)}")


def revision_notes(job: Job, findings: Sequence[Finding]) -> list[str]:
    """What somebody may want to know of differing revisions, unless it is a warning already."""
    of_them = (finding for finding in findings if finding.check == REVISION and finding.severity is Severity.OK)
    return [finding.message for finding in of_them] if job.live and job.versions.differ else []


def _after_a_replace(job: Job) -> str:
    folder = job.service.options.command_dir
    by_hand = f"cd {shlex.quote(str(folder))} && alembic upgrade head" if folder else "alembic upgrade head"
    return (
        f"after the restore run the application's migrations (restart its backend, if that runs them, or: {by_hand});"
        " or set RESTORE_POST_COMMAND, which runs them before"
    )


def _by_rows(job: Job) -> str:
    way = "rows are matched by the names of tables and columns"
    if job.migration:
        return f"a copy of the backup is migrated by {job.migration_setting} first, and merged from there"
    if not job.versions.may_be_behind or job.request.mode is not Mode.MERGE:
        return way
    return f"{way}; {_by_migration(job)}"


def _by_migration(job: Job) -> str:
    request = replace(job.request.merge, backup=job.source.name, migrate="alembic upgrade head")
    merge = request.command(job.request.changes, dry_run=True)
    folder = "" if job.service.options.command_dir else ", in the folder that RESTORE_COMMAND_DIR names"
    return f"to have the application's migrations run over a copy of the backup first{folder}: {merge}"


@contextmanager
def offering_migration(job: Job) -> Iterator[None]:
    """A block that matches the backup with the live tables: if it is refused, migrations may help.

    Raises:
        RestoreMisfitError: the block's, with the command that migrates a copy of the backup.
    """
    try:
        yield
    except RestoreMisfitError as error:
        if job.request.mode is not Mode.MERGE or job.migration or not job.versions.may_be_behind:
            raise
        hint = "; or, ".join(filter(None, (error.hint, _by_migration(job))))
        raise RestoreMisfitError(error.message, hint) from error


def _recorded(options: Options, source: RestoreSource) -> Iterator[RecordedVersions]:
    """The tables of migration tools in a backup, but for Alembic's if the manifest says what is in it."""
    has_facts = _manifest_facts(source) is not None
    for found in recorded_versions(source.archive, options.version_tables):
        if not (has_facts and found.name.name == ALEMBIC):
            yield found


def _manifest_facts(source: RestoreSource) -> ServerFacts | None:
    return source.manifest.server if source.manifest is not None else None


def _heads(source: RestoreSource, recorded: list[RecordedVersions]) -> Heads | None:
    facts = _manifest_facts(source)
    if facts is not None:
        return heads_of(facts.alembic_revision)
    return next((found.versions for found in recorded if found.name.name == ALEMBIC), None) or None


def _with_history(service: Service, revisions: Revisions) -> tuple[Revisions, str | None]:
    """The revisions with the application's history, which is read only if it has something to tell."""
    if revisions.order is Order.SAME or not revisions.backup or not revisions.live:
        return revisions, None
    try:
        history = service.tools.history()
    except BackupError as error:
        return revisions, error.message
    return Revisions(revisions.backup, revisions.live, history, revisions.names), None


def _others(target: Target, recorded: list[RecordedVersions]) -> tuple[ToolVersions, ...]:
    """The tables of other tools that differ; those that the live database does not have are no news."""
    tables = [found for found in recorded if found.name.name != ALEMBIC]
    live = target.versions({found.name: found.column for found in tables}) if tables else {}
    both = ((found, live[found.name]) for found in tables if found.name in live)
    return tuple(
        ToolVersions(
            str(found.name),
            found.tool.tool,
            tuple(sorted(found.versions - versions)),
            tuple(sorted(versions - found.versions)),
        )
        for found, versions in both
        if found.versions != versions
    )
