"""Writes an archive: chunks of SQL text as they come, and segments that other threads have packed already.

The caller passes both in the order of the archive. It does not have to know about frames or digests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from app.archive import lexer
from app.archive.codecs import FrameFormat, frame_format
from app.archive.digest import RowDigest, Stored, xxh128
from app.archive.index import Index, Segment, TableDigest, TableName
from app.archive.packer import Packer, SegmentFigures
from app.archive.pg_dump import END_MARKER, END_MARKER_LINE, RESET_ALL
from app.archive.scanner import Chunk, SegmentHeader
from app.domain.backup import Codec
from app.os_errors import write_error

_COMMIT = b"COMMIT;"


class Sink(Protocol):
    """Where an archive is written to, such as an open binary file."""

    def write(self, data: bytes, /) -> object:
        """Write all of the data, or raise OSError."""


class PackedSegment(Protocol):
    """A segment that another thread has packed, or is packing."""

    def frames(self) -> Iterator[bytes]:
        """Its frames in order, as soon as they are ready."""

    @property
    def figures(self) -> SegmentFigures:
        """Its figures, known after the last frame."""


class Destination(Protocol):
    """Takes a dump: the writer of an archive, or `app.archive.inspect.content`, which keeps only digests.

    Because both take the same calls, a restored database is proven by dumping it again into a `Content`.
    """

    def frame_format(self) -> FrameFormat:
        """The frame format of packed segments; a new one for each thread that packs."""

    def add(self, chunks: Iterable[Chunk]) -> None:
        """Take chunks in the archive's order; a new header ends the segment before it."""

    def append(self, packed_segment: PackedSegment) -> None:
        """Take a packed segment."""


class ArchiveWriter:
    """Writes segments to `stream`, from its current position, and indexes them.

    Args:
        stream: an open binary file.
        codec, level: how to compress; None means the codec's fast level.
        progress: called from time to time with the number of plain bytes taken.
    """

    def __init__(
        self,
        stream: Sink,
        codec: Codec,
        level: int | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._out = _CountedFile(stream)
        self._how = (codec, level)
        self._frame_format = frame_format(codec, level)
        self._progress = progress
        self._segments: list[Segment] = []
        self._digests: dict[TableName, RowDigest] = {}
        self._open: Packer | None = None
        self._offset = 0
        self._complete = False

    def frame_format(self) -> FrameFormat:
        """The frame format of packed segments; a new one for each thread that packs."""
        return frame_format(*self._how)

    def add(self, chunks: Iterable[Chunk]) -> None:
        """Take chunks in the archive's order; a new header ends the segment before it.

        Raises:
            BackupStorageError: the disk is full.
            BackupWriteError: the file cannot be written.
        """
        for chunk in chunks:
            self._write(self._packer(chunk.header).take(chunk.data, rows=chunk.rows))
            if not chunk.rows:
                self._complete = _is_end(chunk, was=self._complete)
            self._progress(len(chunk.data))

    def append(self, packed_segment: PackedSegment) -> None:
        """Take a packed segment.

        Raises:
            BackupStorageError: the disk is full.
            BackupWriteError: the file cannot be written.
        """
        self._close_segment()
        self._write(packed_segment.frames())
        self._list(packed_segment.figures)
        self._complete = False
        self._progress(packed_segment.figures.raw_bytes)

    def finish(self) -> Index:
        """End the last segment and return the index. The stream stays open.

        Raises:
            BackupStorageError: the disk is full.
            BackupWriteError: the file cannot be written.
        """
        self._close_segment()
        return Index(
            segments=tuple(self._segments),
            tables=tuple(
                TableDigest(table=table, rows=digest.rows, digest=digest.hexdigest())
                for table, digest in self._digests.items()
            ),
            bytes=self._out.bytes,
            raw_bytes=sum(segment.raw_bytes for segment in self._segments),
            sha256=self._out.hash.hexdigest(),
            complete=self._complete,
        )

    @property
    def stored(self) -> Stored:
        """What was written, after `finish`; see `app.archive.verify.read_back`."""
        return Stored(self._out.bytes, self._out.stored.hexdigest())

    def _packer(self, header: SegmentHeader) -> Packer:
        if self._open is None or self._open.header is not header:
            self._close_segment()
            self._open = Packer(header, self._frame_format)
        return self._open

    def _write(self, frames: Iterable[bytes]) -> None:
        for frame in frames:
            self._out.write(frame)

    def _close_segment(self) -> None:
        if self._open is not None:
            self._write(self._open.finish())
            self._list(self._open.figures)
            self._open = None

    def _list(self, figures: SegmentFigures) -> None:
        """Add a segment, whose last frame was just written, to the index."""
        header, digest = figures.header, figures.digest
        if header.table is not None and digest is not None:
            self._digests.setdefault(header.table, RowDigest()).add(digest)
        segment = Segment(
            kind=header.kind,
            table=header.table,
            columns=header.columns,
            pages=header.pages,
            offset=self._offset,
            bytes=self._out.bytes - self._offset,
            raw_bytes=figures.raw_bytes,
            rows=None if digest is None else digest.rows,
            xxh128=figures.xxh128,
        )
        self._offset = self._out.bytes
        self._segments.append(segment)


def _is_end(chunk: Chunk, *, was: bool) -> bool:
    """Whether a dump is whole after this chunk.

    Only comments, psql commands and the end of a transaction around it may follow its end marker.

    Args:
        chunk: of SQL, it is one statement with the comments before it, as the scanner yields it.
        was: whether it was whole before.
    """
    if chunk.header.table is not None:
        return False
    marked = was or END_MARKER in chunk.data
    if not marked and RESET_ALL not in chunk.data:
        return False
    end = lexer.start_of(chunk.data)
    if chunk.data.startswith(RESET_ALL, end):
        return True
    if end < len(chunk.data) and not chunk.data.startswith((b"\\", _COMMIT), end):
        return False
    return was or END_MARKER_LINE.search(chunk.data, 0, end) is not None


class _CountedFile:
    """A stream that counts and hashes what is written to it.

    Attributes:
        hash: SHA-256, for the manifest.
        stored: XXH3-128, to compare with what the disk gives back.
    """

    def __init__(self, stream: Sink) -> None:
        self._stream = stream
        self.bytes = 0
        self.hash = hashlib.sha256()
        self.stored = xxh128()

    def write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        except OSError as error:
            raise write_error(error) from error
        self.bytes += len(data)
        self.hash.update(data)
        self.stored.update(data)
