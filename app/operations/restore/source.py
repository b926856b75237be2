"""What is restored: a backup of the tree, or the file of any plain dump."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from app.archive import reader
from app.archive.inspect.first_bytes import of_two_dumps, with_crlf
from app.archive.inspect.mishaps import Mishaps
from app.archive.inspect.tables import TablesInFile
from app.archive.kept_text import TextWhileIndexed
from app.archive.manifest import Manifest, ServerFacts
from app.archive.open_file import OpenFile
from app.archive.part import tables_of_part
from app.archive.reader import Archive
from app.archive.scanner import Chunk
from app.domain.backup import Backup, Origin, Tier
from app.domain.checks import Finding
from app.domain.events import RestoreEvent
from app.domain.restore import Restore
from app.errors import (
    BackupError,
    BackupNotFoundError,
    BackupPermissionError,
    BackupReadError,
    BackupValidationError,
    DiskReadError,
    ManifestError,
    ResidencyBackupError,
    RestoreValidationError,
)
from app.operations.backups.inventory import Inventory, codec_of, find
from app.operations.backups.keep import StoredManifest, pin_opened
from app.operations.backups.opened import OpenBackup, ReplacedMeanwhileError, each_look, opened, replaced_meanwhile
from app.operations.backups.verify import VerifyResult, verify_opened
from app.operations.given_file import is_packed_folder, require_plain, stat_of
from app.operations.restore.parts import DamageNote, schema_finding
from app.operations.restore.plain_text import PlainText, plain_text_of
from app.operations.service import SILENT, Progress, Service
from app.ports.events import Event, failure

_OTHER = "use another backup: residency-backup list"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSource:
    """What is restored.

    Attributes:
        manifest: None for a foreign dump, and for a backup that has lost its own.
        verified: the finding of its verification.
        in_parts: whether only what is used of it is read and verified; else all of it was, from its first byte on.
        tables: what the file says of its tables, if all of it had to be read for that.
        stored: the manifest with its bytes, if this restore has pinned the backup.
        only_tables: the tables whose rows it holds, if it is a backup of some tables only; else empty.
    """

    name: str
    archive: Archive
    manifest: Manifest | None
    backup: Backup | None
    verified: Finding
    in_parts: bool = False
    tables: TablesInFile | None = None
    stored: StoredManifest | None = None
    only_tables: tuple[str, ...] = ()

    @property
    def facts(self) -> ServerFacts | None:
        """The server's facts at the dump, if this service made it; only then the digests can be compared."""
        is_own = self.manifest is not None and self.manifest.origin is Origin.DUMP
        return self.manifest.server if self.manifest and is_own else None

    @property
    def size(self) -> int:
        """About how many bytes it takes on a server's disk."""
        recorded = self.manifest.server.size if self.manifest and self.manifest.server else None
        return recorded or self.archive.index.raw_bytes


def name_of(place: Backup | Path) -> str:
    """The id of a backup, or the path of a file."""
    return place.id if isinstance(place, Backup) else str(place)


def locate(service: Service, name: str, backups: Inventory | None = None) -> Backup | Path:
    """Find what is meant: a backup by id or alias, else a file by its path.

    Args:
        service: the parts.
        name: as `find` takes it, or a path.
        backups: all, newest first; None to list them.

    Raises:
        BackupNotFoundError: there is neither.
        RestoreValidationError: it is a full backup, or a path of what is no regular file.
    """
    try:
        backup = find(service, name, backups)
    except BackupNotFoundError:
        if not isinstance(name, str) or not _names_a_file(name):
            raise
    else:
        if backup.tier is Tier.FULL:
            raise RestoreValidationError(
                f"{backup.id} is a full backup: a whole server, and no dump that a database is restored from",
                f"lay it out in an empty folder: residency-backup restore-full {backup.id} --target FOLDER",
            )
        return backup
    path = Path(name).absolute()
    if not is_packed_folder(path):
        require_plain(path)
    return path


def _names_a_file(name: str) -> bool:
    """Whether a name is a path. A folder without a dump does not count: an id begins with the name of its tier's."""
    if Path(name).is_absolute() or is_packed_folder(Path(name)):
        return True
    found = stat_of(Path(name))
    return found is not None and not stat.S_ISDIR(found.st_mode)


def open_source(
    service: Service,
    place: Backup | Path,
    progress: Progress = SILENT,
    pinned_for: Restore | None = None,
    *,
    in_parts: bool = False,
) -> RestoreSource:
    """Read a backup, or a file, from its first to its last byte, and compare it with its manifest if it has one.

    The file stays open: what is read from the source later is of the same bytes, even if a run replaces the backup.

    Args:
        service: the parts.
        place: what `locate` found.
        progress: called with the number of bytes read.
        pinned_for: a restore; the backup is pinned for it before it is read.
        in_parts: of a backup with a manifest, read only what is used: see `app.operations.restore.parts`.

    Raises:
        RestoreValidationError: it is no plain dump, or not a whole one.
        BackupError: it cannot be read.
    """
    if isinstance(place, Path):
        return _scanned(place, place, _text_of(service, place), progress)
    for backup in each_look(service, place):
        try:
            with opened(service, backup) as found:
                return _of_backup(found, progress, pinned_for, in_parts=in_parts)
        except (ReplacedMeanwhileError, BackupNotFoundError):
            continue
    raise replaced_meanwhile(place)


def _of_backup(found: OpenBackup, progress: Progress, pinned_for: Restore | None, *, in_parts: bool) -> RestoreSource:
    """A backup of the tree as a source.

    Raises:
        ReplacedMeanwhileError: another one has taken its place while it was read.
    """
    backup, held = found.backup, OpenFile(found.stream)
    try:
        manifest = found.manifest()
    except ManifestError as error:
        if pinned_for is not None and backup.pinned_reason is None:
            found.service.events.emit(failure(RestoreEvent.PIN_NOT_SET, error, backup=backup.id))
        by_file = Event(RestoreEvent.BY_FILE, backup=backup.id, error=type(error).__name__)
        found.service.events.emit(by_file)
        try:
            text = PlainText.of_file(held, codec_of(backup.file))
            return _scanned(backup, found.service.tree.root / backup.file, text, progress)
        finally:
            found.require_still()
    stored = None
    if pinned_for is not None and backup.pinned_reason is None:
        stored = _pinned(found, manifest, pinned_for)
        manifest = manifest if stored is None else stored.manifest
    damaged = DamageNote(found, _unfit) if in_parts else None
    archive = Archive(held.open, manifest.codec, manifest.index, damaged=damaged)
    return RestoreSource(
        name=backup.id,
        archive=archive,
        manifest=manifest,
        backup=manifest.to_backup(backup.id, backup.file),
        verified=schema_finding(archive, backup.id, progress) if in_parts else _verified(found, manifest, progress),
        in_parts=in_parts,
        stored=stored,
        only_tables=manifest.only_tables,
    )


def _verified(found: OpenBackup, manifest: Manifest, progress: Progress) -> Finding:
    """Read all of a backup."""
    name, outcome = found.backup.id, VerifyResult()
    progress.start("verify", manifest.bytes)
    verify_opened(found, progress, outcome, manifest)
    if outcome.failed:
        return Finding.failed("backup", _unfit(name, outcome.failed[0][1]))
    return Finding.ok("backup", f"{name} verifies: every byte is what was dumped")


def _pinned(found: OpenBackup, manifest: Manifest, restore: Restore) -> StoredManifest | None:
    """Pin a backup for a restore; None, with a warning, if its folder is read-only: the restore's record keeps it."""
    try:
        return pin_opened(found, manifest, restore.pin)
    except BackupPermissionError as error:
        found.service.events.emit(failure(RestoreEvent.PIN_NOT_SET, error, backup=found.backup.id))
        return None


def _unfit(name: str, error: BackupError) -> ResidencyBackupError:
    """The error of a backup that must not be restored. An error of the disk says nothing of the backup."""
    is_damage = isinstance(error, BackupReadError | BackupValidationError) and not isinstance(error, DiskReadError)
    if not is_damage:
        return error
    return RestoreValidationError(f"{name} does not verify: {error.message}", _OTHER)


def _scanned(place: Backup | Path, path: Path, text: PlainText, progress: Progress) -> RestoreSource:
    """A source without a manifest: its index is made by reading it. `path` leads to its file."""
    name = name_of(place)
    progress.start(f"index {Path(name).name}", text.size)
    mishaps, sql, first = Mishaps(), TextWhileIndexed(), list[bytes]()

    def look(chunk: Chunk) -> None:
        if not first:
            first.append(chunk.data)
        mishaps.look(chunk)
        sql.take(chunk)

    try:
        with text.open() as stream:
            index = reader.build_index(stream, text.codec, progress.advance, look)
    except (BackupReadError, BackupValidationError) as error:
        raise _unfit(name, error) from error
    if not index.complete:
        message = f"{name} is no plain dump of pg_dump, or was cut off: its end marker is missing"
        raise RestoreValidationError(message, _OTHER)
    _require_untouched(path, text, mishaps)
    sql.finish()
    backup = place if isinstance(place, Backup) else None
    message = f"{name} has no manifest to be proven by; it is whole, and was indexed by reading it"
    return RestoreSource(
        name=name,
        archive=Archive(text.open, text.codec, index if text.seekable else index.without_places(), kept=sql.kept),
        manifest=None,
        backup=backup,
        tables=mishaps.tables,
        only_tables=tables_of_part(first[0]),
        verified=Finding.warning("backup", message) if backup else Finding.ok("backup", message),
    )


def _require_untouched(path: Path, text: PlainText, mishaps: Mishaps) -> None:
    if mishaps.has_crlf:
        raise with_crlf(path, text.codec)
    if mishaps.twice is not None:
        raise of_two_dumps(path, text.codec, mishaps.twice)


def _text_of(service: Service, path: Path) -> PlainText:
    try:
        return plain_text_of(service, path)
    except BackupReadError as error:
        raise _unfit(str(path), error) from error
