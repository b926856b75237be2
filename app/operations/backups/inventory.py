"""The inventory of backups: the files of the tree, each with what the catalog knows of it.

The files come first. A catalog that is lost or cannot be reached hides no backup, and a row whose file is gone
is no backup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, overload

from app.domain.backup import Backup, BackupState, Codec, Origin, Tier
from app.domain.clocks import is_newer, latest_of
from app.domain.events import BackupEvent
from app.errors import BackupNotFoundError, CatalogError
from app.operations.backups.descriptions import Descriptions, written
from app.operations.backups.found import found_files
from app.operations.backups.lineage import ours
from app.operations.backups.same_name import (
    FilesOfId,
    TreeFile,
    backup_at,
    by_id,
    own_files,
    remark,
)
from app.operations.service import Service
from app.ports.events import failure
from app.ports.runs import KnownManifest
from app.ports.tree import ListedFile

if TYPE_CHECKING:
    from app.archive.manifest import Manifest

MISSING = "the file is missing"
_LIST = "to list what there is: residency-backup list"
# `latest` and `oldest` never mean a safety or a full backup; `latest-safety` and `latest-full` do.
_NEVER_LATEST = (Tier.SAFETY, Tier.FULL)
ALIASES = ("latest", *(f"latest-{tier}" for tier in Tier), "oldest")


@dataclass(frozen=True, slots=True, eq=False)
class Inventory(Sequence[Backup]):
    """All backups, newest first, as one look at the tree and the catalog found them.

    Rows without a file are in it too, as damaged; other files of an id are not.

    Attributes:
        backups: these.
        rows: what the catalog knows, by file.
        names: the files of the tree, by their ids.
        found: the files that count as found, whatever their manifests say, and why.
    """

    backups: tuple[Backup, ...]
    rows: Mapping[str, Backup]
    names: tuple[FilesOfId, ...]
    found: Mapping[str, str]

    @overload
    def __getitem__(self, index: int) -> Backup: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Backup]: ...
    def __getitem__(self, index: int | slice) -> Backup | Sequence[Backup]:
        """One backup, or a slice."""
        return self.backups[index]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.backups)

    def standing(self, backup_id: str) -> Backup | None:
        """The backup of an id, if its file exists."""
        present = (backup for backup in self.backups if backup.problem != MISSING)
        return next((backup for backup in present if backup.id == backup_id), None)

    def other_files(self) -> list[str]:
        """A remark on each file that has the name of a backup and is another file."""
        return [remark(other.stored, named.backup.stored) for named in self.names for other in named.others]

    def own_files(self, backup_id: str) -> list[str]:
        """The files of an id that this service made, which a run may replace."""
        names = (named for named in self.names if named.backup.stored.id == backup_id)
        return [file for named in names for file in own_files(named, self.rows)]

    def with_manifest(self, file: str, data: bytes, manifest: Manifest) -> Inventory:
        """This inventory, with a manifest that was written since, so that it need not be parsed.

        Args:
            file: the backup's file.
            data: the manifest's bytes.
            manifest: the parsed manifest.
        """
        names = tuple(
            replace(named, backup=written(named.backup.stored, data, manifest))
            if named.backup.stored.file == file
            else named
            for named in self.names
        )
        return replace(self, names=names)

    def manifests(self) -> Mapping[str, KnownManifest]:
        """What this look knows of manifests, by file."""
        return {file.stored.file: file.known for file in self.files() if file.known is not None}

    def files(self) -> Iterator[TreeFile]:
        """Every file of the tree."""
        return (file for named in self.names for file in (named.backup, *named.others))


def inventory(service: Service, before: Inventory | None = None, *, looking: bool = False) -> Inventory:
    """Look at the tree and the catalog.

    A manifest is read only if it has changed since the earlier look or, without one, since the catalog recorded it.

    Args:
        service: the parts.
        before: an earlier look of this process.
        looking: whether nothing is recorded after it.
    """
    rows = known_rows(service)
    known = _known_manifests(service) if before is None else before.manifests()
    descriptions = Descriptions(service.tree, service.events, known, recording=not looking)
    names = tuple(by_id(list(map(descriptions.of, service.tree.files())), rows))
    found = found_files(service.catalog, service.database, names, rows)
    present = [_known(named.backup, rows, found, service) for named in names]
    ids = {backup.id for backup in present}
    lacking = {file: row for file, row in rows.items() if row.id not in ids}
    # If two trees share a catalog, the other's rows speak of files that never were in this one.
    gone = ours(service, [replace(row, problem=MISSING) for row in _still_known(service, lacking)]) if lacking else []
    backups = sorted([*present, *gone], key=lambda backup: (backup.created_at, backup.id), reverse=True)
    return Inventory(tuple(backups), rows, names, found)


def _known_manifests(service: Service) -> Mapping[str, KnownManifest]:
    try:
        return service.catalog.manifests(service.database)
    except CatalogError:  # `known_rows` warns of that
        return {}


def _still_known(service: Service, rows: dict[str, Backup]) -> list[Backup]:
    """Rows without a file that are still in the catalog: a removal deletes the file first, then the row."""
    now = known_rows(service) if rows else {}
    return [row for file, row in rows.items() if now.get(file) == row]


def newest_verified(service: Service, backups: Sequence[Backup]) -> Backup | None:
    """The newest verified backup of this whole database, as plain SQL, that this service made.

    Args:
        service: the parts.
        backups: all, newest first.
    """
    now = service.clock()
    own = (backup for backup in ours(service, backups) if backup.origin is Origin.DUMP and backup.is_verified)
    return next(
        (backup for backup in own if backup.tier.is_sql and backup.is_whole and not is_newer(backup, now)), None
    )


def find(service: Service, name: str, backups: Inventory | None = None) -> Backup:
    """The backup of an id, of a path in the tree, or of an alias.

    Args:
        service: the parts.
        name: id, path or alias.
        backups: all, newest first; None to list them.

    Raises:
        BackupNotFoundError: there is none.
    """
    if not isinstance(name, str):  # a task's argument may be anything
        raise BackupNotFoundError(f"no such backup: {name!r}", "name it by its id, or by an alias such as latest")
    present = inventory(service) if backups is None else backups
    whole = [backup for backup in present if backup.problem != MISSING and backup.state is BackupState.COMPLETE]
    if name in ALIASES:
        return _meant(service, name, ours(service, whole), present.found)
    wanted = name.removeprefix(f"{service.tree}/")
    for backup in whole:
        if wanted in (backup.id, backup.file):
            return backup
    raise BackupNotFoundError(f"no such backup: {name}{_deleted(service, wanted)}", _LIST)


def _deleted(service: Service, backup_id: str) -> str:
    """Who deleted a backup that is not there, and why; nothing if nobody did."""
    try:
        done = next((one for one in service.catalog.deletions(service.database) if one.id == backup_id), None)
    except CatalogError:  # said already: the list goes by the files
        return ""
    if done is None:
        return ""
    when = f"{done.deleted_at.astimezone(service.clock().tzinfo):%Y-%m-%d %H:%M %Z}"
    return f": {done.deleted_by or 'somebody'} deleted it at {when}: {done.reason}"


def _meant(service: Service, alias: str, own: Sequence[Backup], found: Mapping[str, str]) -> Backup:
    """The backup of this database that an alias means."""
    made = [backup for backup in own if backup.origin is Origin.DUMP]
    strange = [] if made else [file for file in found if any(backup.file == file for backup in own)]
    if not made:  # then backups that lost their manifests count, but no file that somebody else put there
        made = [backup for backup in own if backup.file not in found]
    tier = alias.removeprefix("latest-") if alias.startswith("latest-") else None
    candidates = [
        backup
        for backup in made
        if (backup.tier == tier if tier else backup.tier not in _NEVER_LATEST)
        and (backup.is_whole or tier == Tier.SAFETY)
    ]
    now = service.clock()
    come = [backup for backup in candidates if not is_newer(backup, now)]
    if come:
        return come[-1 if alias == "oldest" else 0]
    if candidates:
        raise BackupNotFoundError(
            f"no such backup: {alias}: {candidates[0].id} is from the future, as this machine's clock says",
            f"the clock says {now:%Y-%m-%d %H:%M %Z}: if that is right, name the backup by its id",
        )
    if strange:
        message = f"no such backup: {alias}: {strange[0]} is there, but was found, and not made here: "
        hint = "if it is yours: residency-backup check; or name it by its id"
        raise BackupNotFoundError(message + found[strange[0]], hint)
    raise BackupNotFoundError(f"no such backup: {alias}", _LIST)


def codec_of(file: str) -> Codec:
    """How a file is compressed, by its suffix."""
    return next(codec for codec in (Codec.GZIP, Codec.ZSTD, Codec.NONE) if file.endswith(codec.suffix))


def unindexed(stored: ListedFile, database: str) -> Backup:
    """The backup of a file of which only name and size are known."""
    path = PurePosixPath(stored.id)
    tier = Tier(path.parent.name)
    return Backup(
        id=stored.id,
        database=database,
        tier=tier,
        period=stored.period,
        file=stored.file,
        created_at=min(stored.written_at, latest_of(tier, stored.period)),
        bytes=stored.size,
        raw_bytes=0,
        rows=None,
        tables=None,
        database_size=None,
        sha256="",
        codec=codec_of(stored.file),
        origin=Origin.SCAN,
    )


def _known(file: TreeFile, rows: Mapping[str, Backup], found: Mapping[str, str], service: Service) -> Backup:
    """The backup of a file: by its manifest, and by the catalog's row if that is of the same bytes."""
    backup = _by_word(file, rows.get(file.stored.file), service)
    return replace(backup, origin=Origin.SCAN) if file.stored.file in found else backup


def _by_word(file: TreeFile, row: Backup | None, service: Service) -> Backup:
    if file.described is None:
        return _unproven(file, row, service.database)
    backup = backup_at(file.described, file.stored)
    if row is not None and row.sha256 == backup.sha256 and row != backup:
        backup = replace(
            row,
            tier=backup.tier,
            period=backup.period,
            pinned_reason=backup.pinned_reason,
            made_by=backup.made_by,
            pinned_by=backup.pinned_by,
            only_tables=backup.only_tables,
            revision=backup.revision,
            doubts=backup.doubts,
            lacking=backup.lacking,
        )
    problem = backup.problem or _wrong_size(file.stored, backup.bytes)
    return backup if problem is None else replace(backup, problem=problem)


def _unproven(file: TreeFile, row: Backup | None, database: str) -> Backup:
    """The backup of a file that lost its manifest: until it has one again, nothing proves it to be ours.

    A row of a file of another length is of other bytes, so only the pin that it remembers counts.
    """
    stored = file.stored
    if file.waiting is not None:
        return replace(backup_at(file.waiting, stored), origin=Origin.SCAN, verified_at=None)
    if row is None:
        return unindexed(stored, database)
    if problem := _wrong_size(stored, row.bytes):
        return replace(unindexed(stored, database), pinned_reason=row.pinned_reason, state=row.state, problem=problem)
    return replace(row, origin=Origin.SCAN)


def _wrong_size(stored: ListedFile, wanted: int) -> str | None:
    return None if stored.size == wanted else f"the file has {stored.size} bytes instead of {wanted}"


def known_rows(service: Service) -> dict[str, Backup]:
    """The catalog's rows by file; none, with a warning, if it cannot be read."""
    try:
        return {row.file: row for row in service.catalog.backups(service.database)}
    except CatalogError as error:
        service.events.emit(failure(BackupEvent.BY_FILES, error))
        return {}
