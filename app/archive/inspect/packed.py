"""Recognises dumps in pg_dump's own formats, which pg_restore turns into plain SQL.

Source: pg_backup_archiver.c (ReadHead) and pg_backup_archiver.h of PostgreSQL 9.1 to 18.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from app.archive.open_file import OpenFile

TOC = "toc.dat"
_MAGIC = b"PGDMP"
_TAR_NAME, _TAR_HEADER_BYTES = b"toc.dat\0", 512
_HEAD_BYTES = len(_MAGIC) + 2
# The first major of PostgreSQL whose pg_restore reads a version of the format; earlier versions are read by all.
_READ_SINCE = {(1, 14): 12, (1, 15): 16, (1, 16): 17}


class PackedFormat(StrEnum):
    """A format of pg_dump that is no plain SQL."""

    CUSTOM = "custom"
    TAR = "tar"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedDump:
    """A dump in such a format.

    Attributes:
        path: as it was given.
        file: the open file; None for a folder.
        version: of the format.
    """

    path: Path
    file: OpenFile | None
    format: PackedFormat
    version: tuple[int, int]

    @property
    def major(self) -> int:
        """The first major of PostgreSQL whose pg_restore reads it."""
        known = [since for version, since in _READ_SINCE.items() if version <= self.version]
        return max(known, default=0)


def packed_file(file: OpenFile, path: Path) -> PackedDump | None:
    """The packed dump in a file, whose name is `path`; None if it is something else."""
    with file.open() as stream:
        start = stream.read(_TAR_HEADER_BYTES + _HEAD_BYTES)
    form = PackedFormat.CUSTOM
    if start.startswith(_TAR_NAME):
        start, form = start[_TAR_HEADER_BYTES:], PackedFormat.TAR
    return _packed(start, path, file, form)


def packed_folder(folder: Path, toc: BinaryIO) -> PackedDump | None:
    """The packed dump in a folder, by its table of contents; None if that is something else."""
    return _packed(toc.read(_HEAD_BYTES), folder, None, PackedFormat.DIRECTORY)


def _packed(head: bytes, path: Path, file: OpenFile | None, form: PackedFormat) -> PackedDump | None:
    if not head.startswith(_MAGIC) or len(head) < _HEAD_BYTES:
        return None
    major, minor = head[len(_MAGIC) : _HEAD_BYTES]
    return PackedDump(path=path, file=file, format=form, version=(major, minor))
