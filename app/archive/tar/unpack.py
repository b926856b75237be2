"""Unpacks the tar of a full backup. The tar may be hostile, so nothing is written outside of one folder.

    create folders and files, never over an existing file -> make the links, so that no file is written through one
    -> check where each link leads -> set modes and owners

Files beside the server get their owners back, if this process may change owners.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from app.archive.tar.layout import PATHS, TOPS
from app.archive.tar.reader import shown
from app.errors import RestoreValidationError

_HOSTILE = "it was not made by this service: do not use it"
_REFUSED = "name a shorter target, on a file system that takes such names; if it fails there too, the tar is not ours"
_FOLDER, _FILE = 0o700, 0o600
# Files lose setuid, setgid and sticky; folders keep setgid and sticky.
_BITS, _FOLDER_BITS = 0o777, 0o3777
_LONGEST, _DEEPEST = 8192, 250  # twice the longest path of Linux, and deeper than this service packs


@contextlib.contextmanager
def _judged(name: str) -> Iterator[None]:
    """Refuse an entry that cannot be written: the tar is hostile, or comes from another kind of file system."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise RestoreValidationError(f"{shown(name)} exists already", _REFUSED) from error
    except (ValueError, OverflowError) as error:
        raise RestoreValidationError(f"{shown(name)} cannot be created: {error}", _HOSTILE) from error
    except OSError as error:
        if error.errno not in {errno.ENAMETOOLONG, errno.ENOENT, errno.EINVAL, errno.EOVERFLOW}:
            raise
        raise RestoreValidationError(f"{shown(name)} cannot be created: {error.strerror}", _REFUSED) from error


def place_of(entry: tarfile.TarInfo, folder: Path) -> Path:
    """The path that an entry is written to.

    Raises:
        RestoreValidationError: the path is outside of the folder, or the entry is no file, folder or link.
    """
    name = shown(entry.name)
    if (length := len(os.fsencode(entry.name))) > _LONGEST:
        raise RestoreValidationError(f"{name[:80]}…: a name of {length} bytes", _HOSTILE)
    if hasattr(tarfile, "data_filter"):  # Python's own check, from 3.11.4 on; ours below is stricter
        try:
            tarfile.data_filter(entry, str(folder))
        except tarfile.FilterError as error:
            raise RestoreValidationError(f"unsafe entry in the tar: {error}", _HOSTILE) from error
    parts = entry.name.split("/")
    if len(parts) > _DEEPEST:
        raise RestoreValidationError(f"{name[:80]}…: {len(parts)} folders deep", _HOSTILE)
    if parts[0] not in TOPS or any(part in {"", ".", ".."} for part in parts):
        raise RestoreValidationError(f"{name} is no part of a full backup", _HOSTILE)
    if entry.issparse() or not (entry.isreg() or entry.isdir() or (entry.issym() and parts[0] == PATHS)):
        raise RestoreValidationError(f"{name} is no file or folder", _HOSTILE)
    return folder.joinpath(*parts)


class Unpacker:
    """Writes entries into a folder that is new and empty.

    Attributes:
        owners_kept: whether all files beside the server have their former owners.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._beside = folder / PATHS
        self._links: list[tuple[Path, tarfile.TarInfo]] = []
        self._folders: list[tuple[Path, tarfile.TarInfo]] = []
        self.owners_kept = True

    def add(self, entry: tarfile.TarInfo, content: Iterable[bytes]) -> None:
        """Write one entry.

        Raises:
            RestoreValidationError: its path is outside of the folder or occurs twice, or it is no file, folder or link.
        """
        with _judged(entry.name):
            self._add(place_of(entry, self._folder), entry, content)

    def _add(self, path: Path, entry: tarfile.TarInfo, content: Iterable[bytes]) -> None:
        for parent in [parent for parent in reversed(path.parents) if self._folder in parent.parents]:
            parent.mkdir(_FOLDER, exist_ok=True)
        if entry.isdir():
            path.mkdir(_FOLDER, exist_ok=True)
            self._folders.append((path, entry))
        elif entry.isreg():
            self._write(path, entry, content)
        else:
            self._links.append((path, entry))

    def finish(self) -> None:
        """Make the links, and set owners and modes of the folders.

        Raises:
            RestoreValidationError: a link leads out of the folder.
        """
        for path, entry in self._links:
            with _judged(path.name):
                path.symlink_to(entry.linkname)
                self._give_back(path, entry)
        home = Path(os.path.realpath(self._beside))
        for path, entry in self._links:
            if home not in Path(os.path.realpath(path)).parents:
                name, target = shown(path.name), shown(entry.linkname)
                raise RestoreValidationError(f"{name} is a link that leads out: {target}", _HOSTILE)
        for path, entry in reversed(self._folders):
            with _judged(path.name):
                path.chmod(entry.mode & _FOLDER_BITS | _FOLDER)
                self._give_back(path, entry)

    def _write(self, path: Path, entry: tarfile.TarInfo, content: Iterable[bytes]) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE)
        with os.fdopen(descriptor, "wb") as stream:
            for block in content:
                stream.write(block)
            stream.flush()
            os.utime(descriptor, (entry.mtime, entry.mtime))
            os.fchmod(descriptor, entry.mode & _BITS)
        self._give_back(path, entry)

    def _give_back(self, path: Path, entry: tarfile.TarInfo) -> None:
        """Set the owner of a file beside the server; the server's own files stay this user's, who will start it.

        This is the last step, because a file of another user may not be changed any more, even by a root of few rights.
        """
        if self._beside not in (path, *path.parents):
            return
        with contextlib.suppress(OSError):  # `owners_kept` tells if this was not allowed
            os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        found = path.lstat()
        self.owners_kept &= (found.st_uid, found.st_gid) == (entry.uid, entry.gid)
