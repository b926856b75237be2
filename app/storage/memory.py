"""Remembers which markers were seen in the folders of backups.

A folder whose mount is gone is an empty folder, without a marker that could tell. So the marker's id is remembered in
this process (and in the worker's children), and in a small file in the user's state folder for later processes.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from app.storage import disk
from app.storage.marker import shortened, word

log = structlog.get_logger(__name__)
_MOST_IDS = 8  # disks that take turns under one path


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFolder:
    """The last state of a folder.

    Attributes:
        folder: its path.
        ids: of markers seen there, the last one at the end.
        mount: mount point of the folder.
        at: when, as ISO 8601.
    """

    folder: str
    ids: tuple[str, ...]
    mount: str
    at: str


class FolderMemory:
    """The markers that this process and earlier ones saw.

    Args:
        home: folder for the files; without one, or if it cannot be written, only this process remembers.
    """

    def __init__(self, home: Path | None) -> None:
        self._home = home
        self._seen: dict[Path, SeenFolder] = {}

    def recall(self, folder: Path) -> SeenFolder | None:
        """The last state of a folder; None if it was never seen.

        This includes markers that another process accepted since (`adopt --new-folder`).
        """
        own, stored = self._seen.get(folder), self._stored(folder)
        if own is None or stored is None:
            return own or stored
        return replace(own, ids=tuple(dict.fromkeys((*own.ids, *stored.ids))))

    def remember(self, folder: Path, marker_id: str, now: str) -> None:
        """Remember the marker in a folder. The file is written only if something changed."""
        before = self.recall(folder)
        mount = mount_point(folder)
        others = tuple(marker for marker in before.ids if marker != marker_id) if before else ()
        ids = (*others, marker_id)[-_MOST_IDS:]
        seen = SeenFolder(folder=str(folder), ids=ids, mount=mount, at=now)
        self._seen[folder] = seen
        stored = self._stored(folder)
        if self._home is not None and (stored is None or (stored.ids, stored.mount) != (ids, mount)):
            self._store(self._home, folder, seen)

    def _file(self, home: Path, folder: Path) -> Path:
        return home / f"folder-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]}.json"

    def _stored(self, folder: Path) -> SeenFolder | None:
        if self._home is None:
            return None
        try:
            return _parsed(json.loads(disk.read_small(self._file(self._home, folder), follow=True)))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            reason = shortened(str(error))
            log.debug("backup folder's memory not readable", file=str(self._file(self._home, folder)), reason=reason)
            return None

    def _store(self, home: Path, folder: Path, seen: SeenFolder) -> None:
        file = self._file(home, folder)
        draft = file.with_name(f"{file.name}.{os.getpid()}.partial")
        try:
            home.mkdir(0o700, parents=True, exist_ok=True)
            disk.discard(draft)  # left by a crash of a process with the same pid
            disk.write_whole(draft, (json.dumps(asdict(seen), indent=1) + "\n").encode())
            draft.replace(file)
        except OSError as error:
            disk.discard(draft)
            log.debug("backup folder's memory not saved", file=str(file), reason=error.strerror)


def _parsed(content: Any) -> SeenFolder:
    """The content of a file of this module. Raises ValueError, TypeError or KeyError if it is none."""
    ids = tuple(map(word, content["ids"]))
    paths = (content["folder"], content["mount"])
    if not ids or not all(isinstance(path, str) and path and "\0" not in path for path in paths):
        raise ValueError("it is not a file of this service")
    return SeenFolder(folder=paths[0], ids=ids, mount=paths[1], at=word(content["at"]))


def mount_point(folder: Path) -> str:
    """The mount point of a folder, which may be missing or a link."""
    real = folder.resolve()
    for path in (real, *real.parents):
        if os.path.ismount(path):
            return str(path)
    return "/"
