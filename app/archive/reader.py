"""Reads an archive back: proves its bytes against an index, or builds the index of a file that has none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO

from app.archive.codecs import Decoded, decode
from app.archive.index import Index, Segment
from app.archive.scanner import scan
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.errors import BackupReadError, BackupValidationError, DiskReadError

READ_BYTES = 256 << 10  # compressed, so that even an extreme ratio keeps what is held small
_USE_ANOTHER = "do not restore from it: use another backup, and look at the disk that holds this one"


class _HashedFile:
    """The blocks of a file, counted and hashed as they pass."""

    def __init__(self, stream: BinaryIO, progress: Callable[[int], None]) -> None:
        self._stream = stream
        self._progress = progress
        self.bytes = 0
        self.hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                block = self._stream.read(READ_BYTES)
            except OSError as error:
                message = f"the disk cannot read the backup: {error.strerror or error}"
                raise DiskReadError(message, "try again; when it stays, look at that disk") from error
            if not block:
                return
            self.bytes += len(block)
            self.hash.update(block)
            self._progress(len(block))
            yield block


def verify(stream: BinaryIO, index: Index, codec: Codec, progress: Callable[[int], None] = lambda _: None) -> None:
    """Read a whole archive and compare each segment, and the file, with its index.

    Args:
        stream: the file, at its start.
        index: what it should be.
        codec: how it is compressed.
        progress: called with the number of bytes of the file read.

    Raises:
        BackupReadError: it cannot be read or decompressed; names the segment.
        BackupValidationError: it reads, but is not what the index says; names the segment.
    """
    blocks = _HashedFile(stream, progress)
    # A decompressor may take a block and say nothing yet.
    text = (piece.data for piece in decode(blocks, codec) if piece.data)
    left = b""
    for number, segment in enumerate(index.segments, start=1):
        where = f"segment {number} of {len(index.segments)} ({segment})"
        with _naming(where):
            left = _check_segment(segment, left, text, where)
    with _naming("at the end of the last segment, or after it"):
        left = left or next(text, b"")
    if left:
        raise BackupValidationError("there is more in the file than its manifest lists", _USE_ANOTHER)
    if (blocks.bytes, blocks.hash.hexdigest()) != (index.bytes, index.sha256):
        raise BackupValidationError("the file's length or SHA-256 is not what its manifest says", _USE_ANOTHER)


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Say where in the archive an error of the disk or of a decompressor came up."""
    try:
        yield
    except BackupReadError as error:
        raise type(error)(f"{where}: {error.message}", error.hint or _USE_ANOTHER) from error


def _check_segment(segment: Segment, left: bytes, text: Iterator[bytes], where: str) -> bytes:
    """Compare one segment, beginning with what the one before left over; return what this one leaves."""
    digest = hashlib.sha256()
    missing = segment.raw_bytes
    block = left
    while True:
        digest.update(block[:missing])
        if len(block) >= missing:
            break
        missing -= len(block)
        block = next(text, b"")
        if not block:
            raise BackupValidationError(f"{where}: the file ends {missing} bytes too early", _USE_ANOTHER)
    if digest.hexdigest() != segment.sha256:
        raise BackupValidationError(f"{where}: the content is not what was dumped", _USE_ANOTHER)
    return block[missing:]


class _Discard:
    """A file that keeps nothing: the index is all that is wanted."""

    def write(self, data: bytes) -> int:
        return len(data)


def build_index(stream: BinaryIO, codec: Codec, progress: Callable[[int], None] = lambda _: None) -> Index:
    """The index of any plain dump, by reading all of it.

    A segment gets its place in the file only where it begins and ends with a frame, as in the archives of this service.

    Raises:
        BackupReadError: it cannot be read, decompressed or understood.
    """
    blocks = _HashedFile(stream, progress)
    frames: dict[int, int] = {}
    plain = ArchiveWriter(_Discard(), Codec.NONE)
    plain.add(scan(_text_with_frames(decode(blocks, codec), frames)))
    index = plain.finish()
    frames[index.raw_bytes] = blocks.bytes
    segments = index.segments
    if codec is not Codec.NONE:
        segments = tuple(_placed(segment, frames) for segment in segments)
    return replace(index, segments=segments, bytes=blocks.bytes, sha256=blocks.hash.hexdigest())


def _text_with_frames(decoded: Iterator[Decoded], frames: dict[int, int]) -> Iterator[bytes]:
    """Pass the text on, noting which offsets of it begin a frame, and where in the file."""
    at = 0
    for piece in decoded:
        if piece.frame_at is not None:
            frames[at] = piece.frame_at
        at += len(piece.data)
        if piece.data:
            yield piece.data


def _placed(segment: Segment, frames: dict[int, int]) -> Segment:
    """The segment, whose offset counts plain bytes, with its place in the compressed file where it has one."""
    raw = segment.offset or 0
    start, end = frames.get(raw), frames.get(raw + segment.raw_bytes)
    if start is None or end is None:
        return replace(segment, offset=None, bytes=None)
    return replace(segment, offset=start, bytes=end - start)
