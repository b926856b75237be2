"""The scripts that undo merges, in a private folder ``restores`` beside those of the tiers."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from app.os_errors import reading, writing
from app.storage import disk

FOLDER = "restores"
_ID = re.compile(r"[0-9a-f]{12}")


class LocalScripts:
    """The port `Scripts`: ``restores/<id>.sql`` under the root of the backups."""

    def __init__(self, root: Path) -> None:
        self._folder = root / FOLDER

    @contextmanager
    def create(self, restore_id: str) -> Iterator[LocalScript]:
        path = self.path(restore_id)
        with writing(path):
            disk.make_folder(self._folder)
            stream = disk.new_file(path)
        script = LocalScript(path, stream)
        try:
            yield script
        except BaseException:
            if not script.kept:
                disk.discard(path)
            raise
        finally:
            with suppress(OSError):  # `keep` has synced a script that is needed
                stream.close()

    def open(self, restore_id: str) -> BinaryIO:
        path = self.path(restore_id)
        with reading(path):
            return disk.open_file(path)

    def ids(self) -> Sequence[str]:
        with reading(self._folder):
            try:
                names = sorted(path.stem for path in self._folder.iterdir() if path.suffix == ".sql")
            except FileNotFoundError:
                return []
        return [name for name in names if _ID.fullmatch(name)]

    def path(self, restore_id: str) -> Path:
        """The path of a script, which need not exist.

        Raises:
            BackupNotFoundError: this is no id.
        """
        if not _ID.fullmatch(restore_id):
            raise disk.not_found(f"{FOLDER}/{restore_id}")
        return self._folder / f"{restore_id}.sql"

    def remove(self, restore_id: str) -> None:
        path = self.path(restore_id)
        with writing(path):
            if os.path.lexists(path):  # a read-only file system refuses to remove even what is not there
                disk.unlink_all(self._folder, [path])


class LocalScript:
    """A script that is being written.

    Attributes:
        kept: whether it may be needed, because the merge that it undoes is about to be committed.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file
        self.kept = False
        self.stream = cast("BinaryIO", _Translated(path, file))

    def keep(self) -> None:
        """Sync the script to the disk. It is not removed any more."""
        self.kept = True
        with writing(self._path):
            disk.sync(self._file)
            disk.sync_folder(self._path.parent)


class _Translated(io.RawIOBase):
    """A file whose errors are turned into ours, for writers outside of the storage."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path = path
        self._file = file

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, data: object) -> int:
        """Write all bytes."""
        with writing(self._path):
            return self._file.write(cast("bytes", data))

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Change the position."""
        with writing(self._path):
            return self._file.seek(offset, whence)

    def truncate(self, size: int | None = None) -> int:
        """Cut the file off."""
        with writing(self._path):
            return self._file.truncate(size)
