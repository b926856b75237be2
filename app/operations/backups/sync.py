"""Rebuilds the catalog from the files, and a missing manifest from its archive."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import structlog

from app.archive.manifest import Manifest, parse_manifest
from app.domain.backup import Backup, BackupState, Origin
from app.domain.events import BackupEvent
from app.errors import (
    BackupError,
    BackupNotFoundError,
    BackupReadError,
    ManifestError,
    NewerManifestError,
)
from app.operations.backups.descriptions import Descriptions
from app.operations.backups.found import found_files
from app.operations.backups.inventory import codec_of, unindexed
from app.operations.backups.leftovers import adopt_manifests
from app.operations.backups.opened import LOOKS, holds
from app.operations.backups.parsed_manifests import keep_parsed
from app.operations.backups.same_name import FilesOfId, TreeFile, backup_at, by_id, remark
from app.operations.backups.servers import require_folder
from app.operations.backups.unfinished import reinstated
from app.operations.ending import VerbEnding
from app.operations.formats import format_of
from app.operations.service import SILENT, Progress, Service
from app.ports.events import Event, failure
from app.ports.tree import ListedFile, StoredFile

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class SyncResult:
    """Ids of what was changed; `problems` are what could not be."""

    added: list[str] = field(default_factory=list)
    healed: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def sync(service: Service, progress: Progress = SILENT, *, trusting: bool = True) -> SyncResult:
    """Make the catalog say what the files say.

    A file that has a manifest is not read: `verify` does that. A file without one is read and indexed. If the catalog
    knows its SHA-256, the file is what was dumped; if not, it counts as found.

    Args:
        service: the parts.
        progress: called with the number of bytes read.
        trusting: whether to accept files whose manifests name this service, although no recorded run made them.

    Raises:
        BackupFolderLostError: the folder held backups, and is empty.
        CatalogError: the catalog cannot be written.
    """
    outcome = SyncResult()
    with VerbEnding(service.events, BackupEvent.SYNC_FAILED, "the sync was cancelled"):
        _sync(service, outcome, progress, trusting=trusting)
    return outcome


def _sync(service: Service, outcome: SyncResult, progress: Progress, *, trusting: bool) -> None:
    require_folder(service)
    rows = {row.file: row for row in service.catalog.backups(service.database)}
    files = service.tree.files()
    if healed := adopt_manifests(service, files):
        outcome.healed += healed
        files = service.tree.files()  # their manifests have their names by now
    if rows and not files:
        outcome.problems.append(f"all {len(rows)} backups are gone from {service.tree}: is it mounted?")
        return
    described = list(map(Descriptions(service.tree, service.events, whole=True).of, files))
    keep_parsed(service, described)
    names = by_id(described, rows)
    found = {} if trusting else found_files(service.catalog, service.database, names, rows)
    for named in names:
        outcome.problems += [remark(other, named.backup.stored) for other in _others(service, named, rows, outcome)]
        stored = named.backup.stored
        if reason := found.get(stored.file):
            outcome.problems.append(f"{stored.file}: found, {reason}; if it is yours: residency-backup sync")
            continue
        try:
            _sync_file(service, named.backup, rows.get(stored.file), outcome, progress)
        except BackupError as error:
            outcome.problems.append(f"{stored.file}: {error.message}")
            service.events.emit(failure(BackupEvent.NOT_SYNCED, error, backup=stored.id))
    standing_ids = {named.backup.stored.id for named in names}
    _forget(service, [row for row in rows.values() if row.id not in standing_ids], outcome)


def _sync_file(service: Service, file: TreeFile, row: Backup | None, outcome: SyncResult, progress: Progress) -> None:
    if row is not None and row.state is BackupState.DELETING and _is_of(service, file, row):
        whole = reinstated(service, row)
        if whole is None:
            service.tree.remove(file.stored.file)
            _forget(service, [row], outcome)
            return
        outcome.healed.append(whole.id)
        row = whole
    _take_in(service, file, row, outcome, progress)


def _others(service: Service, named: FilesOfId, rows: Mapping[str, Backup], outcome: SyncResult) -> list[ListedFile]:
    """Other files of a backup's id. A file that a killed run had already replaced is removed first."""
    left = []
    for other in (file.stored for file in named.others):
        if _is_replaced(other, rows.get(other.file), named.backup):
            service.tree.remove(other.file)
            outcome.forgotten.append(other.file)
            service.events.emit(Event(BackupEvent.FILE_REMOVED, figures={"file": other.file}))
        else:
            left.append(other)
    return left


def _is_replaced(other: ListedFile, row: Backup | None, backup: TreeFile) -> bool:
    """Whether a run has removed this file's manifest, because a newer file of its id is complete."""
    described = backup.fitting
    if described is None or row is None or other.stamp is not None:
        return False
    known = row.origin is Origin.DUMP and row.bytes == other.size
    return known and described.origin is Origin.DUMP and described.created_at > row.created_at


def _take_in(service: Service, file: TreeFile, row: Backup | None, outcome: SyncResult, progress: Progress) -> None:
    """Make the catalog say what a file's manifest says; what changes meanwhile is looked at again.

    Raises:
        BackupReadError: it changes each time.
    """
    stored, described = file.stored, file.described
    for _ in range(LOOKS):
        healed = described is None
        if described is None:
            described = _heal(service, stored.file, row, outcome, progress)
        if described is not None:
            backup = _row_of(stored, described, None if healed else row)
            if backup == row:
                return
            service.catalog.save(backup)
        now = service.tree.look(stored.file)
        if now is None:  # another process has removed it, and its row
            if described is not None:
                _forget(service, [backup], SyncResult())
            return
        described_now = _described_in(now)
        if described is not None and (now.manifest is None or described_now == described):
            if row is None:
                outcome.added.append(stored.id)
            return
        log.debug("backup changed while it was synced, looked at again", backup=stored.id)
        stored, described = now, described_now
    look = f"ls -l {shlex.quote(f'{service.tree.location(stored.file)}.json')}"
    raise BackupReadError(
        f"{stored.file} changes all the time, or something that is no file has its manifest's name: {look}",
        "when no backup is being made: residency-backup sync",
    )


def _heal(service: Service, file: str, row: Backup | None, outcome: SyncResult, progress: Progress) -> Backup | None:
    """What a file holds; it is read, and gets its manifest, unless it has one by now. None if another has its name.

    Raises:
        NewerManifestError, BackupReadError: as `_described_in`.
    """
    stored = service.tree.look(file)
    if stored is None or (described := _described_in(stored)):
        return None if stored is None else described
    try:
        manifest = _rebuild(service, stored, row, progress)
    except BackupNotFoundError:
        return None
    if manifest is None or not service.tree.add_manifest(manifest.to_json().encode(), stored):
        return None
    if stored.id not in outcome.healed:
        outcome.healed.append(stored.id)
    figures = {"origin": str(manifest.origin)}
    service.events.emit(Event(BackupEvent.MANIFEST_REBUILT, backup=stored.id, figures=figures))
    return manifest.to_backup(stored.id, stored.file)


def _row_of(stored: ListedFile, described: Backup, row: Backup | None) -> Backup:
    """The catalog's row for a file; what an earlier row says of the same bytes is kept."""
    backup = backup_at(described, stored)
    if stored.size != backup.bytes:
        return replace(backup, problem=f"the file has {stored.size} bytes, its manifest says {backup.bytes}")
    if row is not None and row.sha256 == backup.sha256:
        return replace(backup, verified_at=row.verified_at, problem=row.problem)
    return backup


def _is_of(service: Service, file: TreeFile, row: Backup) -> bool:
    """Whether a file is the one of the row, and not a newer one under its name."""
    if file.described is None:
        return holds(service.tree, file.stored, row.sha256)
    return file.described.sha256 == row.sha256


def _described_in(stored: StoredFile) -> Backup | None:
    """The backup that the manifest describes; None if it must be rebuilt.

    Raises:
        NewerManifestError: it is of a newer version, and not ours to overwrite.
        BackupReadError: there is one, but it cannot be read just now.
    """
    if stored.problem is not None:
        raise BackupReadError(stored.problem, "make its manifest readable, then: residency-backup sync")
    if stored.manifest is None:
        return None
    try:
        return parse_manifest(stored.manifest, f"{stored.file}.json").to_backup(stored.id, stored.file)
    except NewerManifestError:
        raise
    except ManifestError:
        return None


def _rebuild(service: Service, stored: ListedFile, row: Backup | None, progress: Progress) -> Manifest | None:
    """The manifest that a file's content gives; None if another file has its name by now."""
    codec = codec_of(stored.file)
    progress.start(f"index {PurePosixPath(stored.file).name}", stored.size)
    with service.tree.open(stored.file) as stream:
        try:
            index = format_of(unindexed(stored, service.database).tier).index(stream, codec, progress)
        except BackupError:
            if service.tree.is_at(stored.file, stream):
                raise
            return None
        if not service.tree.is_at(stored.file, stream):
            return None
    base = row if row is not None and row.sha256 == index.sha256 else unindexed(stored, service.database)
    return Manifest(
        bytes=index.bytes,
        raw_bytes=index.raw_bytes,
        sha256=index.sha256,
        tables=index.tables,
        segments=index.segments,
        full=index.full,
        tool=service.options.tool,
        origin=base.origin if base is row else Origin.SCAN,
        database=base.database,
        tier=base.tier,
        period=base.period,
        label=base.label,
        pinned_reason=base.pinned_reason,
        made_by=base.made_by,
        pinned_by=base.pinned_by,
        snapshot_time=base.created_at,
        verified_at=service.clock(),
        seconds=base.seconds,
        codec=codec,
        only_tables=base.tables_held or index.only_tables,
    )


def _forget(service: Service, rows: Sequence[Backup], outcome: SyncResult) -> None:
    """Remove the rows of files that are gone, except those that are of other files by now."""
    now = {row.id: row for row in service.catalog.backups(service.database)} if rows else {}
    for row in rows:
        if now.get(row.id) == row:
            service.catalog.forget(service.database, row.id)
            outcome.forgotten.append(row.id)
            service.events.emit(Event(BackupEvent.FORGOTTEN, backup=row.id))
