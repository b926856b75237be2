"""The tree of backups on a local (or mounted) file system."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Self

from app.domain.backup import ENDLESS, Tier, period_in_name
from app.errors import BackupError, BackupStorageError, BackupWriteError
from app.os_errors import reading, writing
from app.ports.folder import Folder
from app.ports.tree import StoredFile
from app.storage import access, disk, sidecar, transient
from app.storage.draft import LocalDraft, manifest_of, run_in, stem_of, temporary, variants_of, waiting_for
from app.storage.folder import LocalFolder
from app.storage.memory import FolderMemory
from app.storage.staging import discard_folder, staging

_PROBE = b"residency-backup was here\n"


class LocalTree:
    """The port `Tree`: a folder for each tier under `root`.

    The root may be a link or a mount. Below it no link is followed, and no path leads out of the tiers' folders.

    Args:
        root: the folder; need not exist.
        folder: what it is known by; one that remembers nothing outside of this process unless given.
    """

    def __init__(self, root: Path, folder: Folder | None = None) -> None:
        self.root = root
        self.folder: Folder = folder or LocalFolder(root, FolderMemory(None), "")

    def held(self) -> Self:
        """The tree for one run, with its folder as it is now."""
        return type(self)(self.root, self.folder.held())

    def make_root(self) -> None:
        """Make the root where it is missing."""
        with writing(self.root):
            disk.make_folder(self.root)

    def probe(self, tier: Tier) -> None:
        """Make the tier's folder where it is missing; prove by doing it that files can be written and read in it."""
        folder = self._folder(tier)
        with writing(folder):
            disk.make_folder(folder)
            path = temporary(folder / "probe", transient.new_id())
            try:
                disk.write_whole(path, _PROBE)
                disk.sync_folder(folder)
                with disk.open_file(path) as stream:
                    kept = stream.read() == _PROBE and path in folder.iterdir()
                path.unlink()
            finally:
                disk.discard(path)
        if not kept:
            raise BackupWriteError(f"{folder} does not keep what is written into it", "check the disk of BACKUP_DIR")

    def free_bytes(self) -> int:
        """Bytes that this user may still write; as good as endless where the file system does not tell."""
        with reading(self.root):
            for path in (self.root, *self.root.absolute().parents):
                try:
                    space = os.statvfs(path)
                except FileNotFoundError:
                    continue  # not made yet: it will be made on the file system of what is above
                # Network mounts, and a tmpfs without a limit, say that they have no size at all.
                return space.f_bavail * space.f_frsize if space.f_blocks else ENDLESS
        raise disk.not_found(self.root)

    def create(self, tier: Tier, name: str, run_id: str) -> LocalDraft:
        """A new file under a temporary name in the tier's folder; gone when the block ends, unless published."""
        path = self._path(f"{tier}/{name}")
        with writing(path.parent):
            disk.make_folder(path.parent)
        return LocalDraft(path, run_id)

    def staging(self, tier: Tier, name: str, run_id: str) -> AbstractContextManager[Path]:
        """A new folder under a temporary name in the tier's folder; gone with all in it when the block ends."""
        path = self._path(f"{tier}/{name}")
        with writing(path.parent):
            disk.make_folder(path.parent)
        return staging(temporary(path.with_name(f"{name}.staging"), run_id))

    def open(self, file: str) -> BinaryIO:
        """Open a file for reading. Raises BackupNotFoundError where it is missing."""
        path = self._path(file)
        with reading(path):
            return disk.open_file(path)

    def folder_under(self, file: str) -> str | None:
        """The folder that stands under the name of a file or of its manifest; None if there is none."""
        path = self._path(file)
        with reading(path):
            found = next((each for each in (path, manifest_of(path)) if each.is_dir() and not each.is_symlink()), None)
        return None if found is None else f"{path.parent.name}/{found.name}"

    def read_manifest(self, file: str) -> bytes | None:
        """The manifest beside an archive, or None; of one that is longer than any, a beginning that means nothing."""
        return sidecar.read(manifest_of(self._path(file)))

    def write_manifest(self, file: str, manifest: bytes, of: StoredFile | None = None) -> None:
        """Write the manifest beside an archive, whole or not at all, if that is still what the manifest describes."""
        final = manifest_of(self._path(file))
        draft = temporary(final, transient.new_id())
        with writing(final):
            disk.write_whole(draft, manifest)
            try:
                self._require_unchanged(of)
                draft.replace(final)
            except BaseException:
                disk.discard(draft)
                raise
            disk.sync_folder(final.parent)

    def add_manifest(self, manifest: bytes, of: StoredFile) -> bool:
        """Write a manifest beside an archive that was found without a usable one; never over another."""
        final = manifest_of(self._path(of.file))
        draft, aside = temporary(final, transient.new_id()), temporary(final, transient.new_id())
        with writing(final):
            disk.write_whole(draft, manifest)
            try:
                if not self._is_unchanged(of) or (of.manifest and not sidecar.take_away(final, aside, of.manifest)):
                    return False
                added = sidecar.add(draft, final, manifest)
                if added and not self._is_unchanged(of):  # then it would describe other bytes
                    sidecar.take_away(final, aside, manifest)
                    added = False
                disk.sync_folder(final.parent)
            finally:
                disk.discard(draft)
        return added

    def is_at(self, file: str, stream: BinaryIO) -> bool:
        """Whether a file that was opened still stands under the name."""
        path = self._path(file)
        with reading(path):
            try:
                return os.path.samestat(path.lstat(), os.fstat(stream.fileno()))
            except FileNotFoundError:
                return False

    def look(self, file: str) -> StoredFile | None:
        """What stands under a name now; None where nothing does, or where the name is not ours."""
        return next(iter(self._listed(file)), None)

    def files(self) -> Sequence[StoredFile]:
        """Every archive under a name that is ours, sorted by id."""
        return sorted(self._listed(), key=lambda stored: (stored.id, stored.file))

    def rename(self, old: str, new: str, manifest: bytes | None = None) -> None:
        """Give an archive and its manifest another name. Raises BackupWriteError where that is taken.

        The manifest, or the one that is given, is written under the new name before the archive moves, and the old one
        is removed after it: a crash leaves the pair under one of the names, and at worst a manifest beside nothing
        under the other.
        """
        source, target = self._path(old), self._path(new)
        with reading(source):
            disk.open_file(source).close()
        # Only one run of a tier is under way at a time, so nobody takes the name between this look and the move.
        if taken := next((each for each in variants_of(target) if os.path.lexists(each)), None):
            raise BackupWriteError(f"{old} cannot be renamed: {taken} exists", "move or remove it")
        with writing(target):
            disk.make_folder(target.parent)
            disk.unlink_all(target.parent, (manifest_of(each) for each in variants_of(target)))
        manifest = manifest or self.read_manifest(old)
        if manifest is not None:
            self.write_manifest(new, manifest)
        with writing(target):
            source.rename(target)
            disk.sync_folder(target.parent)
            if source.parent != target.parent:
                disk.sync_folder(source.parent)
            disk.unlink_all(source.parent, [manifest_of(source)])

    def remove(self, file: str) -> None:
        """Remove the manifest, then the archive. What is missing already is no error."""
        path = self._path(file)
        with writing(path):
            # The manifest's end is on the disk first: a crash may leave plain SQL, never a promise of what is gone.
            disk.unlink_all(path.parent, [manifest_of(path)])
            disk.unlink_all(path.parent, [path])

    def other_writers(self, file: str | None = None) -> Sequence[tuple[Path, str]]:
        """Paths that others may write, and who: of the whole tree, or those that a backup's file stands on."""
        with reading(self.root):
            if file is None:
                return access.other_writers(
                    [*self.root.iterdir(), *(Path(it.path) for _, it in self._entries())], self.root
                )
            path = self._path(file)
            return access.other_writers([path.parent, path, manifest_of(path)], self.root)

    def leftovers(self) -> Sequence[tuple[str, str]]:
        """Temporary files as (file, id of the run that wrote it).

        Those that exist for a moment, and outside of any run, are left over when their process has ended; where that
        cannot be told, when they are old.
        """
        return sorted(
            (f"{tier}/{entry.name}", run)
            for tier, entry in self._entries()
            if (run := run_in(entry.name)) and not transient.may_be_written(run, entry)
        )

    def remove_leftover(self, file: str) -> None:
        """Remove a temporary file or folder. Missing is no error."""
        path = self._path(file)
        if run_in(path.name) is None:
            raise disk.not_found(file)
        with writing(path):
            if path.is_dir() and not path.is_symlink():
                discard_folder(path)
            else:
                disk.unlink(path)

    def _folder(self, tier: Tier) -> Path:
        """The folder of a tier, which need not exist.

        Raises:
            BackupStorageError: it is a link, which might lead out of the tree.
        """
        folder = self.root / tier
        with reading(folder):
            if folder.is_symlink():
                raise BackupStorageError(
                    f"{folder} is a symbolic link, not a folder", "mount the other place there instead"
                )
        return folder

    def _path(self, file: str) -> Path:
        """Where a file of the tree stands; only ``tier/name`` is one.

        Raises:
            BackupNotFoundError: the path is no file's of the tree.
        """
        tier, _, name = file.partition("/")
        if tier not in set(Tier) or name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise disk.not_found(file)
        return self._folder(Tier(tier)) / name

    def _entries(self) -> Iterator[tuple[Tier, os.DirEntry[str]]]:
        """The regular files in the tiers' folders, and where full backups are put together."""
        for tier in Tier:
            folder = self._folder(tier)
            with reading(folder):
                try:
                    entries = list(os.scandir(folder))
                except FileNotFoundError:
                    continue
                found = [entry for entry in entries if entry.is_file(follow_symlinks=False) or _staged(tier, entry)]
            yield from ((tier, entry) for entry in found)

    def _listed(self, only: str | None = None) -> list[StoredFile]:
        """Every archive, or the one of a name."""
        entries = list(self._entries())
        waiting: dict[str, list[str]] = {}
        for tier, entry in entries:
            if archive := waiting_for(entry.name):
                waiting.setdefault(f"{tier}/{archive}", []).append(f"{tier}/{entry.name}")
        wanted = [(tier, entry) for tier, entry in entries if only in {None, f"{tier}/{entry.name}"}]
        return [stored for tier, entry in wanted if (stored := self._stored(tier, entry, waiting))]

    def _stored(self, tier: Tier, entry: os.DirEntry[str], waiting: Mapping[str, Sequence[str]]) -> StoredFile | None:
        """What stands under a name; None where it is not ours, or was removed since the folder was listed."""
        path = Path(entry.path)
        stem = stem_of(path)
        file = f"{tier}/{entry.name}"
        found = None if stem is None else _size_and_time(path)
        if stem is None or found is None:
            return None
        size, written = found
        period = period_in_name(tier, stem, written)
        if period is None:
            return None
        manifest, problem = sidecar.read_or_say_why(manifest_of(path))
        with reading(self.root):
            owner = access.owner((path, manifest_of(path)), self.root)
        stored = StoredFile(f"{tier}/{stem}", file, period, size, written, manifest, problem, stranger=owner)
        names = [*waiting.get(stored.id, ()), *waiting.get(file, ())]
        if manifest is not None or problem is not None or not names:
            return stored
        contents = tuple(content for name in names if (content := self._content(name)))
        if len(contents) < len(names):  # its run has put it in its place since
            manifest, problem = sidecar.read_or_say_why(manifest_of(path))
        return replace(stored, manifest=manifest, problem=problem, waiting=contents)

    def _content(self, file: str) -> bytes | None:
        """The whole of a small file; None where it has gone, or was put in its place, since the folder was listed."""
        try:
            with self.open(file) as stream:
                return stream.read()
        except BackupError:
            return None

    def _is_unchanged(self, stored: StoredFile) -> bool:
        return self._found(stored.file) == (stored.size, stored.written_at)

    def _require_unchanged(self, stored: StoredFile | None) -> None:
        if stored is None:
            return
        # A run that is publishing gives its file a manifest a moment after its name.
        if not self._is_unchanged(stored) or (
            stored.problem is None and self.read_manifest(stored.file) != stored.manifest
        ):
            raise BackupWriteError(f"{stored.file} has changed meanwhile", "try again")

    def _found(self, file: str) -> tuple[int, datetime] | None:
        return _size_and_time(self._path(file))


def _size_and_time(path: Path) -> tuple[int, datetime] | None:
    """Size of a file and when it was written; None if it is gone."""
    with reading(path):
        try:
            found = path.lstat()
        except FileNotFoundError:
            return None
    return found.st_size, datetime.fromtimestamp(found.st_mtime, UTC)


def _staged(tier: Tier, entry: os.DirEntry[str]) -> bool:
    return tier is Tier.FULL and entry.is_dir(follow_symlinks=False) and run_in(entry.name) is not None
