"""Unpacks the tar of a full backup, which may be anybody's: nothing of it is written but below one folder.

Files are made anew, never opened where something stands; no link exists while files are written, so none can lead one
astray; and each link is looked at when all stand.
"""

from __future__ import annotations

import errno
import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.archive.tarball import printable
from app.errors import RestoreValidationError
from app.operations.full_layout import PATHS, TOPS

_HOSTILE = "it was not made by this service: do not use it"
_FOLDER, _FILE = 0o700, 0o600
_BITS = 0o777  # no set-uid and its like
_LONGEST = 8192  # twice what Linux takes for a path


@contextmanager
def _judged(name: str) -> Iterator[None]:
    """An entry that cannot be written as it says it is was not made from a file or folder."""
    try:
        yield
    except (FileExistsError, NotADirectoryError) as error:
        raise RestoreValidationError(f"{printable(name)} stands twice in the tar", _HOSTILE) from error
    except (ValueError, OverflowError) as error:
        raise RestoreValidationError(f"{printable(name)} cannot be: {error}", _HOSTILE) from error
    except OSError as error:
        if error.errno not in {errno.ENAMETOOLONG, errno.ENOENT, errno.EINVAL, errno.EOVERFLOW}:
            raise
        raise RestoreValidationError(f"{printable(name)} cannot be: {error.strerror}", _HOSTILE) from error


class Unpacker:
    """Writes entries below a folder that is new and empty."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._links: list[tuple[Path, str]] = []
        self._modes: list[tuple[Path, int]] = []

    def add(self, entry: tarfile.TarInfo, content: Iterable[bytes]) -> None:
        """Write one entry.

        Raises:
            RestoreValidationError: it would stand elsewhere, stands twice, or is no file, folder or link.
        """
        with _judged(entry.name):
            self._add(self._place(entry), entry, content)

    def _add(self, path: Path, entry: tarfile.TarInfo, content: Iterable[bytes]) -> None:
        path.parent.mkdir(_FOLDER, parents=True, exist_ok=True)
        if entry.isdir():
            path.mkdir(_FOLDER, exist_ok=True)
            self._modes.append((path, entry.mode & _BITS | _FOLDER))
        elif entry.isreg():
            self._write(path, entry, content)
        else:
            self._links.append((path, entry.linkname))

    def finish(self) -> None:
        """Make the links, and give the folders their modes.

        Raises:
            RestoreValidationError: a link leads out.
        """
        for path, target in self._links:
            with _judged(path.name):
                path.symlink_to(target)
        home = Path(os.path.realpath(self._folder / PATHS))
        for path, target in self._links:
            if home not in Path(os.path.realpath(path)).parents:
                raise RestoreValidationError(f"{printable(path.name)} is a link that leads out: {target}", _HOSTILE)
        for path, mode in reversed(self._modes):
            path.chmod(mode)

    def _place(self, entry: tarfile.TarInfo) -> Path:
        name = printable(entry.name)
        if len(name) > _LONGEST:
            raise RestoreValidationError(f"{name[:80]}…: a name of {len(name)} bytes", _HOSTILE)
        if hasattr(tarfile, "data_filter"):  # Python's own judgement, from 3.11.4 on; ours below is narrower
            try:
                tarfile.data_filter(entry, str(self._folder))
            except tarfile.FilterError as error:
                raise RestoreValidationError(f"the tar is hostile: {error}", _HOSTILE) from error
        parts = entry.name.split("/")
        if parts[0] not in TOPS or any(each in {"", ".", ".."} for each in parts):
            raise RestoreValidationError(f"{name} is no part of a full backup", _HOSTILE)
        if entry.issparse() or not (entry.isreg() or entry.isdir() or (entry.issym() and parts[0] == PATHS)):
            raise RestoreValidationError(f"{name} is no file or folder", _HOSTILE)
        return self._folder.joinpath(*parts)

    def _write(self, path: Path, entry: tarfile.TarInfo, content: Iterable[bytes]) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _FILE)
        with os.fdopen(descriptor, "wb") as stream:
            for block in content:
                stream.write(block)
            os.fchmod(descriptor, entry.mode & _BITS | _FILE)
        os.utime(path, (entry.mtime, entry.mtime))
