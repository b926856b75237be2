"""Reads an archive: one segment, one table, or all of it; and makes the index of a file without one."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import accumulate, chain, groupby
from typing import BinaryIO

from app.archive.codecs import DecodedChunk, decode, decode_part
from app.archive.digest import hash_of, is_proven
from app.archive.index import Index, Segment, SegmentKind, TableName
from app.archive.kept_text import KeptText
from app.archive.scanner import Chunk, scan
from app.archive.sequential import SequentialReader
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.errors import BackupError, BackupReadError, BackupValidationError
from app.os_errors import read_error

READ_BYTES = 256 << 10  # compressed: even at an extreme ratio the plain bytes in memory stay few
USE_ANOTHER = "do not restore from it: use another backup, and look at the disk that holds this one"


class HashedFile:
    """The blocks of a file, counted and hashed while they are read."""

    def __init__(self, stream: BinaryIO, progress: Callable[[int], None]) -> None:
        self._stream = stream
        self._progress = progress
        self.bytes = 0
        self.hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for block in blocks_of(self._stream):
            self.bytes += len(block)
            self.hash.update(block)
            self._progress(len(block))
            yield block


def blocks_of(stream: BinaryIO, limit: int | None = None) -> Iterator[bytes]:
    """The next `limit` bytes of a file, or all of them, in blocks; fewer if the file ends."""
    while limit is None or limit > 0:
        try:
            block = stream.read(READ_BYTES if limit is None else min(READ_BYTES, limit))
        except OSError as error:
            raise read_error("the backup", error) from error
        if not block:
            return
        if limit is not None:
            limit -= len(block)
        yield block


class Archive:
    """An archive whose parts can be read any number of times, from any thread, because each read opens the file.

    Args:
        open_: opens the file at its start.
        codec: how it is compressed.
        index: of the file.
        kept: text of it that was kept already.
        damaged: makes the error to raise of that of a segment which cannot be read, or is not what the index says.

    Attributes:
        seekable: whether each segment can be read by itself; false for a compressed file of another program.
        proven: numbers of the segments that were read to their end, and are what the index says.
        linted: remarks of the lint, by whether it has looked at rows too; empty if it has not been linted yet.
    """

    def __init__(
        self,
        open_: Callable[[], BinaryIO],
        codec: Codec,
        index: Index,
        *,
        kept: KeptText | None = None,
        damaged: Callable[[BackupError], Exception] | None = None,
    ) -> None:
        self._open = open_
        self._kept = kept or KeptText()
        self._damaged = damaged
        self.proven: set[int] = set()
        self.linted: dict[bool, list[str]] = {}
        self.codec = codec
        self._numbers = {id(segment): number for number, segment in enumerate(index.segments)}  # two may be equal
        self._starts = list(accumulate((segment.raw_bytes for segment in index.segments), initial=0))
        self._of_tables: dict[TableName | None, list[Segment]] = defaultdict(list)
        for segment in index.segments:
            self._of_tables[segment.table].append(segment)
        self._sequential = SequentialReader(open_, self._text)
        self.index = index
        self.seekable = all(segment.offset is not None for segment in index.segments)

    def segments_of(self, table: TableName) -> list[Segment]:
        """The segments of a table's data, in the order of the file; none for an unknown table."""
        return list(self._of_tables.get(table, ()))

    def in_order(self, segments: Iterable[Segment]) -> list[Segment]:
        """Some segments, in the order of the file."""
        return sorted(segments, key=lambda segment: self._numbers[id(segment)])

    def runs(self) -> Iterator[tuple[bool, list[Segment]]]:
        """Consecutive segments that are linted and loaded together: all of them data (True), or all SQL (False)."""
        for is_data, run in groupby(self.index.segments, lambda segment: segment.kind is SegmentKind.DATA):
            yield is_data, list(run)

    def joined(self, segments: Iterable[Segment]) -> Iterator[bytes]:
        """The plain SQL of some segments.

        Raises:
            BackupReadError, BackupValidationError: as `text`.
        """
        return chain.from_iterable(self.text(segment) for segment in segments)

    def read_table(self, table: TableName) -> Iterator[bytes]:
        """The COPY blocks of one table; of a seekable archive nothing else is read.

        Raises:
            BackupReadError, BackupValidationError: as `text`.
        """
        return self.joined(self.segments_of(table))

    def text(self, segment: Segment) -> Iterator[bytes]:
        """The plain SQL of one segment, in bounded memory. Its digest is compared after the last block.

        The SQL of a schema is read, and compared, before any of it is given: `app.archive.kept_text`.

        Raises:
            BackupReadError: it cannot be read or decompressed; names the segment.
            BackupValidationError: its content is not what the index says; names the segment.
        """
        number = self._numbers[id(segment)]
        yield from self._kept.text(number, segment, lambda: self._read(number, segment))

    def _read(self, number: int, segment: Segment) -> Iterator[bytes]:
        where = place_of(segment, number, len(self._numbers))
        try:
            with naming(where):
                if segment.offset is None or segment.bytes is None:
                    text = self._sequential.read(self._starts[number], segment.raw_bytes)
                    yield from proven(segment, text, where)
                else:
                    with self._open() as stream:
                        stream.seek(segment.offset)
                        stored = blocks_of(stream, segment.bytes)
                        yield from proven(segment, decode_part(stored, self.codec, segment.bytes), where)
        except (BackupReadError, BackupValidationError) as error:
            told = error if self._damaged is None else self._damaged(error)
            if told is error:
                raise
            raise told from error
        self.proven.add(number)

    def whole(self) -> Iterator[bytes]:
        """The plain SQL of the whole file. Its digests are not compared.

        Raises:
            BackupReadError: it cannot be read or decompressed.
        """
        with self._open() as stream:
            yield from self._text(stream)

    def _text(self, stream: BinaryIO) -> Iterator[bytes]:
        return (chunk.data for chunk in decode(blocks_of(stream), self.codec) if chunk.data)


def place_of(segment: Segment, number: int, count: int) -> str:
    """A segment for a message, with its number, which counts from 0."""
    return f"segment {number + 1} of {count} ({segment})"


def proven(segment: Segment, text: Iterator[bytes], where: str) -> Iterator[bytes]:
    """Pass the text of a segment on, and compare it with the index after the last block.

    Raises:
        BackupValidationError: it differs.
    """
    digest = hash_of(segment)
    length = 0
    for block in text:
        digest.update(block)
        length += len(block)
        yield block
    if length != segment.raw_bytes:
        message = f"{where}: {length} bytes instead of {segment.raw_bytes}"
        raise BackupValidationError(message, USE_ANOTHER)
    if not is_proven(segment, digest):
        raise BackupValidationError(f"{where}: the content is not what was dumped", USE_ANOTHER)


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Add the place in the archive to errors of the disk or of the decompressor."""
    try:
        yield
    except BackupReadError as error:
        raise type(error)(f"{where}: {error.message}", error.hint or USE_ANOTHER) from error


class _Discard:
    """A stream that drops what is written to it, because only the index is wanted."""

    def write(self, data: bytes) -> int:
        return len(data)


def build_index(
    stream: BinaryIO,
    codec: Codec,
    progress: Callable[[int], None] = lambda _: None,
    look: Callable[[Chunk], None] | None = None,
) -> Index:
    """Make the index of any plain dump, by reading all of it.

    A segment gets a place in the file only if it begins and ends with a frame, as in archives of this service.

    Args:
        stream: the file, at its start.
        codec: how it is compressed.
        progress: called with the number of bytes of the file read.
        look: called with each chunk.

    Raises:
        BackupReadError: it cannot be read, decompressed or understood.
    """
    blocks = HashedFile(stream, progress)
    frames: dict[int, int] = {}
    plain = ArchiveWriter(_Discard(), Codec.NONE)
    chunks = scan(text_with_frames(decode(blocks, codec), frames))
    plain.add(chunks if look is None else _looked_at(chunks, look))
    index = plain.finish()
    frames[index.raw_bytes] = blocks.bytes
    segments = index.segments
    if codec is not Codec.NONE:
        segments = tuple(placed(segment, frames) for segment in segments)
    return replace(index, segments=segments, bytes=blocks.bytes, sha256=blocks.hash.hexdigest())


def _looked_at(chunks: Iterable[Chunk], look: Callable[[Chunk], None]) -> Iterator[Chunk]:
    for chunk in chunks:
        look(chunk)
        yield chunk


def text_with_frames(decoded: Iterator[DecodedChunk], frames: dict[int, int]) -> Iterator[bytes]:
    """Yield the text, and note for each frame its offset in the text and in the file."""
    at = 0
    for chunk in decoded:
        if chunk.frame_at is not None:
            frames[at] = chunk.frame_at
        at += len(chunk.data)
        if chunk.data:
            yield chunk.data


def placed(segment: Segment, frames: dict[int, int]) -> Segment:
    """The segment, whose offset counts plain bytes, with its place in the compressed file if it has one."""
    raw = segment.offset or 0
    start, end = frames.get(raw), frames.get(raw + segment.raw_bytes)
    if start is None or end is None:
        return replace(segment, offset=None, bytes=None)
    return replace(segment, offset=start, bytes=end - start)
