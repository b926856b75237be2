"""Brings a copy of an older backup to the live schema, by the application's own migrations; the merge takes its rows.

    scratch database -> load -> prove -> run the command -> compare its revision with the live one
    -> dump it into a file -> drop the scratch database -> merge from the file

What the command made is used for new rows only: a column that it added does not overwrite live values, and a table that
it made does not change live rows. `app.postgres.replace.scratch` says how it is made sure that nobody else changed the
copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from app.archive.open_file import OpenFile
from app.archive.reader import Archive
from app.archive.writer import ArchiveWriter
from app.domain.adaptation import Adaptation, Filled
from app.domain.backup import Codec
from app.domain.changes import MergeRequest
from app.domain.checks import Finding
from app.domain.events import RestoreEvent
from app.domain.listed import listed
from app.domain.psql import in_psql, quoted
from app.domain.restore import Mode
from app.domain.revisions import Order, Revisions, SchemaVersions, heads_of, named
from app.errors import (
    BackupCancelledError,
    BackupError,
    RestoreMigrationError,
    RestorePermissionError,
    RestoreValidationError,
    as_restore_error,
)
from app.operations.backup.space import SpaceGuard
from app.operations.restore.commands import command_finding
from app.operations.restore.foreign import loading_role
from app.operations.restore.job import Job
from app.operations.restore.revisions import others_of
from app.ports.attempts import dump_whole
from app.ports.events import Event
from app.ports.source import Source
from app.ports.target import LoadOptions

MIGRATION = "migration"
CODEC = Codec.ZSTD  # of the file, whatever backups are compressed with
SHRINKS = 3  # by that codec, at least
_SHOWN = 10
_AS_BEFORE = "the live database is as before"


@dataclass(frozen=True, slots=True)
class Rows:
    """What a restore by rows brings.

    Attributes:
        archive: the backup, or its migrated copy.
        request: with what a migration filled.
        notes: for people.
    """

    archive: Archive
    request: MergeRequest
    notes: tuple[str, ...] = ()


def rows_of(job: Job) -> Rows:
    """The backup's rows as they are."""
    return Rows(job.source.archive, job.request.merge)


def migration_findings(job: Job) -> Iterator[Finding]:
    """Whether a copy of the backup will be migrated, and whether that is possible."""
    asked = job.request.migrate
    if job.request.mode is not Mode.MERGE or not job.live or not (asked or job.migration):
        return
    if not job.migration:
        yield _needless(job)
        return
    if not job.facts.may_create:
        message = "a copy of the backup is migrated in a database of its own, and the role may not create one"
        create = in_psql("postgres", f"ALTER ROLE {quoted(job.facts.role)} CREATEDB")
        yield Finding.failed(MIGRATION, RestorePermissionError(message, f"let it create databases: {create}"))
    folder = job.service.options.command_dir
    yield command_finding(MIGRATION, job.migration_setting, job.migration, folder, RestoreMigrationError)


def _needless(job: Job) -> Finding:
    revisions = job.versions.revisions
    if revisions.order is Order.SAME:
        return Finding.ok(MIGRATION, f"nothing is to be migrated: both are of revision {named(revisions.live)}")
    message = f"--migrate brings a backup up to the live schema, and {revisions}"
    return Finding.failed(MIGRATION, RestoreValidationError(message, "leave --migrate out, or take an older backup"))


def migrated_rows(job: Job, name: str) -> Rows:
    """The rows of a migrated copy of the backup.

    Args:
        job: a merge that is to be migrated.
        name: of the scratch database; it is gone afterwards.

    Raises:
        RestoreMigrationError: the command failed, or did not reach the live schema.
        RestoreBusyError: somebody else used the scratch database.
        RestoreError, BackupError: it could not be made, loaded, proven or read.
    """
    facts, role = job.source.facts, loading_role(job)
    with job.target.scratch(name, facts, role) as scratch:
        _load_and_prove(job, name, LoadOptions(facts=facts, search_path=job.request.search_path, role=role))
        with job.phase("migrate"):
            filled = scratch.migrate(job.migration, job.migration_setting)
            job.service.events.emit(Event(RestoreEvent.MIGRATED, figures={"database": name}))
        source = scratch.source()
        archive = _dumped(job, source)
        _require_reached(job, source, archive)
        scratch.require_alone()
    request = job.request.merge
    request = replace(request, adaptation=request.adaptation + Adaptation(filled=filled))
    return Rows(archive, request, tuple(_notes(job, filled)))


def _load_and_prove(job: Job, name: str, options: LoadOptions) -> None:
    archive = job.source.archive
    with job.phase("load", archive.index.raw_bytes):
        job.target.load(name, archive, options, job.progress.advance)
    with job.phase("prove", archive.index.raw_bytes):
        job.target.prove(name, archive, options, job.progress.advance)


def _dumped(job: Job, source: Source) -> Archive:
    """The content of a database as an archive in a file without a name, which is gone when nobody reads it any more."""
    service = job.service
    with service.tree.nameless() as stream, job.phase("read the migrated copy", job.source.archive.index.raw_bytes):

        def begin() -> ArchiveWriter:
            stream.seek(0)
            stream.truncate()
            guard = SpaceGuard(service.tree, service.options, job.progress)
            return ArchiveWriter(stream, CODEC, None, guard.advance)

        try:
            _, writer = dump_whole(source, begin)
            index = writer.finish()
        except BackupCancelledError:
            raise
        except BackupError as error:
            message = f"the migrated copy of the backup cannot be read: {error.message}; {_AS_BEFORE}"
            raise as_restore_error(error, message) from error
        stream.flush()
        return Archive(OpenFile(stream).open, CODEC, index)


def _require_reached(job: Job, source: Source, archive: Archive) -> None:
    """Make sure that the copy has seen the migrations that the live database has."""
    found, live = heads_of(source.facts().alembic_revision), job.versions.revisions.live
    versions = SchemaVersions(Revisions(found, live), others_of(job.service.options, job.target, archive))
    if not versions.differ:
        return
    message = (
        f"{job.migration_setting} did not bring the copy of the backup to the live schema: {_gap(versions)};"
        f" {_AS_BEFORE}"
    )
    hint = (
        "the command must migrate the database that DATABASE_URL names to the live one's revision (with Alembic:"
        f" alembic upgrade {' '.join(sorted(live)) if live else 'head'})"
    )
    if job.service.options.command_dir is None:
        hint += "; RESTORE_COMMAND_DIR names the folder that it runs in, with the application's alembic.ini"
    raise RestoreMigrationError(message, hint)


def _gap(versions: SchemaVersions) -> str:
    return str(replace(versions, revisions=replace(versions.revisions, names=("it", "the live database"))))


def _notes(job: Job, filled: Filled) -> Iterator[str]:
    revisions = job.versions.revisions
    way = f" from revision {named(revisions.backup)} to {named(revisions.live)}" if revisions.live else ""
    yield f"a copy of the backup was brought{way} by {job.migration_setting}; its rows are merged"
    if filled.columns:
        yield f"filled by the migration, so for new rows only: {_listed(filled.columns)}"
    if filled.tables:
        yield f"made by the migration, so live rows stay as they are: {_listed(filled.tables)}"


def _listed(names: Sequence[object] | frozenset[object]) -> str:
    return listed(sorted(map(str, names)), _SHOWN)
