"""A tree of backups in memory, behind our own port; `tests/contract/test_tree.py` holds it to that.

It is for what operations do with files: which they make, replace, remove and refuse to. What a disk does (links, modes,
crashes between two renames, a mount that goes) is `LocalTree`'s to show.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Self, cast

from app.domain.backup import Tier, period_in_name
from app.errors import (
    BackupError,
    BackupFolderLostError,
    BackupNotFoundError,
    BackupReadError,
    BackupStorageError,
    BackupWriteError,
)
from app.ports.scripts import Scripts
from app.ports.tree import ListedFile, ManifestRead, StoredFile
from app.storage.names import manifest_of, run_in, stem_of, temporary, variants_of, waiting_for
from tests.fakes.folder import MemoryFile, MemoryFolder, Mount


class _Stream(io.BufferedReader):
    """An open file, which stays what it is when another takes its name."""

    def __init__(self, file: MemoryFile) -> None:
        super().__init__(file.opened())
        self.file = file


class MemoryTree:
    """See `app.ports.tree.Tree`."""

    def __init__(self, scripts: Scripts, mount: Mount | None = None, folder: MemoryFolder | None = None) -> None:
        self.root = Path("/in-memory/backups")
        self.scripts = scripts
        self.mount = mount or Mount()
        self.folder = folder or MemoryFolder(self.root, self.mount)

    @property
    def files_of_disk(self) -> dict[str, MemoryFile]:
        """Every file by its path, manifests and temporary ones too."""
        return self.mount.disk.files

    def put(self, file: str, content: bytes, manifest: bytes | None = None, at: datetime | None = None) -> None:
        """Put a file there as somebody else would: with no draft, and with a manifest or without."""
        when = at or datetime.now(UTC)
        self.files_of_disk[file] = MemoryFile(content, when)
        if manifest is not None:
            self.files_of_disk[f"{file}.json"] = MemoryFile(manifest, when)

    def __str__(self) -> str:
        return str(self.root)

    def location(self, file: str) -> str:
        return str(self.root / file)

    def held(self) -> Self:
        return type(self)(self.scripts, self.mount, self.folder.held())

    def probe(self, tier: Tier) -> None:
        self.mount.step("probe")
        if tier in self.mount.disk.folders:
            raise BackupStorageError(f"{self.root / tier} is not a folder", "move it away")

    def free_bytes(self) -> int:
        return self.mount.free

    def create(self, tier: Tier, name: str, run_id: str) -> MemoryDraft:
        return MemoryDraft(self, self._key(f"{tier}/{name}"), run_id)

    @contextmanager
    def staging(self, tier: Tier, name: str, run_id: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix=f"{tier}-{name}-{run_id}-") as folder:
            yield Path(folder)

    @contextmanager
    def nameless(self) -> Iterator[BinaryIO]:
        with tempfile.TemporaryFile() as stream:
            yield cast("BinaryIO", stream)

    def open(self, file: str) -> BinaryIO:
        found = self._readable(self._key(file))
        if found is None:
            raise _not_found(file)
        return _Stream(found)

    def folder_under(self, file: str) -> str | None:
        return next((name for name in (file, f"{file}.json") if name in self.mount.disk.folders), None)

    def read_manifest(self, file: str) -> bytes | None:
        found = self._readable(f"{self._key(file)}.json")
        return None if found is None else found.content

    def read_stamped(self, file: str, most: int | None = None) -> ManifestRead | None:
        found = self._readable(f"{self._key(file)}.json")
        return None if found is None else ManifestRead(found.content[:most], found.stamp)

    def clock(self, tier: Tier) -> int:
        del tier
        return self.mount.clock_ns

    def write_manifest(self, file: str, manifest: bytes, of: StoredFile | None = None) -> None:
        key = self._key(file)
        self.mount.step("manifest")
        if of is not None:
            same = self._is_unchanged(of)
            if not same or (of.problem is None and self.read_manifest(file) != of.manifest):
                raise BackupWriteError(f"{file} has changed meanwhile", "try again")
        self.files_of_disk[f"{key}.json"] = MemoryFile(manifest)

    def add_manifest(self, manifest: bytes, of: StoredFile) -> bool:
        standing = self.files_of_disk.get(f"{of.file}.json")
        if not self._is_unchanged(of) or (standing is not None and standing.content != of.manifest):
            return False
        self.write_manifest(of.file, manifest)
        return True

    def is_at(self, file: str, stream: BinaryIO) -> bool:
        return isinstance(stream, _Stream) and self.files_of_disk.get(self._key(file)) is stream.file

    def look(self, file: str) -> StoredFile | None:
        found = self._listed(file) if file in self.files_of_disk else None
        if found is None:
            return None
        facts = {name: getattr(found, name) for name in ListedFile.__slots__} | {"waiting": ()}
        try:
            return StoredFile(**facts, manifest=self.read_manifest(file))
        except BackupReadError as error:
            return StoredFile(**facts, manifest=None, problem=error.message)

    def files(self) -> Sequence[ListedFile]:
        found = (self._listed(file) for file in list(self.files_of_disk))
        return sorted((listed for listed in found if listed), key=lambda listed: (listed.id, listed.file))

    def rename(self, old: str, new: str, manifest: bytes | None = None) -> None:
        source, target = self._key(old), self._key(new)
        if source not in self.files_of_disk:
            raise _not_found(old)
        self.mount.step("rename")
        for name in _variants(target):
            if name in self.files_of_disk:
                raise BackupWriteError(f"{old} cannot be renamed: {name} exists", "move or remove it")
            self.files_of_disk.pop(f"{name}.json", None)
        content = manifest or self.read_manifest(old)
        self.files_of_disk[target] = self.files_of_disk.pop(source)
        self.files_of_disk.pop(f"{source}.json", None)
        if content is not None:
            self.files_of_disk[f"{target}.json"] = MemoryFile(content)

    def remove(self, file: str) -> None:
        key = self._key(file)
        self.mount.step("remove")
        for name in (f"{key}.json", key):
            self.files_of_disk.pop(name, None)

    def other_writers(self, file: str | None = None) -> Sequence[tuple[Path, str]]:
        names = None if file is None else {self.root / file, self.root / f"{file}.json", (self.root / file).parent}
        return [(path, who) for path, who in self.mount.writers if names is None or path in names]

    def leftovers(self) -> Sequence[tuple[str, str]]:
        return sorted((file, run) for file in self.files_of_disk if (run := run_in(Path(file).name)))

    def remove_leftover(self, file: str) -> None:
        if run_in(Path(self._key(file)).name) is None:
            raise _not_found(file)
        self.files_of_disk.pop(file, None)

    def _key(self, file: str) -> str:
        tier, _, name = file.partition("/")
        if tier not in set(Tier) or name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise _not_found(file)
        return file

    def _readable(self, key: str) -> MemoryFile | None:
        found = self.files_of_disk.get(key)
        if found is not None and found.problem is not None:
            raise found.problem
        return found

    def _listed(self, file: str) -> ListedFile | None:
        stem, tier, found = stem_of(Path(file)), Tier(file.partition("/")[0]), self.files_of_disk[file]
        period = None if stem is None else period_in_name(tier, stem, found.at)
        if period is None:
            return None
        backup_id, beside = f"{tier}/{stem}", self.files_of_disk.get(f"{file}.json")
        waiting = (
            () if beside else tuple(self.files_of_disk[name].content for name in self._waiting_for({file, backup_id}))
        )
        return ListedFile(
            id=backup_id,
            file=file,
            period=period,
            size=len(found.content),
            written_at=found.at,
            stamp=beside and beside.stamp,
            waiting=waiting,
            stranger=found.owner,
        )

    def _waiting_for(self, names: set[str]) -> list[str]:
        folders = ((file, Path(file)) for file in sorted(self.files_of_disk))
        return [file for file, path in folders if f"{path.parent}/{waiting_for(path.name)}" in names]

    def _is_unchanged(self, stored: StoredFile) -> bool:
        now = self.files_of_disk.get(stored.file)
        return now is not None and (len(now.content), now.at) == (stored.size, stored.written_at)


class MemoryDraft:
    """See `app.ports.tree.Draft`."""

    stream: BinaryIO

    def __init__(self, tree: MemoryTree, file: str, run_id: str) -> None:
        self._tree = tree
        self._run_id = run_id
        self._file = _temporary(file, run_id)
        self._folder = file.partition("/")[0]
        self._disk = tree.mount.disk

    def __enter__(self) -> Self:
        if self._file in self._disk.files:
            raise BackupWriteError(f"{self._file} exists", "try again")
        self.stream = io.BytesIO()
        self._disk.files[self._file] = MemoryFile(b"")
        return self

    def __exit__(self, *_: object) -> None:
        self._disk.files.pop(self._file, None)

    def restart(self) -> None:
        self.stream.seek(0)
        self.stream.truncate()

    def flush(self) -> None:
        assert isinstance(self.stream, io.BytesIO)
        self._disk.files[self._file] = MemoryFile(self.stream.getvalue())

    def reopen(self) -> BinaryIO:
        return io.BytesIO(self._disk.files[self._file].content)

    def publish(self, file: str, manifest: bytes, earlier: Sequence[str] = (), *, proven: bool = False) -> str | None:
        if not file.startswith(f"{self._folder}/") or stem_of(Path(self._tree._key(file))) is None:
            raise _not_found(file)
        if self._tree.mount.disk is not self._disk:
            raise BackupFolderLostError(f"{self._folder} is not the folder any more in which this run made its file")
        self._tree.mount.step("publish")
        problem = self._problem_of_manifest(required=proven)
        self.flush()
        for name in (file, *earlier):
            self._disk.files.pop(f"{name}.json", None)
        self._disk.files[file] = self._disk.files.pop(self._file)
        if problem is None:
            self._disk.files[f"{file}.json"] = MemoryFile(manifest)
        for name in earlier:
            if name != file:
                self._disk.files.pop(name, None)
        return problem

    def _problem_of_manifest(self, *, required: bool) -> str | None:
        try:
            self._tree.mount.step("manifest")
        except BackupError as error:
            if required:
                raise
            return error.message
        return None


def _temporary(file: str, run_id: str) -> str:
    return str(temporary(Path(file), run_id))


def _variants(file: str) -> list[str]:
    return [str(path) for path in variants_of(Path(file))]


def _not_found(file: str) -> BackupNotFoundError:
    return BackupNotFoundError(f"{file} is missing", "to list what there is: residency-backup list")


def full_disk() -> BackupStorageError:
    """What a step fails with on a full disk."""
    return BackupStorageError("the disk is full", "free space")


def waiting_name(file: str, run_id: str) -> str:
    """The name under which a run that died has left the manifest of a file."""
    return str(temporary(manifest_of(Path(file)), run_id))
