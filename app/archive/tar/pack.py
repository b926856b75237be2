"""Puts files into the tar of a full backup, and notes those that could not be packed as they are.

Folders beside the server are in use. They are entered by descriptor, so that a folder that is replaced meanwhile leads
nowhere else. A folder's time of change is compared after all in it was read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from app.archive.tar.layout import CATALOG, GLOBALS, PATHS, POSTGRES, SETTINGS
from app.archive.tar.reader import shown
from app.archive.tar.writer import TarWriter, unreadable
from app.domain.listed import listed
from app.errors import BackupCreationError
from app.os_errors import write_error

_NAMED = 5  # in one message
# Errors of a name that was removed, or became another kind of file, since the folder was listed.
_CHANGED = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL}
# Linux takes 4096 bytes of a path, and unpacking puts the path of its target in front.
_LONGEST_PATH, _DEEPEST_PATH = 3500, 150
_ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TarPacker:
    """Puts files and folders into a tar, in the order of the calls."""

    def __init__(self, writer: TarWriter) -> None:
        self._writer = writer
        self._remarks: dict[str, list[str]] = {}

    def add_staged(self, folder: Path) -> None:
        """Add what was put together in a folder, and remove each file after it is in the tar.

        Raises:
            BackupCreationError: another program writes into the folder.
            BackupWriteError: the disk fails.
        """
        try:
            for name in (SETTINGS, GLOBALS, CATALOG, POSTGRES):
                for path in _walk(folder / name):
                    self._move_in(str(path.relative_to(folder)), path)
        except OSError as error:
            raise write_error(error) from error

    def add_path(self, top: Path) -> None:
        """Add a folder or file beside the server. It must exist; files in it may be removed meanwhile.

        Raises:
            BackupPermissionError, DiskReadError: it, or a file in it, cannot be read.
        """
        try:
            real = top.resolve(strict=True)  # the path may be a link
            if real.is_dir():
                self._add_folder(top, top, os.open(real, _ENTER))
            else:
                self._add_file(top, real, None)
        except OSError as error:
            raise unreadable(top, error) from error

    def remarks(self) -> Iterator[str]:
        """Sentences about files that are not in the tar as they were."""
        for what, names in self._remarks.items():
            yield f"{what}: {listed(names, _NAMED)}"

    def _move_in(self, name: str, path: Path) -> None:
        if path.is_dir():
            self._writer.add_folder(name, path.stat())
        elif self._writer.add_file(name, path):
            message = f"{name} was written to while it was packed"
            raise BackupCreationError(message, "what else writes into BACKUP_DIR? then try again")
        else:
            path.unlink()

    def _add_folder(self, top: Path, path: Path, descriptor: int) -> None:
        """Add a folder with all in it, and close its descriptor."""
        try:
            before = os.fstat(descriptor)
            names = sorted(os.listdir(descriptor))
            self._writer.add_folder(PATHS + str(path), before)
            for name in names:
                with self._as_found(path / name):
                    self._add(top, path / name, descriptor)
            if os.fstat(descriptor).st_mtime_ns != before.st_mtime_ns:
                self._remark("changed while it was read", path)
        finally:
            os.close(descriptor)

    def _add(self, top: Path, path: Path, at: int) -> None:
        """Add an entry of the folder with the descriptor `at`."""
        found = os.stat(path.name, dir_fd=at, follow_symlinks=False)
        if len(os.fsencode(path)) > _LONGEST_PATH or len(path.parts) > _DEEPEST_PATH:
            self._remark("too long a path to be laid out again, and left out", path)
        elif stat.S_ISDIR(found.st_mode):
            self._add_folder(top, path, os.open(path.name, _ENTER, dir_fd=at))
        elif stat.S_ISLNK(found.st_mode):
            self._add_link(top, path, os.readlink(path.name, dir_fd=at), found)
        elif stat.S_ISREG(found.st_mode):
            self._add_file(path, path, at)
        else:
            self._remark("neither file, folder nor link, and left out", path)

    def _add_file(self, path: Path, real: Path, at: int | None) -> None:
        if self._writer.add_file(PATHS + str(path), real, at):
            self._remark("changed while it was read", path)
        if path.name == "postmaster.pid":
            self._remark("a server runs on it, and this is no copy that would start", path.parent)

    def _add_link(self, top: Path, path: Path, target: str, found: os.stat_result) -> None:
        linked = Path(os.path.normpath(path.parent / target))
        real, home = Path(os.path.realpath(path)), Path(os.path.realpath(top))
        inside = (linked == top or top in linked.parents) and (real == home or home in real.parents)
        if Path(target).is_absolute() or not inside:
            self._remark("a link that leads out of its folder, and left out", path)
        else:
            self._writer.add_link(PATHS + str(path), target, found)

    @contextlib.contextmanager
    def _as_found(self, path: Path) -> Iterator[None]:
        """Note a file that was removed or replaced meanwhile, which is no error with files in use."""
        try:
            yield
        except OSError as error:
            if error.errno not in _CHANGED:
                raise unreadable(path, error) from error
            self._remark("changed or went away meanwhile", path)

    def _remark(self, what: str, path: Path) -> None:
        self._remarks.setdefault(what, []).append(shown(str(path)))


def _walk(top: Path) -> Iterator[Path]:
    """A path and all below it, each folder before its content."""
    folder_too = top.is_dir()
    yield top
    for folder, folders, files in os.walk(top, onerror=_raise) if folder_too else ():
        folders.sort()
        yield from (Path(folder, name) for name in sorted(files) + folders)


def _raise(error: OSError) -> None:
    raise error
