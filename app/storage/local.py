"""The tree of backups on a local (or mounted) file system."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Self, cast

from app.domain.backup import ENDLESS, Tier
from app.errors import BackupWriteError
from app.os_errors import reading, writing
from app.ports.folder import Folder
from app.ports.scripts import Scripts
from app.ports.tree import ListedFile, ManifestRead, StoredFile
from app.storage import access, disk, sidecar, transient
from app.storage.archives import Archives
from app.storage.draft import LocalDraft
from app.storage.folder import LocalFolder
from app.storage.memory import FolderMemory
from app.storage.names import manifest_of, run_in, temporary, variants_of
from app.storage.scripts import LocalScripts
from app.storage.staging import discard_folder, staging
from app.storage.tiers import TierFolders

_PROBE = b"residency-backup was here\n"


class LocalTree:
    """The port `Tree`: a folder for each tier under `root`.

    The root may be a link or a mount. Below it no link is followed, and no path leads out of the tiers' folders.
    Descriptions of the methods are the port's, unless there is more to say.

    Args:
        root: the folder; need not exist.
        folder: how the root is recognised; by default one that remembers nothing outside of this process.
    """

    def __init__(self, root: Path, folder: Folder | None = None) -> None:
        self.root = root
        self.folder: Folder = folder or LocalFolder(root, FolderMemory(None), "")
        self.scripts: Scripts = LocalScripts(root)
        self._tiers = TierFolders(root)
        self._archives = Archives(self._tiers)

    def __str__(self) -> str:
        return str(self.root)

    def location(self, file: str) -> str:
        return str(self.root / file)

    def held(self) -> Self:
        return type(self)(self.root, self.folder.held())

    def make_root(self) -> None:
        """Make the root if it is missing."""
        with writing(self.root):
            disk.make_folder(self.root)

    def probe(self, tier: Tier) -> None:
        folder = self._tiers.folder(tier)
        with writing(folder):
            disk.make_folder(folder)
            path = temporary(folder / "probe", transient.new_id())
            try:
                disk.write_whole(path, _PROBE)
                disk.sync_folder(folder)
                with disk.open_file(path) as stream:
                    works = stream.read() == _PROBE and path in folder.iterdir()
                path.unlink()
            finally:
                disk.discard(path)
        if not works:
            raise BackupWriteError(f"{folder} does not keep what is written into it", "check the disk of BACKUP_DIR")

    def free_bytes(self) -> int:
        with reading(self.root):
            for path in (self.root, *self.root.absolute().parents):
                try:
                    space = os.statvfs(path)
                except FileNotFoundError:
                    continue  # not made yet: it will be on the file system of its parent
                # Network mounts, and a tmpfs without a limit, report a size of zero.
                return space.f_bavail * space.f_frsize if space.f_blocks else ENDLESS
        raise disk.not_found(self.root)

    def create(self, tier: Tier, name: str, run_id: str) -> LocalDraft:
        path = self._tiers.path(f"{tier}/{name}")
        with writing(path.parent):
            disk.make_folder(path.parent)
        return LocalDraft(path, run_id)

    def staging(self, tier: Tier, name: str, run_id: str) -> AbstractContextManager[Path]:
        path = self._tiers.path(f"{tier}/{name}")
        with writing(path.parent):
            disk.make_folder(path.parent)
        return staging(temporary(path.with_name(f"{name}.staging"), run_id))

    @contextmanager
    def nameless(self) -> Iterator[BinaryIO]:
        with writing(self.root):
            disk.make_folder(self.root)
            stream = tempfile.TemporaryFile(dir=self.root, prefix=".migrated-")  # noqa: SIM115 -- closed below
        with stream:
            yield cast("BinaryIO", stream)

    def open(self, file: str) -> BinaryIO:
        path = self._tiers.path(file)
        with reading(path):
            return disk.open_file(path)

    def folder_under(self, file: str) -> str | None:
        path = self._tiers.path(file)
        with reading(path):
            names = (path, manifest_of(path))
            found = next((name for name in names if name.is_dir() and not name.is_symlink()), None)
        return None if found is None else f"{path.parent.name}/{found.name}"

    def read_manifest(self, file: str) -> bytes | None:
        """The manifest beside an archive, cut off at the length that no manifest has; None if there is none."""
        found = self._archives.manifest(file)
        return None if found is None else found.content

    def read_stamped(self, file: str, most: int | None = None) -> ManifestRead | None:
        return self._archives.manifest(file, most)

    def clock(self, tier: Tier) -> int:
        """The time that a new file gets, which has no name, or none for long."""
        try:
            with tempfile.TemporaryFile(dir=self._tiers.folder(tier), prefix=".clock-") as stream:
                return os.fstat(stream.fileno()).st_ctime_ns
        except OSError:
            return 0

    def write_manifest(self, file: str, manifest: bytes, of: StoredFile | None = None) -> None:
        final = manifest_of(self._tiers.path(file))
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
        final = manifest_of(self._tiers.path(of.file))
        draft, aside = temporary(final, transient.new_id()), temporary(final, transient.new_id())
        with writing(final):
            disk.write_whole(draft, manifest)
            try:
                if not self._is_unchanged(of) or (of.manifest and not sidecar.take_away(final, aside, of.manifest)):
                    return False
                added = sidecar.add(draft, final, manifest)
                if added and not self._is_unchanged(of):  # the manifest describes other bytes
                    sidecar.take_away(final, aside, manifest)
                    added = False
                disk.sync_folder(final.parent)
            finally:
                disk.discard(draft)
        return added

    def is_at(self, file: str, stream: BinaryIO) -> bool:
        path = self._tiers.path(file)
        with reading(path):
            try:
                return os.path.samestat(path.lstat(), os.fstat(stream.fileno()))
            except FileNotFoundError:
                return False

    def look(self, file: str) -> StoredFile | None:
        return self._archives.look(file)

    def files(self) -> Sequence[ListedFile]:
        return sorted(self._archives.listed(), key=lambda listed: (listed.id, listed.file))

    def rename(self, old: str, new: str, manifest: bytes | None = None) -> None:
        """Rename an archive and its manifest. Raises BackupWriteError if the name is taken.

            write the manifest under the new name -> rename the archive -> remove the old manifest

        A crash leaves the pair under one of the names, and at worst a manifest without an archive under the other.
        """
        source, target = self._tiers.path(old), self._tiers.path(new)
        with reading(source):
            disk.open_file(source).close()
        # Only one run of a tier is under way at a time, so nobody takes the name between this check and the rename.
        if taken := next((variant for variant in variants_of(target) if os.path.lexists(variant)), None):
            raise BackupWriteError(f"{old} cannot be renamed: {taken} exists", "move or remove it")
        with writing(target):
            disk.make_folder(target.parent)
            disk.unlink_all(target.parent, map(manifest_of, variants_of(target)))
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
        path = self._tiers.path(file)
        with writing(path):
            # In this order on the disk too: a crash may leave plain SQL, but never a manifest without its archive.
            disk.unlink_all(path.parent, [manifest_of(path)])
            disk.unlink_all(path.parent, [path])

    def other_writers(self, file: str | None = None) -> Sequence[tuple[Path, str]]:
        with reading(self.root):
            if file is None:
                entries = [Path(entry.path) for _, entry in self._tiers.entries()]
                return access.other_writers([*self.root.iterdir(), *entries], self.root)
            path = self._tiers.path(file)
            return access.other_writers([path.parent, path, manifest_of(path)], self.root)

    def leftovers(self) -> Sequence[tuple[str, str]]:
        """Temporary files as (file, id of the run that wrote it).

        A file outside of any run is left over when its process has ended, or, if that cannot be told, when it is old.
        """
        return sorted(
            (f"{tier}/{entry.name}", run)
            for tier, entry in self._tiers.entries()
            if (run := run_in(entry.name)) and not transient.may_be_written(run, entry)
        )

    def remove_leftover(self, file: str) -> None:
        path = self._tiers.path(file)
        if run_in(path.name) is None:
            raise disk.not_found(file)
        with writing(path):
            if path.is_dir() and not path.is_symlink():
                discard_folder(path)
            else:
                disk.unlink(path)

    def _is_unchanged(self, stored: StoredFile) -> bool:
        return self._archives.state_of(stored.file) == (stored.size, stored.written_at)

    def _require_unchanged(self, stored: StoredFile | None) -> None:
        if stored is None:
            return
        # A run that is publishing gives its file a manifest a moment after its name.
        if not self._is_unchanged(stored) or (
            stored.problem is None and self.read_manifest(stored.file) != stored.manifest
        ):
            raise BackupWriteError(f"{stored.file} has changed meanwhile", "try again")
