"""The port to the tree: where backups are stored, and a file of it that is being written."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from app.domain.backup import Tier
from app.ports.folder import Folder
from app.ports.scripts import Scripts


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An archive found in the tree.

    Attributes:
        file: its path relative to the root.
        period: that its name says.
        manifest: the file beside it; None if there is none, or if it cannot be read: then `problem` says why.
        waiting: manifests that a run wrote for this name or id, and did not put in their place. Only the one that
            describes the file's bytes belongs to it.
        stranger: the owner of the file or its manifest, if we do not trust that user.
    """

    id: str
    file: str
    period: str
    size: int
    written_at: datetime
    manifest: bytes | None
    problem: str | None = None
    waiting: tuple[bytes, ...] = ()
    stranger: str | None = None


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
        """The archive under a name as it is now; None if there is none, or if the name is not ours."""

    def files(self) -> Sequence[StoredFile]:
        """Every archive under a name that is ours, sorted by id."""

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
