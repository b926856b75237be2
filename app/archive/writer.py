"""Writes an archive: each segment is hashed, counted and compressed as it passes, touched once.

This is the seam for parallel dumps: whoever reads the database hands over pieces in the archive's order and knows
nothing of frames or digests.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterable
from typing import Protocol

from app.archive.codecs import Compressor, compressor
from app.archive.digest import RowDigest
from app.archive.index import END_MARKER, Index, Segment, TableDigest, TableName
from app.archive.scanner import Head, Piece
from app.domain.backup import Codec
from app.errors import BackupStorageError, BackupWriteError

FRAME_BYTES = 8 << 20  # plain SQL in one frame, at most about this: what a flipped bit can cost
_TAIL_BYTES = 4096  # more than what follows the end marker in any pg_dump


class Sink(Protocol):
    """What an archive is written to: an open binary file, for one."""

    def write(self, data: bytes, /) -> object:
        """Write all of the data, or raise OSError."""


class ArchiveWriter:
    """Writes pieces to `stream`, from its current position, and indexes them.

    Args:
        stream: an open binary file.
        codec, level: how to compress; None means the codec's fast level.
        progress: called with the number of plain bytes taken, now and then.
    """

    def __init__(
        self,
        stream: Sink,
        codec: Codec,
        level: int | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._out = _CountedFile(stream)
        self._new_frame = compressor(codec, level)
        self._progress = progress
        self._segments: list[Segment] = []
        self._digests: dict[TableName, RowDigest] = {}
        self._open: _OpenSegment | None = None
        self._tail = b""

    def add(self, pieces: Iterable[Piece]) -> None:
        """Take pieces in the archive's order; a new head closes the segment before.

        Raises:
            BackupStorageError: the disk is full.
            BackupWriteError: the file cannot be written.
        """
        for piece in pieces:
            if self._open is None or self._open.head is not piece.head:
                self._close_segment()
                self._open = _OpenSegment(piece.head, self._out, self._new_frame)
                if piece.head.table is not None:
                    self._digests.setdefault(piece.head.table, RowDigest())
            self._open.write(piece.data)
            if piece.rows and piece.head.table is not None:
                self._open.count(self._digests[piece.head.table], piece.data)
            self._tail = (
                piece.data[-_TAIL_BYTES:]
                if len(piece.data) >= _TAIL_BYTES
                else (self._tail + piece.data)[-_TAIL_BYTES:]
            )
            self._progress(len(piece.data))

    def finish(self) -> Index:
        """Close the last segment and return the whole index. The stream stays open.

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
            complete=END_MARKER in self._tail,
        )

    def _close_segment(self) -> None:
        if self._open is not None:
            self._segments.append(self._open.close())
            self._open = None


class _CountedFile:
    """A stream that counts and hashes what is written to it."""

    def __init__(self, stream: Sink) -> None:
        self._stream = stream
        self.bytes = 0
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        except OSError as error:
            raise write_error(error) from error
        self.bytes += len(data)
        self.hash.update(data)


class _OpenSegment:
    """A segment in the making: one or more whole frames."""

    def __init__(self, head: Head, out: _CountedFile, new_frame: Callable[[], Compressor]) -> None:
        self.head = head
        self._out = out
        self._offset = out.bytes
        self._new_frame = new_frame
        self._frame = new_frame()
        self._in_frame = 0
        self._raw_bytes = 0
        self._rows = 0
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        if not data:
            return  # a compressor would begin a frame that nobody ends
        self._hash.update(data)
        self._raw_bytes += len(data)
        self._in_frame += len(data)
        self._out.write(self._frame.compress(data))
        if self._in_frame >= FRAME_BYTES:
            self._end_frame()
            self._frame = self._new_frame()

    def count(self, digest: RowDigest, rows: bytes) -> None:
        before = digest.rows
        digest.feed(rows)
        self._rows += digest.rows - before

    def close(self) -> Segment:
        if self._in_frame:
            self._end_frame()
        return Segment(
            kind=self.head.kind,
            table=self.head.table,
            columns=self.head.columns,
            offset=self._offset,
            bytes=self._out.bytes - self._offset,
            raw_bytes=self._raw_bytes,
            rows=self._rows if self.head.table is not None else None,
            sha256=self._hash.hexdigest(),
        )

    def _end_frame(self) -> None:
        self._out.write(self._frame.flush())
        self._in_frame = 0


def write_error(error: OSError) -> BackupStorageError | BackupWriteError:
    """The typed error for a failed write: a full disk is the storage's, all else the file's."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return BackupStorageError(
            f"no space left while writing the backup: {error.strerror}",
            "free space in BACKUP_DIR, or lower the BACKUP_KEEP_* numbers and run 'residency-backup prune'",
        )
    return BackupWriteError(f"the backup cannot be written: {error.strerror or error}", "check the disk of BACKUP_DIR")
