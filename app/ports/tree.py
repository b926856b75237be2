"""The port to the tree: where backups are stored, and a file of it that is being written."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from app.domain.backup import Tier
from app.ports.folder import Folder
from app.ports.scripts import Scripts


class Stamp(NamedTuple):
    """What tells a manifest from an earlier one under its name without reading it, as its file system has it.

    Times are in nanoseconds. The second is that of the last change of the file or its name, which nobody can set. Two
    contents have one stamp only if both were written within one tick of the clock, so a stamp says something only if
    it was old already when the content was read: see `Tree.clock`.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """An archive found in the tree. Its manifest is not read.

    Attributes:
        file: its path relative to the root.
        period: that its name says.
        stamp: of the manifest beside it; None if there is none.
        waiting: manifests that a run wrote for this name or id, and did not put in their place. Only the one that
            describes the file's bytes belongs to it.
        stranger: the owner of the file or its manifest, if we do not trust that user.
    """

    id: str
    file: str
    period: str
    size: int
    written_at: datetime
    stamp: Stamp | None
    waiting: tuple[bytes, ...] = ()
    stranger: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile(ListedFile):
    """An archive with the content of its manifest.

    Attributes:
        manifest: None if there is none, or if it cannot be read: then `problem` says why.
    """

    manifest: bytes | None
    problem: str | None = None


class ManifestRead(NamedTuple):
    """The content of a manifest, or its beginning, and the stamp that it had before and after it was read.

    The stamp is None if the manifest was written to meanwhile.
    """

    content: bytes
    stamp: Stamp | None


class Tree(Protocol):
    """The store of backups, a folder for each tier. Files are named relative to its root: ``daily/backup-….sql``.

    A file gets its final name only when it is whole. Every method may raise BackupPermissionError (a right is missing),
    BackupStorageError (disk full, not a folder), BackupReadError or BackupWriteError (errors of the disk).
    ``str(tree)`` names the whole tree in messages.

    Attributes:
        root: the folder on this machine.
        folder: how the root is recognised.
        scripts: the inverses of merges.
    """

    root: Path
    folder: Folder
    scripts: Scripts

    def location(self, file: str) -> str:
        """Where a file is, for people and other programs: its path."""

    def held(self) -> Tree:
        """The tree for one run, which refuses any other folder than the one that is there now.

        Raises:
            BackupFolderLostError: the folder is not the one that was there before.
            BackupReadError: its marker cannot be read.
        """

    def probe(self, tier: Tier) -> None:
        """Make the tier's folder if it is missing, and prove that it works: write a file in it and read it back."""

    def free_bytes(self) -> int:
        """Bytes that this user may still write; `ENDLESS` if that is unknown."""

    def create(self, tier: Tier, name: str, run_id: str) -> AbstractContextManager[Draft]:
        """A new file under a temporary name in the tier's folder; removed when the block ends, unless published."""

    def staging(self, tier: Tier, name: str, run_id: str) -> AbstractContextManager[Path]:
        """A new folder under a temporary name in the tier's folder; removed with its content when the block ends."""

    def nameless(self) -> AbstractContextManager[BinaryIO]:
        """A new file on the tree's disk that has no name, and so is gone when nobody has it open, whatever dies."""

    def open(self, file: str) -> BinaryIO:
        """Open a file for reading. Raises BackupNotFoundError if it is missing."""

    def folder_under(self, file: str) -> str | None:
        """A folder that has the name of a file or of its manifest; None if there is none."""

    def read_manifest(self, file: str) -> bytes | None:
        """The manifest of an archive; None if there is none."""

    def read_stamped(self, file: str, most: int | None = None) -> ManifestRead | None:
        """The manifest of an archive, or at most so many bytes of it, with its stamp; None if there is none."""

    def clock(self, tier: Tier) -> int:
        """The present instant by the clock that writes the stamps of a tier, in nanoseconds; 0 if it cannot be asked.

        It may be another machine's, and it may be wrong or stand still.
        """

    def write_manifest(self, file: str, manifest: bytes, of: StoredFile | None = None) -> None:
        """Write the manifest of an archive, whole or not at all.

        Args:
            file: the archive.
            manifest: the new content.
            of: the archive that the manifest describes. Raises BackupWriteError if it was replaced since.
        """

    def add_manifest(self, manifest: bytes, of: StoredFile) -> bool:
        """Write a manifest for an archive that was found without a usable one.

        Returns:
            False, and nothing is written, if another manifest was written since, or the archive was replaced.
        """

    def is_at(self, file: str, stream: BinaryIO) -> bool:
        """Whether an open file still has this name, and was not replaced by another one."""

    def look(self, file: str) -> StoredFile | None:
        """The archive under a name as it is now; None if there is none, or if the name is not ours.

        Nothing else in the tree is looked at, so manifests that wait for it are not among what is found.
        """

    def files(self) -> Sequence[ListedFile]:
        """Every archive under a name that is ours, sorted by id. No manifest is read."""

    def rename(self, old: str, new: str, manifest: bytes | None = None) -> None:
        """Rename an archive; its manifest, or the given one, goes along. Raises BackupWriteError if taken."""

    def remove(self, file: str) -> None:
        """Remove the manifest, then the archive. A missing file is no error."""

    def other_writers(self, file: str | None = None) -> Sequence[tuple[Path, str]]:
        """Paths that other users may write, and who: of the whole tree, or those that one backup depends on."""

    def leftovers(self) -> Sequence[tuple[str, str]]:
        """Temporary files, and folders of `staging`, as (file, id of the run that wrote it)."""

    def remove_leftover(self, file: str) -> None:
        """Remove a temporary file or folder. A missing one is no error."""


class Draft(Protocol):
    """A file that is being written."""

    stream: BinaryIO

    def restart(self) -> None:
        """Forget everything written, because the dump begins again."""

    def flush(self) -> None:
        """Sync everything written to the disk, so that reading it back shows what the disk holds."""

    def reopen(self) -> BinaryIO:
        """The file from its start, for reading back. The caller closes it."""

    def publish(self, file: str, manifest: bytes, earlier: Sequence[str] = (), *, proven: bool = False) -> str | None:
        """Give the file its final name and write its manifest, each whole and durable.

        Args:
            file: the final name.
            manifest: its content.
            earlier: the files of the same id that this one replaces; no other file is removed.
            proven: whether one of them is verified. Then a file without a manifest may not replace it.

        Returns:
            Why the manifest could not be saved, so that the backup has none; None if all is well.
        """
