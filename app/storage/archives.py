"""Finds the archives of a tree, each with its manifest and the manifests that wait for it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from app.domain.backup import Tier, period_in_name
from app.errors import BackupError, BackupNotFoundError
from app.os_errors import reading
from app.ports.tree import StoredFile
from app.storage import access, disk
from app.storage.names import manifest_of, stem_of, waiting_for
from app.storage.tiers import TierFolders


class Archives:
    """The archives in the tiers' folders."""

    def __init__(self, folders: TierFolders) -> None:
        self._folders = folders

    def find(self, only: str | None = None) -> list[StoredFile]:
        """Every archive, or the one under a name; files whose name is not ours are left out."""
        entries = list(self._folders.entries())
        waiting: dict[str, list[str]] = {}
        for tier, entry in entries:
            if archive := waiting_for(entry.name):
                waiting.setdefault(f"{tier}/{archive}", []).append(f"{tier}/{entry.name}")
        wanted = [(tier, entry) for tier, entry in entries if only in {None, f"{tier}/{entry.name}"}]
        return [stored for tier, entry in wanted if (stored := self._stored(tier, entry, waiting))]

    def state_of(self, file: str) -> tuple[int, datetime] | None:
        """Size of a file, and when it was written; None if it is gone."""
        return _state_at(self._folders.path(file))

    def manifest(self, file: str) -> bytes | None:
        """The manifest beside an archive, cut off at the length that no manifest has; None if there is none."""
        return _manifest_at(manifest_of(self._folders.path(file)))

    def _stored(self, tier: Tier, entry: os.DirEntry[str], waiting: Mapping[str, Sequence[str]]) -> StoredFile | None:
        """The archive of a directory entry; None if its name is not ours, or it was removed since the listing."""
        path, root = Path(entry.path), self._folders.root
        stem = stem_of(path)
        file = f"{tier}/{entry.name}"
        state = None if stem is None else _state_at(path)
        if stem is None or state is None:
            return None
        size, written = state
        period = period_in_name(tier, stem, written)
        if period is None:
            return None
        manifest, problem = _manifest_or_problem(path)
        with reading(root):
            owner = access.owner((path, manifest_of(path)), root)
        stored = StoredFile(f"{tier}/{stem}", file, period, size, written, manifest, problem, stranger=owner)
        names = [*waiting.get(stored.id, ()), *waiting.get(file, ())]
        if manifest is not None or problem is not None or not names:
            return stored
        contents = tuple(content for name in names if (content := self._content(name)))
        if len(contents) < len(names):  # its run has put one in its place since the listing
            manifest, problem = _manifest_or_problem(path)
        return replace(stored, manifest=manifest, problem=problem, waiting=contents)

    def _content(self, file: str) -> bytes | None:
        """The content of a waiting manifest; None if it was removed, or put in its place, since the listing."""
        path = self._folders.path(file)
        try:
            with reading(path), disk.open_file(path) as stream:
                return stream.read()
        except BackupError:
            return None


def _state_at(path: Path) -> tuple[int, datetime] | None:
    with reading(path):
        try:
            found = path.lstat()
        except FileNotFoundError:
            return None
    return found.st_size, datetime.fromtimestamp(found.st_mtime, UTC)


def _manifest_at(path: Path) -> bytes | None:
    with reading(path):
        try:
            stream = disk.open_file(path)
        except BackupNotFoundError:
            return None
        with stream:
            size = os.fstat(stream.fileno()).st_size
            return stream.read(min(size + 1, disk.MANIFEST_BYTES))  # as many bytes are allocated as are asked for


def _manifest_or_problem(archive: Path) -> tuple[bytes | None, str | None]:
    """The manifest of a file, or why it cannot be read: one unreadable manifest must not hide all backups."""
    try:
        return _manifest_at(manifest_of(archive)), None
    except BackupError as error:
        return None, error.message
