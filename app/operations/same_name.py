"""Which file a backup is, where several of its id stand: an id does not say how its file is compressed.

The backup is the file that its manifest describes. Another one of the id may be anybody's (``gzip -k`` makes one): it
is named to whoever looks, and nobody removes it. Only what the manifest or the catalog knows as made by this service
is a run's to replace.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import PurePosixPath

from app.archive.manifest import Manifest, parse_manifest
from app.domain.backup import Backup, Origin, Tier, extension_of, id_of
from app.domain.ports import StoredFile
from app.errors import BackupValidationError, ManifestError

COPIED = "copied here by somebody"
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Named:
    """The files of one id: the backup, and those that stand beside it."""

    backup: StoredFile
    others: tuple[StoredFile, ...] = ()


def by_id(files: Sequence[StoredFile], rows: Mapping[str, Backup]) -> list[Named]:
    """Files by their ids.

    Args:
        files: of the tree, sorted by id.
        rows: what the catalog knows, by file.
    """
    groups = (list(group) for _, group in groupby(files, key=lambda stored: stored.id))
    return [_named(group, rows) for group in groups]


def own_files(named: Named, rows: Mapping[str, Backup]) -> list[str]:
    """Those of one id that this service made, as a manifest that describes the file says, or a row that names it."""
    return [each.file for each in (named.backup, *named.others) if _is_own(each, rows.get(each.file))]


def waiting_manifest(stored: StoredFile) -> Manifest | None:
    """The manifest that a run which died did not put in its place, as far as its length can tell that it is this one's.

    Only the file's digest proves it, and that takes reading the file: `leftovers` does.
    """
    found = (_parsed(content, stored.file) for content in stored.waiting)
    return next((each for each in found if each is not None and _describes(each, stored)), None)


def describing(stored: StoredFile) -> Manifest | None:
    """The manifest beside a file, if it is a usable one and of a file of this length and compression."""
    manifest = None if stored.manifest is None else _parsed(stored.manifest, stored.file)
    return manifest if manifest is not None and _describes(manifest, stored) else None


def backup_at(manifest: Manifest, stored: StoredFile) -> Backup:
    """The backup that a manifest describes, at its place in the tree.

    A pair that stands under another name than this service gave it was copied by somebody: it is a backup of the name's
    tier and period, and nobody else's to remove.
    """
    backup = manifest.to_backup(stored.id, stored.file)
    if _at_home(manifest, stored):
        return backup
    tier = Tier(PurePosixPath(stored.id).parent.name)
    return replace(backup, tier=tier, period=stored.period, kept=backup.kept or COPIED)


def remark(other: StoredFile, backup: StoredFile) -> str:
    """What to say of a file that stands beside a backup."""
    return f"{other.file} bears the name of the backup {backup.file} and is not it; it is left alone: move or remove it"


def _named(group: Sequence[StoredFile], rows: Mapping[str, Backup]) -> Named:
    if len(group) == 1:
        return Named(group[0])
    best = max(group, key=lambda stored: _claim(stored, rows.get(stored.file)))
    return Named(best, tuple(each for each in group if each is not best))


def _claim(stored: StoredFile, row: Backup | None) -> tuple[bool, bool, bool, bool, datetime]:
    """How good a file's claim is to be the backup of its id."""
    manifest = describing(stored)
    taken = _NEVER if manifest is None else manifest.snapshot_time
    named = row is not None
    beside = stored.manifest is not None or stored.problem is not None
    return manifest is not None, waiting_manifest(stored) is not None, named, beside, taken


def _is_own(stored: StoredFile, row: Backup | None) -> bool:
    if row is not None:
        return row.origin is Origin.DUMP
    manifest = describing(stored) or waiting_manifest(stored)
    return manifest is not None and manifest.origin is Origin.DUMP and _at_home(manifest, stored)


def _at_home(manifest: Manifest, stored: StoredFile) -> bool:
    """Whether a file stands under the name that this service gives it."""
    try:
        names = {id_of(manifest.tier, manifest.period, with_year=dated) for dated in (False, True)}
    except BackupValidationError:
        return False
    return stored.id in names


def _describes(manifest: Manifest, stored: StoredFile) -> bool:
    return manifest.bytes == stored.size and stored.file == stored.id + extension_of(manifest.tier, manifest.codec)


def _parsed(content: bytes, name: str) -> Manifest | None:
    try:
        return parse_manifest(content, name)
    except ManifestError:
        return None
