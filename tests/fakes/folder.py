"""The root of a tree in memory, behind our own port; `tests/contract/test_folder.py` holds it to that."""

from __future__ import annotations

import os
import uuid
import weakref
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Self

from app.domain.servers import Lineage
from app.errors import BackupError, BackupFolderLostError, BackupReadError
from app.ports.tree import Stamp
from app.storage.names import stem_of


@dataclass(eq=False)
class MemoryFile:
    """A file: what it holds and when it was written; `owner` if that is a stranger, `problem` if nobody can read it."""

    content: bytes
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    owner: str | None = None
    problem: BackupReadError | None = None
    _number: int | None = None

    @property
    def stamp(self) -> Stamp:
        """As a file system would have it: another one whenever the content is another."""
        return Stamp(len(self.content), int(self.at.timestamp()), zlib.crc32(self.content), id(self))

    def opened(self) -> FileIO:
        """The content as an open file of this process, which keeps its descriptor as one on a disk does."""
        if self._number is None:
            self._number = os.memfd_create("backup")
            weakref.finalize(self, os.close, self._number)
            os.write(self._number, self.content)
        return FileIO(f"/proc/self/fd/{self._number}")

    def overwrite(self, content: bytes) -> None:
        """Change what it holds, also for who has it open."""
        self.content = content
        if self._number is not None:
            os.ftruncate(self._number, 0)
            os.pwrite(self._number, content, 0)


@dataclass(eq=False)
class Disk:
    """What stands in the root: files by their paths, folders in the place of files, and the marker, if there is one."""

    files: dict[str, MemoryFile] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    marker: str | None = None
    lineages: dict[str, Lineage] = field(default_factory=dict)


@dataclass(eq=False)
class Mount:
    """Where the root leads to, which may change, and what is remembered of it.

    Attributes:
        disk: what stands there now.
        free: bytes that may still be written.
        seen: the markers that were found there.
        unreadable: whether the marker cannot be read.
        writers: paths that others may write, and who.
        clock_ns: the clock of the stamps; all of them are old, unless a test says otherwise.
        fails: what is raised by the next steps of these names: ``publish``, ``manifest``, ``rename``,
            ``remove``, ``probe``.
    """

    disk: Disk = field(default_factory=Disk)
    free: int = 1 << 40
    seen: set[str] = field(default_factory=set)
    unreadable: bool = False
    writers: list[tuple[Path, str]] = field(default_factory=list)
    clock_ns: int = 1 << 62
    fails: dict[str, BackupError] = field(default_factory=dict)

    def step(self, name: str) -> None:
        """Raise what the step of that name fails with."""
        if name in self.fails:
            raise self.fails[name]


class MemoryFolder:
    """See `app.ports.folder.Folder`."""

    def __init__(self, root: Path, mount: Mount, held: tuple[Disk, str | None] | None = None) -> None:
        self._root = root
        self._mount = mount
        self._held = held

    def require_here(self) -> None:
        self.require_same()
        disk, seen = self._mount.disk, self._mount.seen
        if disk.marker is None and seen and not self._has_backups():
            raise self._lost()
        if disk.marker is not None and not self._mount.unreadable:
            seen.add(disk.marker)

    def held(self) -> Self:
        self.require_here()
        self.require_readable()
        return type(self)(self._root, self._mount, (self._mount.disk, self._mount.disk.marker))

    def require_same(self) -> None:
        if self._held is not None:
            disk, marker = self._held
            if disk is not self._mount.disk or marker not in {None, disk.marker}:
                raise BackupFolderLostError(f"{self._root} is not the folder any more that it was when this run began")

    def require_readable(self) -> None:
        if self._mount.disk.marker is not None and self._mount.unreadable:
            raise BackupReadError(f"the marker of {self._root} cannot be read", "move it away")

    def clear_up(self) -> list[str]:
        return []

    def is_marked(self) -> bool:
        return self._mount.disk.marker is not None

    def lineage(self, database: str) -> Lineage | None:
        return None if self._mount.unreadable else self._mount.disk.lineages.get(database)

    def change(self, database: str, change: Callable[[Lineage | None], Lineage | None]) -> None:
        self.require_here()
        self.require_readable()
        disk = self._mount.disk
        changed = change(disk.lineages.get(database))
        if changed is not None:
            disk.lineages[database] = changed
        disk.marker = disk.marker or str(uuid.uuid4())
        self._mount.seen.add(disk.marker)
        if self._held is not None:
            self._held = (disk, disk.marker)

    def renew(self) -> None:
        self.require_readable()
        self._mount.disk.marker = self._mount.disk.marker or str(uuid.uuid4())
        self._mount.seen.add(self._mount.disk.marker)

    def _has_backups(self) -> bool:
        return any(stem_of(Path(file)) for file in self._mount.disk.files)

    def _lost(self) -> BackupFolderLostError:
        return BackupFolderLostError(
            f"{self._root} held backups when it was last looked at; it is missing or empty now"
        )
