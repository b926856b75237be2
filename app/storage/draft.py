"""A file that is being written, under a temporary name until it is published."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from types import TracebackType
from typing import BinaryIO, Self

import structlog

from app.errors import BackupError, BackupFolderLostError, BackupNotFoundError
from app.os_errors import reading, writing
from app.storage import disk, sidecar
from app.storage.names import manifest_of, stem_of, temporary

log = structlog.get_logger(__name__)
_CLOSED = -1


class LocalDraft:
    """The port `Draft`. A context manager: files that were not published are removed at its end.

    Args:
        path: the final path of the archive, without its extensions; its folder exists.
        run_id: of the run that writes it.
    """

    stream: BinaryIO

    def __init__(self, path: Path, run_id: str) -> None:
        self._folder = path.parent
        self._file = temporary(path, run_id)
        self._run_id = run_id
        self._at = _CLOSED
        self._made: list[Path] = []

    def __enter__(self) -> Self:
        with writing(self._folder):
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
            pass  # the file is removed anyway
        finally:
            # A published file stays, and a manifest that waits for it is its only proof.
            if self._is_draft():
                while self._made:
                    with suppress(OSError):  # by descriptor: the folder may have been moved or unmounted meanwhile
                        os.unlink(self._made.pop().name, dir_fd=self._at)
            if self._at != _CLOSED:
                os.close(self._at)
                self._at = _CLOSED

    def restart(self) -> None:
        """Discard everything written."""
        with writing(self._folder):
            if self.stream.tell():
                self.stream.seek(0)
                self.stream.truncate()

    def flush(self) -> None:
        """Sync everything written to the disk."""
        with writing(self._folder):
            disk.sync(self.stream)

    def reopen(self) -> BinaryIO:
        """The file from its start, for reading back."""
        with reading(self._file):
            return disk.open_file(self._file)

    def publish(self, file: str, manifest: bytes, earlier: Sequence[str] = (), *, proven: bool = False) -> str | None:
        """Give the file its final name and write its manifest, each whole and durable.

        A power failure must never leave a manifest beside bytes that it does not describe. So the names change in this
        order, and each step is on the disk before the next one begins:

        1. write the new manifest under a temporary name, while a full disk does no harm yet
        2. remove the manifests of the earlier files, which may exist without one
        3. rename the file to its final name, over the earlier one
        4. rename the manifest to its final name
        5. remove earlier files of the same id with another compression, because the new one can be trusted now

        A failure in steps 1 to 3 is raised, and the earlier files get their manifests back. After step 3 the backup is
        complete: a failure is only returned, unless the new name could not be made durable. A crash between 3 and 4
        leaves the manifest under its temporary name, which tells its archive (`app.storage.names.waiting_for`).

        Args:
            file: the final name.
            manifest: its content.
            earlier: the files of the same id that this one replaces. No other file is removed.
            proven: whether a verified backup is replaced. A backup without a manifest would be worse, so a failure of
                step 1 is raised too.

        Returns:
            Why the manifest could not be saved, or an earlier file could not be removed; None if all is well.
        """
        target = self._target(file)
        replaced = [path for path in map(self._target, earlier) if path != target]
        waiting = temporary(manifest_of(target), self._run_id)
        self._require_place()
        with writing(target):
            self.flush()
            self.stream.close()
        problem = self._write_manifest(waiting, manifest, required=proven)
        with writing(target):
            self._take_name(target, [manifest_of(path) for path in (target, *replaced)])
            disk.sync_folder(self._folder)
        try:
            with writing(target):
                if problem is None:
                    waiting.replace(manifest_of(target))
                    disk.sync_folder(self._folder)
                disk.unlink_all(self._folder, replaced)
        except BackupError as error:
            problem = problem or error.message
            if os.path.lexists(waiting):
                problem += f"; it waits as {waiting.name}; to put it in its place: residency-backup sync"
        return problem

    def _take_name(self, target: Path, manifests: Sequence[Path]) -> None:
        """Steps 2 and 3; if they fail, the earlier manifests are put back."""
        taken = {path: content for path in manifests if (content := _content(path)) is not None}
        self._require_place()
        try:
            disk.unlink_all(self._folder, manifests)
            self._file.replace(target)
        except BaseException:
            # If a signal came after the rename, the earlier manifests describe nothing any more.
            if self._is_draft():
                self._put_back(taken)
            raise

    def _put_back(self, manifests: Mapping[Path, bytes]) -> None:
        """Give the earlier files their manifests back. One that cannot be renamed waits for the next run."""
        for path, content in manifests.items():
            draft = temporary(path, self._run_id)
            if draft in self._made:  # the new manifest: it describes nothing, and the disk may have no space for both
                self._made.remove(draft)
                disk.discard(draft)
            try:
                disk.write_whole(draft, content)
                sidecar.add(draft, path, content)
                disk.sync_folder(self._folder)
            except OSError as error:
                log.warning(
                    "backup manifest not put back", file=str(path), error=type(error).__name__, reason=str(error)
                )
            else:
                disk.discard(draft)

    def _is_draft(self) -> bool:
        """Whether the file still has its temporary name, in the folder in which it was made."""
        try:
            os.stat(self._file.name, dir_fd=self._at, follow_symlinks=False)
        except OSError:
            return False
        return True

    def _require_place(self) -> None:
        """Make sure that the folder's path still leads to the folder in which the file was created."""
        with suppress(FileNotFoundError), reading(self._folder):
            if os.path.samestat(os.fstat(self._at), os.lstat(self._folder)):
                return
        raise BackupFolderLostError(
            f"{self._folder} is not the folder any more in which this run created its file",
            f"see whether its disk is mounted, then try again: findmnt -T {quote(str(self._folder.parent))}",
        )

    def _target(self, file: str) -> Path:
        tier, _, name = file.rpartition("/")
        if tier != self._folder.name or stem_of(self._folder / name) is None:
            raise disk.not_found(file)
        return self._folder / name

    def _write_manifest(self, path: Path, manifest: bytes, *, required: bool) -> str | None:
        """Step 1. Returns the reason of a failure, because a backup without a manifest is better than none."""
        try:
            with writing(path):
                disk.write_whole(path, manifest)
        except BackupError as error:
            if required:
                raise
            return error.message
        self._made.append(path)
        return None


def _content(manifest: Path) -> bytes | None:
    """A manifest, to put it back on a failure; None if there is none, or if it cannot be read and so proves nothing."""
    try:
        with reading(manifest), disk.open_file(manifest) as stream:
            return stream.read()
    except BackupNotFoundError:
        return None
    except BackupError as error:
        log.warning("backup manifest not readable", file=str(manifest), reason=error.message)
        return None
