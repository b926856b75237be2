"""A backup in the making: a file under a temporary name, until it is published."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import BinaryIO, Self

from app.domain.backup import Tier, extensions_of
from app.errors import BackupError, BackupFolderLostError
from app.storage import disk

_TEMPORARY = re.compile(r"\..+\.(?P<run>[^.]+)\.partial")
_WAITING = re.compile(r"\.(?P<archive>.+)\.json\.[^.]+\.partial")


def stem_of(archive: Path) -> str | None:
    """An archive's name without extensions, or None for a name that no archive in its tier's folder has."""
    found = next((suffix for suffix in _suffixes(archive) if archive.name.endswith(suffix)), None)
    return archive.name.removesuffix(found) if found else None


def variants_of(archive: Path) -> Sequence[Path]:
    """All names that the backup of this id may have: an id does not say how its file is compressed."""
    stem = stem_of(archive)
    return [archive] if stem is None else [archive.with_name(stem + suffix) for suffix in _suffixes(archive)]


def _suffixes(archive: Path) -> Sequence[str]:
    tier = archive.parent.name
    return extensions_of(Tier(tier)) if tier in set(Tier) else ()


def manifest_of(archive: Path) -> Path:
    """Where the manifest of an archive stands."""
    return archive.with_name(f"{archive.name}.json")


def temporary(path: Path, run_id: str) -> Path:
    """The name under which a run writes what is to be called `path`."""
    return path.with_name(f".{path.name}.{run_id}.partial")


def run_in(name: str) -> str | None:
    """The run whose temporary file has that name; None for any other name."""
    found = _TEMPORARY.fullmatch(name)
    return found["run"] if found else None


def waiting_for(name: str) -> str | None:
    """The archive, or the id's last part, whose manifest waits under a temporary name to be put in its place.

    Earlier such a name did not say how the archive is compressed.
    """
    found = _WAITING.fullmatch(name)
    return found["archive"] if found else None


class LocalDraft:
    """The port `Draft`, and the block that it lives in: what was not published is gone after it.

    Args:
        path: the archive's final path, as far as it is known; its folder exists.
        run_id: who writes it.
    """

    stream: BinaryIO

    def __init__(self, path: Path, run_id: str) -> None:
        self._folder = path.parent
        self._file = temporary(path, run_id)
        self._run_id = run_id
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        with disk.writing(self._folder):
            self._at = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                self.stream = disk.new_file(self._file)
            except BaseException:
                os.close(self._at)
                raise
        self._made.append(self._file)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.stream.close()
        except OSError:
            pass  # what could not be written is not wanted any more
        finally:
            while self._made:
                with suppress(OSError):  # not by its path: the folder may have another by now, or none
                    os.unlink(self._made.pop().name, dir_fd=self._at)
            os.close(self._at)

    def restart(self) -> None:
        """Forget everything written."""
        with disk.writing(self._folder):
            if self.stream.tell():
                self.stream.seek(0)
                self.stream.truncate()

    def flush(self) -> None:
        """Put everything written on the disk itself."""
        with disk.writing(self._folder):
            disk.sync(self.stream)

    def reopen(self) -> BinaryIO:
        """The file from its start, for reading back."""
        with disk.reading(self._file):
            return disk.open_file(self._file)

    def publish(self, file: str, manifest: bytes, earlier: Sequence[str] = ()) -> str | None:
        """Give the file its final name and write its manifest, each whole and durable.

        A manifest must never stand beside bytes that it does not describe, whenever the power goes. So the names
        change in this order, and each step is on the disk before the next one begins:

        1. the new manifest is written under a temporary name, while a full disk can still do no harm;
        2. the manifests of the backup's earlier files go: from here on those stand alone, which is allowed;
        3. the file takes its name, in the place of the earlier one;
        4. the manifest takes its name, beside the bytes that it describes;
        5. earlier files of the same id that are compressed differently go last, when the new one can be trusted.

        A failure up to step 3 is raised, and the earlier file stands, unless it was the new name that would not become
        durable. After step 3 the new backup stands, and a failure is only told. Who dies between 3 and 4 leaves the
        manifest under its temporary name, which says whose it is (`waiting_for`).

        Args:
            file: the final name.
            manifest: what describes it.
            earlier: the files of the same id that this one replaces. A file that is not named is nobody's to remove.

        Returns:
            Why the manifest could not be saved, or an earlier file not be removed; None where all went well.
        """
        target = self._target(file)
        replaced = [each for each in map(self._target, earlier) if each != target]
        waiting = temporary(manifest_of(target), self._run_id)
        self._require_place()
        with disk.writing(target):
            self.flush()
            self.stream.close()
            problem = self._write_manifest(waiting, manifest)
            disk.unlink_all(self._folder, map(manifest_of, [target, *replaced]))
            self._require_place()
            self._file.replace(target)
            disk.sync_folder(self._folder)
        try:
            with disk.writing(target):
                if problem is None:
                    waiting.replace(manifest_of(target))
                    disk.sync_folder(self._folder)
                disk.unlink_all(self._folder, replaced)
        except BackupError as error:
            problem = problem or error.message
        return problem

    def _require_place(self) -> None:
        """Make sure that the folder's path still leads to the folder in which the file was made."""
        with suppress(FileNotFoundError), disk.reading(self._folder):
            if os.path.samestat(os.fstat(self._at), os.lstat(self._folder)):
                return
        raise BackupFolderLostError(
            f"{self._folder} is not the folder any more in which this run made its file",
            f"is its disk still mounted? then try again: findmnt -T {quote(str(self._folder.parent))}",
        )

    def _target(self, file: str) -> Path:
        tier, _, name = file.rpartition("/")
        if tier != self._folder.name or stem_of(self._folder / name) is None:
            raise disk.not_found(file)
        return self._folder / name

    def _write_manifest(self, path: Path, manifest: bytes) -> str | None:
        """Step 1; the reason where it fails, because a backup without a manifest is better than none."""
        try:
            with disk.writing(path):
                disk.write_whole(path, manifest)
        except BackupError as error:
            return error.message
        self._made.append(path)
        return None
