"""The tiers' folders below the root of a tree, and the paths of files in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from app.domain.backup import Tier
from app.errors import BackupStorageError
from app.os_errors import reading
from app.storage import disk
from app.storage.names import run_in


class TierFolders:
    """A folder for each tier below a root. The root may be a link; below it no link is followed.

    Attributes:
        root: of the tree; need not exist.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, tier: Tier) -> Path:
        """The folder of a tier, which need not exist.

        Raises:
            BackupStorageError: it is a link, which may lead out of the tree.
        """
        folder = self.root / tier
        with reading(folder):
            if folder.is_symlink():
                message = f"{folder} is a symbolic link, not a folder"
                raise BackupStorageError(message, "mount the other place there instead")
        return folder

    def path(self, file: str) -> Path:
        """The path of a file that is named as ``tier/name``.

        Raises:
            BackupNotFoundError: the name leads elsewhere, or to no tier.
        """
        tier, _, name = file.partition("/")
        if tier not in set(Tier) or name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise disk.not_found(file)
        return self.folder(Tier(tier)) / name

    def entries(self) -> Iterator[tuple[Tier, os.DirEntry[str]]]:
        """The regular files in the tiers' folders, and the folders in which full backups are put together."""
        return ((tier, entry) for tier in Tier for entry in self.entries_of(tier))

    def entries_of(self, tier: Tier) -> list[os.DirEntry[str]]:
        """The same of one tier."""
        folder = self.folder(tier)
        with reading(folder):
            try:
                entries = list(os.scandir(folder))
            except FileNotFoundError:
                return []
            return [entry for entry in entries if entry.is_file(follow_symlinks=False) or _is_staging(tier, entry)]


def _is_staging(tier: Tier, entry: os.DirEntry[str]) -> bool:
    return tier is Tier.FULL and entry.is_dir(follow_symlinks=False) and run_in(entry.name) is not None
