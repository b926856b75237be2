"""Free space: what a backup will take, whether it fits, and whether the disk fills up while it is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.domain.backup import Backup, Codec
from app.errors import BackupReadError, BackupStorageError, BackupValidationError, BackupWriteError
from app.operations.options import Options
from app.operations.service import Progress
from app.ports.tree import Tree

MEGABYTE = 1 << 20
# Without an earlier backup to go by: a database on disk holds indexes and free space besides its rows, so as a rule its
# plain dump is smaller (unless most of it is compressed values); a codec makes text at least this much smaller.
_SHRINKS = {Codec.NONE: 1, Codec.GZIP: 3, Codec.ZSTD: 3}
_MAKE_ROOM = "free space, set BACKUP_COMPRESSION=zstd, or lower the BACKUP_KEEP_* numbers, then: residency-backup prune"
_LOOK_EVERY = 16 << 20  # plain bytes between two looks at the free space


def forecast(database_size: int, codec: Codec, earlier: Backup | None) -> int:
    """Bytes that the next backup will take.

    Args:
        database_size: what the database takes on the server's disk now.
        codec: how it will be compressed.
        earlier: a backup to scale from; used if it has the same codec.
    """
    if earlier is not None and earlier.codec is codec and earlier.database_size:
        return round(earlier.bytes * database_size / earlier.database_size)
    return database_size // _SHRINKS[codec]


def shortage(place: Path, free: int, wanted: int, what: str, reserve: int = 0) -> str | None:
    """What a disk lacks, in words; None if it has enough.

    Args:
        place: a folder on the disk.
        free: bytes that may still be written there.
        wanted: bytes that will be written.
        what: who writes them.
        reserve: bytes that must remain free (BACKUP_MIN_FREE_MB).
    """
    if free - wanted >= reserve:
        return None
    known = f"{free // MEGABYTE} MB free, about {wanted // MEGABYTE} MB wanted by {what}"
    kept = f", and {reserve // MEGABYTE} MB must remain (BACKUP_MIN_FREE_MB)" if reserve else ""
    return f"too little free space in {place}: {known}{kept}"


def require_room(tree: Tree, options: Options, expected: int, what: str) -> None:
    """Make sure that so many bytes fit.

    Raises:
        BackupStorageError: they do not.
    """
    if lacks := shortage(tree.root, tree.free_bytes(), expected, what, options.min_free_bytes):
        raise BackupStorageError(lacks, _MAKE_ROOM)


def require_reserve(tree: Tree, options: Options) -> None:
    """Make sure that the space that must remain (BACKUP_MIN_FREE_MB) is still free.

    Raises:
        BackupStorageError: it is not.
    """
    free = tree.free_bytes()
    if free < options.min_free_bytes:
        raise BackupStorageError(
            f"the disk of {tree} is filling up: {free // MEGABYTE} MB free, and "
            f"{options.min_free_bytes // MEGABYTE} MB must remain (BACKUP_MIN_FREE_MB)",
            _MAKE_ROOM,
        )


class SpaceGuard:
    """Passes progress on, and stops a backup that turns out larger than forecast before it takes the reserve."""

    def __init__(self, tree: Tree, options: Options, progress: Progress) -> None:
        self._tree = tree
        self._options = options
        self._progress = progress
        self._unseen = 0

    def advance(self, amount: int) -> None:
        """Note a number of bytes that were written."""
        self._progress.advance(amount)
        self._unseen += amount
        if self._unseen >= _LOOK_EVERY:
            self._unseen = 0
            require_reserve(self._tree, self._options)


@contextmanager
def giving_back(root: Path) -> Iterator[None]:
    """A block that reads back what was just written: a difference is an error of the disk.

    Raises:
        BackupWriteError: it differs.
    """
    try:
        yield
    except (BackupReadError, BackupValidationError) as error:
        message = f"the disk of {root} does not give back what was written: {error.message}"
        raise BackupWriteError(
            message, "check that disk, and the older backups on it: residency-backup verify --all"
        ) from error
