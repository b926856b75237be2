"""Finds the archives of a tree, and reads their manifests and those that wait for them.

A listing reads no manifest: it reads each folder once, and asks once for the state of each archive and manifest.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from app.domain.backup import Tier, period_in_name
from app.errors import BackupError, BackupNotFoundError
from app.os_errors import reading
from app.ports.tree import ListedFile, ManifestRead, Stamp, StoredFile
from app.storage import access, disk
from app.storage.names import manifest_of, stem_in, waiting_for
from app.storage.tiers import TierFolders

States = Callable[[str], os.stat_result | None]  # of the regular files of a folder, by their names


class Archives:
    """The archives in the tiers' folders."""

    def __init__(self, folders: TierFolders) -> None:
        self._folders = folders

    def listed(self) -> list[ListedFile]:
        """Every archive; files whose name is not ours are left out."""
        with reading(self._folders.root):
            trusted = access.trusted_users(self._folders.root)
        return [found for tier in Tier for found in self._in_tier(tier, trusted)]

    def look(self, file: str) -> StoredFile | None:
        """The archive under a name with its manifest; None if there is none, or if the name is not ours."""
        path = self._folders.path(file)
        tier = Tier(path.parent.name)
        with reading(path):
            trusted = access.trusted_users(self._folders.root)
            found = _archive(tier, path.name, lambda name: _regular(path.with_name(name)), trusted)
        if found is None:
            return None
        content, problem = self._manifest_or_problem(file)
        facts = {name: getattr(found, name) for name in ListedFile.__slots__}
        return StoredFile(**facts, manifest=content, problem=problem)

    def state_of(self, file: str) -> tuple[int, datetime] | None:
        """Size of a file, and when it was written; None if it is gone."""
        path = self._folders.path(file)
        with reading(path):
            try:
                state = path.lstat()
            except FileNotFoundError:
                return None
        return state.st_size, _written(state)

    def manifest(self, file: str, most: int | None = None) -> ManifestRead | None:
        """The manifest beside an archive, cut off at the length that no manifest has, or before; None if none is."""
        path = manifest_of(self._folders.path(file))
        with reading(path):
            try:
                stream = disk.open_file(path)
            except BackupNotFoundError:
                return None
            with stream:
                before = os.fstat(stream.fileno())
                # As many bytes are allocated as are asked for.
                content = stream.read(min(before.st_size + 1, most or disk.MANIFEST_BYTES))
                same = _stamp(before) == _stamp(os.fstat(stream.fileno()))
        return ManifestRead(content, _stamp(before) if same else None)

    def _in_tier(self, tier: Tier, trusted: frozenset[int]) -> list[ListedFile]:
        folder = self._folders.root / tier
        entries = {entry.name: entry for entry in self._folders.entries_of(tier)}

        def state(name: str) -> os.stat_result | None:
            try:
                return entries[name].stat(follow_symlinks=False)
            except KeyError:
                return _regular(folder / name)  # it may have got its name since the folder was read
            except FileNotFoundError:
                return None

        with reading(folder):
            names = [name for name in entries if not name.endswith(".json")]  # half of them
            found = [archive for name in names if (archive := _archive(tier, name, state, trusted))]
        if not (waiting := _names_waiting(entries)):
            return found
        return [archive if archive.stamp else self._with_waiting(archive, waiting) for archive in found]

    def _with_waiting(self, archive: ListedFile, names: Mapping[str, Sequence[str]]) -> ListedFile:
        """An archive without a manifest, with those that wait for it; or with its manifest, if it has one by now."""
        tier, _, name = archive.file.partition("/")
        mine = [*names.get(PurePosixPath(archive.id).name, ()), *names.get(name, ())]
        contents = tuple(content for found in mine if (content := self._content(f"{tier}/{found}")) is not None)
        if len(contents) == len(mine):
            return replace(archive, waiting=contents)
        path = manifest_of(self._folders.path(archive.file))  # its run has put one in its place since the listing
        with reading(path):
            state = _regular(path)
        return replace(archive, waiting=contents, stamp=None if state is None else _stamp(state))

    def _content(self, file: str) -> bytes | None:
        """The content of a waiting manifest; None if it was removed, or put in its place, since the listing."""
        path = self._folders.path(file)
        try:
            with reading(path), disk.open_file(path) as stream:
                return stream.read()
        except BackupError:
            return None

    def _manifest_or_problem(self, file: str) -> tuple[bytes | None, str | None]:
        """The manifest of a file, or why it cannot be read: one unreadable manifest must not hide all backups."""
        try:
            found = self.manifest(file)
        except BackupError as error:
            return None, error.message
        return None if found is None else found.content, None


def _archive(tier: Tier, name: str, state_of: States, trusted: frozenset[int]) -> ListedFile | None:
    """The archive of that name in a tier's folder; None if the name is not ours, or there is no such file."""
    stem = stem_in(tier, name)
    if stem is None:
        return None
    # The manifest first: a run that replaces both meanwhile leaves an older one here, which a reader of it notices.
    beside, state = state_of(f"{name}.json"), state_of(name)
    if state is None:
        return None
    written = _written(state)
    period = period_in_name(tier, stem, written)
    if period is None:
        return None
    return ListedFile(
        id=f"{tier}/{stem}",
        file=f"{tier}/{name}",
        period=period,
        size=state.st_size,
        written_at=written,
        stamp=None if beside is None else _stamp(beside),
        stranger=access.stranger_among((state,) if beside is None else (state, beside), trusted),
    )


def _names_waiting(names: Iterable[str]) -> dict[str, list[str]]:
    """The names of manifests that wait for an archive, by what they say of its name."""
    waiting: dict[str, list[str]] = {}
    for name in names:
        if name.startswith(".") and (archive := waiting_for(name)):
            waiting.setdefault(archive, []).append(name)
    return waiting


def _regular(path: Path) -> os.stat_result | None:
    """The state of a regular file; None if there is none."""
    try:
        state = path.lstat()
    except FileNotFoundError:
        return None
    return state if stat.S_ISREG(state.st_mode) else None


def _stamp(state: os.stat_result) -> Stamp:
    return Stamp(state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


def _written(state: os.stat_result) -> datetime:
    return datetime.fromtimestamp(state.st_mtime, UTC)
