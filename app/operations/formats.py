"""How the files of a tier are read: a dump is an archive in plain SQL, a full backup is a tar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Protocol

from app.archive.index import Index, Segment, TableDigest
from app.archive.manifest import FullFacts, Manifest
from app.archive.part import tables_of_part
from app.archive.reader import build_index
from app.archive.tar.reader import TarIndex, index_tar, require_equal, tar_index_of
from app.archive.verify import verify
from app.domain.backup import Codec, Tier
from app.errors import BackupValidationError
from app.operations.service import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class FileIndex:
    """What reading a file tells of it, in the terms of its manifest.

    Attributes:
        bytes, raw_bytes: length of the file, and of what it holds without compression.
        sha256: of the file.
        tables, segments: of a dump; empty for a full backup.
        full: of a full backup; None for a dump.
        only_tables: as in a manifest.
    """

    bytes: int
    raw_bytes: int
    sha256: str
    tables: tuple[TableDigest, ...] = ()
    segments: tuple[Segment, ...] = ()
    full: FullFacts | None = None
    only_tables: tuple[str, ...] = ()


class Format(Protocol):
    """How a kind of file is read."""

    def index(self, stream: BinaryIO, codec: Codec, progress: Progress) -> FileIndex:
        """Read a file that has no manifest.

        Raises:
            BackupReadError, BackupValidationError: it is none of the format, or not whole.
        """

    def verify(self, stream: BinaryIO, manifest: Manifest, progress: Progress) -> None:
        """Read a file and compare it with its manifest.

        Raises:
            BackupReadError, BackupValidationError: it cannot be read, or differs.
        """


class SqlFormat:
    """Plain SQL in segments."""

    def index(self, stream: BinaryIO, codec: Codec, progress: Progress) -> FileIndex:
        """Read an archive; it must have pg_dump's end marker."""
        first: list[bytes] = []
        index = build_index(stream, codec, progress.advance, lambda chunk: None if first else first.append(chunk.data))
        if not index.complete:
            raise BackupValidationError(
                "it has no end marker: it was cut off, or is no PostgreSQL dump", "use another backup"
            )
        return index_of_sql(index, tables_of_part(first[0]))

    def verify(self, stream: BinaryIO, manifest: Manifest, progress: Progress) -> None:
        """Compare each segment."""
        verify(stream, manifest.index, manifest.codec, progress.advance)


class TarFormat:
    """The tar of a full backup."""

    def index(self, stream: BinaryIO, codec: Codec, progress: Progress) -> FileIndex:
        """Read a tar; all that it says of the server is in its files."""
        index = index_tar(stream, codec, progress.advance)
        return index_of_tar(index, FullFacts(members=index.members))

    def verify(self, stream: BinaryIO, manifest: Manifest, progress: Progress) -> None:
        """Compare each member."""
        wanted = tar_index_of(manifest)
        require_equal(index_tar(stream, manifest.codec, progress.advance, wanted), wanted)


_SQL, _TAR = SqlFormat(), TarFormat()


def format_of(tier: Tier) -> Format:
    """How the files of a tier are read."""
    return _SQL if tier.is_sql else _TAR


def format_in(manifest: Manifest) -> Format:
    """How the file of a manifest is read."""
    return _SQL if manifest.full is None else _TAR


def index_of_sql(index: Index, only_tables: tuple[str, ...] = ()) -> FileIndex:
    """What the index of an archive says of its file."""
    return FileIndex(
        bytes=index.bytes,
        raw_bytes=index.raw_bytes,
        sha256=index.sha256,
        tables=index.tables,
        segments=index.segments,
        only_tables=only_tables,
    )


def index_of_tar(index: TarIndex, facts: FullFacts) -> FileIndex:
    """What the index of a tar says of its file."""
    return FileIndex(bytes=index.bytes, raw_bytes=index.raw_bytes, sha256=index.sha256, full=facts)
