"""The port to the tree: the folder that backups stand in, and a file of it that is being written."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from app.domain.backup import Tier
from app.ports.folder import Folder


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An archive found in the tree.

    Attributes:
        file: its path relative to the root.
        period: the one that its name stands for.
        manifest: what stands beside it; None where nothing does, or where it cannot be read: then `problem` says why.
        waiting: manifests that a run wrote for this name, or for this id, and did not put in their place. Only one
            that describes the file's bytes is its own.
        stranger: who owns the file or its manifest, if that is nobody who is trusted.
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
    """The folders of backups. Paths are relative to its root. Nothing partial ever stands under a final name.

    Every method may raise BackupPermissionError (a right is missing), BackupStorageError (disk full, not a folder),
    BackupReadError or BackupWriteError (the disk's own errors).

    Attributes:
        root: the folder.
        folder: what the root is known by.
    """

    root: Path
    folder: Folder

    def held(self) -> Tree:
        """The tree for one run: its folder is the one that stands there now, and refuses any other.

        Raises:
            BackupFolderLostError: it is not the one that was there before.
            BackupReadError: its marker cannot be read.
        """

    def probe(self, tier: Tier) -> None:
        """Make the tier's folder where it is missing; prove by doing it that files can be written and read in it."""

    def free_bytes(self) -> int:
        """Bytes that this user may still write; `ENDLESS` where nobody knows."""

    def create(self, tier: Tier, name: str, run_id: str) -> AbstractContextManager[Draft]:
        """A new file under a temporary name in the tier's folder; gone when the block ends, unless published."""

    def staging(self, tier: Tier, name: str, run_id: str) -> AbstractContextManager[Path]:
        """A new folder under a temporary name in the tier's folder; gone with all in it when the block ends."""

    def open(self, file: str) -> BinaryIO:
        """Open a file for reading. Raises BackupNotFoundError where it is missing."""

    def folder_under(self, file: str) -> str | None:
        """The folder that stands under the name of a file or of its manifest; None if there is none."""

    def read_manifest(self, file: str) -> bytes | None:
        """The manifest beside an archive, or None."""

    def write_manifest(self, file: str, manifest: bytes, of: StoredFile | None = None) -> None:
        """Write the manifest beside an archive, whole or not at all.

        Args:
            file: the archive.
            manifest: the new content.
            of: what the manifest describes. Raises BackupWriteError where that is not what stands there any more.
        """

    def add_manifest(self, manifest: bytes, of: StoredFile) -> bool:
        """Write a manifest beside an archive that was found without one, or with one that cannot be used.

        It never takes the place of another: False where one stands there by now, or where the archive is not the one
        that was found any more.
        """

    def is_at(self, file: str, stream: BinaryIO) -> bool:
        """Whether a file that was opened still stands under the name, and no other has taken it."""

    def look(self, file: str) -> StoredFile | None:
        """What stands under a name now; None where nothing does, or where the name is not ours."""

    def files(self) -> Sequence[StoredFile]:
        """Every archive under a name that is ours, sorted by id."""

    def rename(self, old: str, new: str, manifest: bytes | None = None) -> None:
        """Rename an archive and its manifest, or the one given. Raises BackupWriteError where the name is taken."""

    def remove(self, file: str) -> None:
        """Remove the manifest, then the archive. What is missing already is no error."""

    def other_writers(self, file: str | None = None) -> Sequence[tuple[Path, str]]:
        """Paths that others may write, and who: of the whole tree, or those that a backup's file stands on."""

    def leftovers(self) -> Sequence[tuple[str, str]]:
        """Temporary files, and folders of `staging`, as (file, id of the run that wrote it)."""

    def remove_leftover(self, file: str) -> None:
        """Remove a temporary file or folder. Missing is no error."""


class Draft(Protocol):
    """A file in the making."""

    stream: BinaryIO

    def restart(self) -> None:
        """Forget everything written: what made it begins anew."""

    def flush(self) -> None:
        """Put everything written on the disk itself, so that reading it back shows what the disk holds."""

    def reopen(self) -> BinaryIO:
        """The file from its start, for reading back. The caller closes it."""

    def publish(self, file: str, manifest: bytes, earlier: Sequence[str] = (), *, proven: bool = False) -> str | None:
        """Give the file its final name and write its manifest, each whole and durable.

        Args:
            file: the final name.
            manifest: what describes it.
            earlier: the files of the same id that this one replaces; no other is removed.
            proven: whether one of them is verified, so that none without a manifest may take its place.

        Returns:
            Why the manifest could not be saved, or None. The backup then stands without one.
        """
