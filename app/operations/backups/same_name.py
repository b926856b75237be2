"""Which file a backup is, if several have its id: an id does not say how its file is compressed.

The backup is the file that its manifest describes. Another file of the id may be anybody's (``gzip -k`` makes one): it
is listed, and never removed. A run replaces only files that a manifest or the catalog knows as made by this service.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import PurePosixPath

from app.domain.backup import Backup, Origin, Tier, extension_of, id_of
from app.errors import BackupValidationError
from app.ports.runs import KnownManifest
from app.ports.tree import ListedFile

COPIED = "copied here by somebody"
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file of the tree with what manifests say of it.

    Attributes:
        stored: the file.
        known: what the manifest beside it says; None if there is no usable manifest.
        waiting: the backup that a waiting manifest describes, which a killed run did not put in its place. Its length
            fits; only the file's digest proves that it is this file's, and `leftovers` reads the file for that.
    """

    stored: ListedFile
    known: KnownManifest | None
    waiting: Backup | None = None

    @property
    def described(self) -> Backup | None:
        """The backup that the manifest describes."""
        return None if self.known is None else self.known.backup

    @property
    def fitting(self) -> Backup | None:
        """The backup that the manifest describes, if it is of a file of this length and compression."""
        return self.described if self.described is not None and fits(self.described, self.stored) else None


@dataclass(frozen=True, slots=True)
class FilesOfId:
    """The files of one id: the backup, and the others."""

    backup: TreeFile
    others: tuple[TreeFile, ...] = ()


def by_id(files: Sequence[TreeFile], rows: Mapping[str, Backup]) -> list[FilesOfId]:
    """Files by their ids.

    Args:
        files: of the tree, sorted by id.
        rows: what the catalog knows, by file.
    """
    groups = (list(group) for _, group in groupby(files, key=lambda file: file.stored.id))
    return [_named(group, rows) for group in groups]


def own_files(named: FilesOfId, rows: Mapping[str, Backup]) -> list[str]:
    """Those of one id that this service made, as a manifest that describes the file says, or a row that names it."""
    files = (named.backup, *named.others)
    return [file.stored.file for file in files if _is_own(file, rows.get(file.stored.file))]


def backup_at(described: Backup, stored: ListedFile) -> Backup:
    """The backup that a manifest describes, at its place in the tree.

    A pair whose name is not the one that this service gave it was copied by somebody. It counts as a backup of the tier
    and period of its name, and is pinned, so that only its owner removes it.
    """
    if _at_home(described, stored):
        return described
    tier = Tier(PurePosixPath(stored.id).parent.name)
    return replace(described, tier=tier, period=stored.period, pinned_reason=described.pinned_reason or COPIED)


def remark(other: ListedFile, backup: ListedFile) -> str:
    """A remark on another file of a backup's id."""
    return f"{other.file} bears the name of the backup {backup.file} and is not it; it is left alone: move or remove it"


def _named(group: Sequence[TreeFile], rows: Mapping[str, Backup]) -> FilesOfId:
    if len(group) == 1:
        return FilesOfId(group[0])
    best = max(group, key=lambda file: _claim(file, rows.get(file.stored.file)))
    return FilesOfId(best, tuple(file for file in group if file is not best))


def _claim(file: TreeFile, row: Backup | None) -> tuple[bool, bool, bool, bool, datetime]:
    """Orders the files of an id: the greatest is the backup."""
    taken = _NEVER if file.fitting is None else file.fitting.created_at
    beside = file.stored.stamp is not None
    return file.fitting is not None, file.waiting is not None, row is not None, beside, taken


def _is_own(file: TreeFile, row: Backup | None) -> bool:
    if row is not None:
        return row.origin is Origin.DUMP
    backup = file.fitting or file.waiting
    return backup is not None and backup.origin is Origin.DUMP and _at_home(backup, file.stored)


def _at_home(backup: Backup, stored: ListedFile) -> bool:
    """Whether a file stands under the name that this service gives it."""
    if backup.period == stored.period and stored.id.startswith(f"{backup.tier}/"):
        return True  # its period was read off its name
    try:
        names = {id_of(backup.tier, backup.period, with_year=dated) for dated in (False, True)}
    except BackupValidationError:
        return False
    return stored.id in names


def fits(backup: Backup, stored: ListedFile) -> bool:
    """Whether a described backup is of a file of this length and compression."""
    return backup.bytes == stored.size and stored.file == stored.id + extension_of(backup.tier, backup.codec)
