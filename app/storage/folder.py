"""The marker in the root of a tree: a file to know the folder by, and which servers its backups are of."""

from __future__ import annotations

import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

import structlog

from app.domain.backup import Tier
from app.domain.servers import Identity, Known, Lineage
from app.errors import BackupFolderLostError, BackupNotFoundError, BackupReadError
from app.storage import disk
from app.storage.draft import stem_of, temporary
from app.storage.memory import FolderMemory

MARKER = ".residency-backup.json"
FORMAT = 1
_NOTE = "Residency Backup knows this folder by this file, and the servers that its backups are of. Leave it here."
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Marker:
    id: str
    made_at: str
    databases: dict[str, Lineage]


class LocalFolder:
    """The port `Folder`.

    Args:
        root: of the tree; need not exist.
        memory: what is remembered elsewhere.
        database: whose backups stand in it; for messages.
    """

    def __init__(self, root: Path, memory: FolderMemory, database: str) -> None:
        self._database = database
        self._root = root
        self._memory = memory

    def require_here(self) -> None:
        """Make sure that what stood in the folder still does, as far as anybody remembers."""
        marker, seen = self._read_at_all(), self._memory.recall(self._root)
        if marker is None and self.is_marked():
            return  # it cannot be read: who writes it says so
        if seen is not None and (marker is None or marker.id not in seen.ids):
            if not os.path.ismount(seen.mount):
                raise self._lost(f"it was on the mount {seen.mount}, which is not mounted now", seen.at)
            if marker is None and not self._has_backups():
                raise self._lost("it is missing or empty now", seen.at)
            if marker is not None:
                log.warning("backup folder is another one than before", folder=str(self._root), marker=marker.id)
        if marker is not None:
            self._remember(marker)

    def is_marked(self) -> bool:
        """Whether the marker is there."""
        return os.path.lexists(self._root / MARKER)

    def lineage(self, database: str) -> Lineage | None:
        """What the marker says of a database's servers; None where it says nothing."""
        marker = self._read_at_all()
        return None if marker is None else marker.databases.get(database)

    def change(self, database: str, change: Callable[[Lineage | None], Lineage | None]) -> None:
        """Change what the marker says of a database, and make the marker where it is missing; one at a time."""
        with disk.writing(self._root):
            disk.make_folder(self._root)
        with self._alone():
            before = self._read()
            marker = before or self._new()
            lineage = marker.databases.get(database)
            changed = change(lineage)
            if changed is not None:
                marker = _Marker(marker.id, marker.made_at, marker.databases | {database: changed})
            if before is None or changed != lineage:
                self._write(marker)
        self._remember(marker)

    def renew(self) -> None:
        """Take the folder as it is for the one that is meant, whatever is remembered."""
        with disk.writing(self._root):
            disk.make_folder(self._root)
        with self._alone():
            marker = self._read()
            if marker is None:
                marker = _Marker(str(uuid.uuid4()), _now(), {})
                self._write(marker)
        self._remember(marker)

    def _new(self) -> _Marker:
        """One for a folder that has none: whose marker was only lost keeps its id."""
        seen = self._memory.recall(self._root)
        return _Marker(seen.ids[-1] if seen else str(uuid.uuid4()), _now(), {})

    def _remember(self, marker: _Marker) -> None:
        self._memory.remember(self._root, marker.id, _now())

    def _lost(self, how: str, at: str) -> BackupFolderLostError:
        return BackupFolderLostError(
            f"{self._root} held backups when it was last looked at ({at}); {how}",
            "mount it again; if it is really to be a new one: "
            f"residency-backup adopt --new-folder --confirm {quote(self._database)}",
        )

    def _has_backups(self) -> bool:
        for tier in Tier:
            with disk.reading(self._root), suppress(FileNotFoundError), os.scandir(self._root / tier) as entries:
                if any(stem_of(Path(entry.path)) for entry in entries if entry.is_file(follow_symlinks=False)):
                    return True
        return False

    def _read(self) -> _Marker | None:
        path = self._root / MARKER
        with disk.reading(path):
            try:
                with disk.open_file(path) as stream:
                    content = stream.read()
            except BackupNotFoundError:
                return None
        try:
            return _parsed(json.loads(content))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            away = f"mv {quote(str(path))} {quote(f'{path}.corrupt')}"
            hint = f"move it away, and it is made anew from the manifests: {away}"
            raise BackupReadError(f"the marker {path} cannot be read: {error}", hint) from error

    def _read_at_all(self) -> _Marker | None:
        """The marker; None also where it cannot be read, which keeps nobody from a backup."""
        try:
            return self._read()
        except BackupReadError as error:
            log.warning("backup folder's marker not readable", error=type(error).__name__, reason=error.message)
            return None

    def _write(self, marker: _Marker) -> None:
        path = self._root / MARKER
        draft = temporary(path, "passing-marker")
        with disk.writing(path):
            disk.discard(draft)  # one that a crash left; who writes it is alone
            disk.write_whole(draft, (json.dumps(_content(marker), indent=1) + "\n").encode())
            draft.replace(path)
            disk.sync_folder(path.parent)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time, where the file system can say so; some network file systems cannot."""
        with disk.reading(self._root):
            folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(OSError):
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(sep=" ", timespec="seconds")


def _content(marker: _Marker) -> dict[str, Any]:
    databases = {
        name: {
            "servers": [_known_content(each) for each in lineage.known],
            "heir": _known_content(lineage.heir) if lineage.heir else None,
        }
        for name, lineage in sorted(marker.databases.items())
    }
    about = {"format": FORMAT, "note": _NOTE, "id": marker.id, "made_at": marker.made_at}
    return about | {"databases": databases}


def _known_content(known: Known) -> dict[str, Any]:
    numbers = {
        "system_identifier": known.identity.system_identifier,
        "database_oid": known.identity.database_oid,
    }
    return numbers | {"since": known.since.isoformat(), "how": known.how}


def _parsed(content: Any) -> _Marker:
    if content["format"] > FORMAT:
        raise ValueError(f"it is of format {content['format']}, and this program reads up to {FORMAT}")
    databases = {
        name: Lineage(
            known=tuple(map(_parsed_known, lineage["servers"])),
            heir=_parsed_known(lineage["heir"]) if lineage["heir"] else None,
        )
        for name, lineage in content["databases"].items()
    }
    return _Marker(str(content["id"]), str(content["made_at"]), databases)


def _parsed_known(content: dict[str, Any]) -> Known:
    identity = Identity(content["system_identifier"], content["database_oid"])
    return Known(identity=identity, since=datetime.fromisoformat(content["since"]), how=content["how"])
