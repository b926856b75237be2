"""The folder of backups. It is recognised by its marker, which also holds the lineages of its databases."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Self

import structlog

from app.domain.backup import Tier
from app.domain.servers import Lineage
from app.errors import BackupFolderLostError, BackupReadError
from app.os_errors import reading, writing
from app.storage import disk
from app.storage.lock import alone
from app.storage.marker import Marker, parse_marker, to_json
from app.storage.memory import FolderMemory
from app.storage.names import stem_of, temporary

MARKER = ".residency-backup.json"
LOCK = ".residency-backup.lock"
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Place:
    """The folder as a run found it: its device and inode, and its marker's id. None: it did not exist yet."""

    at: tuple[int, int] | None
    marker: str | None


class LocalFolder:
    """The port `Folder`.

    Args:
        root: the root of the tree; it need not exist.
        memory: remembers which markers were seen in which folder.
        database: name of the database that is backed up; hints name it.
        held: the folder as a run found it, if this object is for a run.
    """

    def __init__(self, root: Path, memory: FolderMemory, database: str, held: _Place | None = None) -> None:
        self._database = database
        self._root = root
        self._memory = memory
        self._held = held
        self._told: str | None = None

    def require_here(self) -> None:
        """Refuse a folder whose mount is gone, or that lost its marker and its backups. Another marker is a warning."""
        self.require_same()
        marker, seen = self._read_or_warn(), self._memory.recall(self._root)
        if marker is None and self.is_marked():
            return  # the marker cannot be read: `change` reports that
        if seen is not None and (marker is None or marker.id not in seen.ids):
            if not os.path.ismount(seen.mount):
                raise self._lost(f"it was on the mount {seen.mount}, which is not mounted now", seen.at)
            if marker is None and not self._has_backups():
                raise self._lost("it is missing or empty now", seen.at)
            if marker is not None:
                log.warning("backup folder is another one than before", folder=str(self._root), marker=marker.id)
        if marker is not None:
            self._remember(marker)

    def held(self) -> Self:
        at = self._at()  # first, so that a replacement from here on is noticed
        self.require_here()
        marker = self._read()
        return type(self)(self._root, self._memory, self._database, _Place(at, marker.id if marker else None))

    def require_same(self) -> None:
        if self._held is None:
            return
        at, marker = self._at(), self._read()
        same_marker = self._held.marker in {None, marker.id if marker else None}
        if self._held.at in {None, at} and same_marker:
            return
        raise BackupFolderLostError(
            f"{self._root} is not the folder any more that it was when this run began: "
            + ("its marker is gone" if self._held.at == at else "it was replaced or removed"),
            f"see whether its disk is mounted, then try again: findmnt -T {quote(str(self._root))}",
        )

    def require_readable(self) -> None:
        self._read()

    def clear_up(self) -> list[str]:
        draft = self._draft()
        if not os.path.lexists(draft):
            return []
        with self._alone(), writing(draft):
            return [draft.name] if disk.unlink(draft) else []

    def is_marked(self) -> bool:
        return os.path.lexists(self._root / MARKER)

    def lineage(self, database: str) -> Lineage | None:
        marker = self._read_or_warn()
        return None if marker is None else marker.databases.get(database)

    def databases(self) -> list[str]:
        """The names of the databases in the marker."""
        marker = self._read_or_warn()
        return [] if marker is None else sorted(marker.databases)

    def change(self, database: str, change: Callable[[Lineage | None], Lineage | None]) -> None:
        self.require_here()
        with writing(self._root):
            disk.make_folder(self._root)
        with self._alone():
            self.require_same()
            before = self._read()
            marker = before or self._new()
            lineage = marker.databases.get(database)
            changed = change(lineage)
            if changed is not None:
                marker = Marker(marker.id, marker.made_at, marker.databases | {database: changed})
            if before is None or changed != lineage:
                self._write(marker)
            if self._held is not None:
                self._held = _Place(self._held.at or self._at(), marker.id)
        self._remember(marker)

    def renew(self) -> None:
        with writing(self._root):
            disk.make_folder(self._root)
        with self._alone():
            marker = self._read()
            if marker is None:
                marker = Marker(str(uuid.uuid4()), _now(), {})
                self._write(marker)
        self._remember(marker)

    def _new(self) -> Marker:
        """A marker for a folder without one. If only the marker was lost and backups are there, it gets its old id."""
        seen = self._memory.recall(self._root)
        if seen and not self._has_backups():
            raise self._lost("it is missing or empty now", seen.at)
        return Marker(seen.ids[-1] if seen else str(uuid.uuid4()), _now(), {})

    def _remember(self, marker: Marker) -> None:
        self._memory.remember(self._root, marker.id, _now())

    def _lost(self, how: str, at: str) -> BackupFolderLostError:
        return BackupFolderLostError(
            f"{self._root} held backups when it was last looked at ({at}); {how}",
            "mount it again; if a new folder is meant: "
            f"residency-backup adopt --new-folder --confirm {quote(self._database)}",
        )

    def _has_backups(self) -> bool:
        for tier in Tier:
            with reading(self._root), suppress(FileNotFoundError), os.scandir(self._root / tier) as entries:
                if any(stem_of(Path(entry.path)) for entry in entries if entry.is_file(follow_symlinks=False)):
                    return True
        return False

    def _at(self) -> tuple[int, int] | None:
        """Device and inode of the folder; None if it does not exist."""
        with reading(self._root):
            try:
                found = self._root.stat()
            except FileNotFoundError:
                return None
        return found.st_dev, found.st_ino

    def _read(self) -> Marker | None:
        path = self._root / MARKER
        try:
            with reading(path):
                try:
                    content = disk.read_small(path)
                except FileNotFoundError:
                    return None
            return parse_marker(content)
        except ValueError as error:
            away = f"mv {quote(str(path))} {quote(f'{path}.corrupt')}"
            hint = f"move it away, and it is made anew from the manifests: {away}"
            raise BackupReadError(f"the marker {path} cannot be read: {error}", hint) from error

    def _read_or_warn(self) -> Marker | None:
        """The marker; None also if it cannot be read, because that must not hide the backups."""
        try:
            return self._read()
        except BackupReadError as error:
            level = log.debug if self._told == error.message else log.warning
            level("backup folder's marker not readable", error=type(error).__name__, reason=error.message)
            self._told = error.message
            return None

    def _draft(self) -> Path:
        return temporary(self._root / MARKER, "passing-marker")

    def _write(self, marker: Marker) -> None:
        path, draft = self._root / MARKER, self._draft()
        with writing(path):
            disk.discard(draft)  # one that a crash left; this process has the lock
            disk.write_whole(draft, to_json(marker))
            try:
                draft.replace(path)
            except BaseException:
                disk.discard(draft)
                raise
            disk.sync_folder(path.parent)

    def _alone(self) -> AbstractContextManager[None]:
        return alone(self._root / LOCK)


def _now() -> str:
    return datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
