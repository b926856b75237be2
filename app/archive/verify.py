"""Verifies a whole archive: on all CPUs, while the file is read once, from its first byte to its last.

One thread reads the file and hashes what is stored. The others take *batches* of consecutive segments; they decompress
them, and compare their plain bytes with the index. What was read and waits for them is bounded.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import BinaryIO, Self

from app.archive.codecs import decode, decode_part
from app.archive.digest import Hash, Stored, hash_of, is_proven, xxh128
from app.archive.index import Index, Segment
from app.archive.reader import (
    USE_ANOTHER,
    HashedFile,
    blocks_of,
    naming,
    place_of,
    placed,
    proven,
    text_with_frames,
)
from app.domain.backup import Codec
from app.errors import BackupValidationError

WAITING_BYTES = 8 << 20  # stored bytes that were read, and wait to be decompressed
_BATCH_BYTES = 1 << 20  # stored: a smaller one costs more to hand over than it takes
_MOST_THREADS = 16
_OTHER_FILE = "the file's length or SHA-256 is not what its manifest says"
Progress = Callable[[int], None]


def verify(stream: BinaryIO, index: Index, codec: Codec, progress: Progress = lambda _: None) -> None:
    """Read a whole archive, and compare the file and each segment with the index.

    Args:
        stream: the file, at its start.
        index: what the file should be.
        codec: how it is compressed.
        progress: called with the number of bytes of the file read.

    Raises:
        BackupReadError: it cannot be read or decompressed; names the segment.
        BackupValidationError: its content is not what the index says; names the segment.
    """
    if not _fills_file(index):
        _verify_in_order(stream, index, codec, progress)
        return
    length, digest = _verify_segments(stream, index, codec, progress, hashlib.sha256())
    if (length, digest) != (index.bytes, index.sha256):
        raise BackupValidationError(_OTHER_FILE, USE_ANOTHER)


def read_back(
    stream: BinaryIO, index: Index, stored: Stored, codec: Codec, progress: Progress = lambda _: None
) -> None:
    """Read a file that was just written, and compare it with what was written, and each segment with its source.

    The SHA-256 is not computed again: it is of the bytes that were written, and those are compared by their XXH3-128,
    which finds every error of a disk and takes a tenth of the time.

    Raises:
        BackupReadError, BackupValidationError: as `verify`.
    """
    if _verify_segments(stream, index, codec, progress, xxh128()) != (stored.bytes, stored.xxh128):
        raise BackupValidationError("the file's bytes are not those that were written", USE_ANOTHER)


def _fills_file(index: Index) -> bool:
    """Whether the segments have places, one after the other from the beginning of the file to its end."""
    at = 0
    for segment in index.segments:
        if segment.offset != at or segment.bytes is None:
            return False
        at += segment.bytes
    return at == index.bytes


def _verify_segments(stream: BinaryIO, index: Index, codec: Codec, progress: Progress, stored: Hash) -> tuple[int, str]:
    """Compare each segment; return length and digest of the file. Its segments must fill it."""
    length = 0
    batches = list(_batches(index.segments))
    with _Checkers(codec, len(index.segments), min(_cpus(), len(batches))) as checkers:
        for batch in batches:
            checkers.take(batch)
            for block in _read(stream, batch, len(index.segments)):
                stored.update(block)
                length += len(block)
                progress(len(block))
                if not checkers.give(batch, block):
                    break
            checkers.end(batch)
            if checkers.failed:
                break
    with naming("at the end of the last segment, or after it"):
        more = next(blocks_of(stream, 1), b"")
    if more:
        raise BackupValidationError("there is more in the file than its manifest lists", USE_ANOTHER)
    return length, stored.hexdigest()


@dataclass(slots=True)
class _Batch:
    """Consecutive segments.

    Attributes:
        first: number of the first one.
        segments: all of them.
        blocks: what is stored of them, as far as it was read and not taken.
        ended: whether no more blocks will come.
    """

    first: int
    segments: list[Segment]
    blocks: deque[bytes] = field(default_factory=deque)
    ended: bool = False


def _batches(segments: Sequence[Segment]) -> Iterator[_Batch]:
    batch, size = _Batch(0, []), 0
    for number, segment in enumerate(segments):
        batch.segments.append(segment)
        size += segment.bytes or 0
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = _Batch(number + 1, []), 0
    if batch.segments:
        yield batch


def _read(stream: BinaryIO, batch: _Batch, count: int) -> Iterator[bytes]:
    """What is stored of a batch, in blocks; fewer if the file ends. An error of the disk names the segment."""
    for number, segment in enumerate(batch.segments, start=batch.first):
        with naming(place_of(segment, number, count)):
            yield from blocks_of(stream, segment.bytes)


def _cpus() -> int:
    return min(len(os.sched_getaffinity(0)), _MOST_THREADS)


class _Checkers:
    """Threads that decompress and compare batches. A context manager, which waits for them.

    Its end raises the error of the first segment that is wrong, in the order of the file.
    """

    def __init__(self, codec: Codec, count: int, threads: int) -> None:
        self._codec = codec
        self._count = count
        self._state = threading.Condition()
        self._batches: deque[_Batch] = deque()
        self._waiting = 0
        self._closed = False
        self._unwanted = False
        self.failed: list[tuple[int, BaseException]] = []
        self._threads = [
            threading.Thread(target=self._run, name=f"segment-checker-{number}", daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> Self:
        started: list[threading.Thread] = []
        for thread in self._threads:
            try:
                thread.start()
            except RuntimeError:  # the limit of threads of the container or user
                if not started:
                    raise
                break
            started.append(thread)
        self._threads = started
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._state:
            self._closed = True
            self._unwanted = error is not None
            self._state.notify_all()
        for thread in self._threads:
            thread.join()
        if error is None and self.failed:
            raise min(self.failed, key=lambda failure: failure[0])[1]

    def take(self, batch: _Batch) -> None:
        """Let a thread begin with a batch. Batches are taken in the order of the file."""
        with self._state:
            self._batches.append(batch)
            self._state.notify_all()

    def give(self, batch: _Batch, block: bytes) -> bool:
        """Give the batch that was taken last its next bytes, if there is room; False if a segment is wrong."""
        with self._state:
            self._state.wait_for(lambda: self._waiting < WAITING_BYTES or self.failed)
            if self.failed:
                return False
            batch.blocks.append(block)
            self._waiting += len(block)
            self._state.notify_all()
            return True

    def end(self, batch: _Batch) -> None:
        """Say that all bytes of a batch were given."""
        with self._state:
            batch.ended = True
            self._state.notify_all()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            stored = _Cut(self._blocks(batch))
            for number, segment in enumerate(batch.segments, start=batch.first):
                try:
                    self._check(segment, place_of(segment, number, self._count), stored)
                except BaseException as error:  # noqa: BLE001 -- it is raised in the thread that reads the file
                    with self._state:
                        self.failed.append((number, error))
                        self._state.notify_all()
                    break

    def _check(self, segment: Segment, where: str, stored: _Cut) -> None:
        with naming(where):
            length = segment.bytes or 0
            for _ in proven(segment, decode_part(stored.take(length), self._codec, length), where):
                pass

    def _next_batch(self) -> _Batch | None:
        with self._state:
            self._state.wait_for(lambda: self._batches or self._closed)
            return None if self._unwanted or not self._batches else self._batches.popleft()

    def _blocks(self, batch: _Batch) -> Iterator[bytes]:
        while True:
            with self._state:
                self._state.wait_for(lambda: batch.blocks or batch.ended or self._unwanted)
                if self._unwanted or not batch.blocks:
                    return
                block = batch.blocks.popleft()
                self._waiting -= len(block)
                self._state.notify_all()
            yield block


class _Cut:
    """Blocks, cut where the segments end."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._left = b""

    def take(self, length: int) -> Iterator[bytes]:
        """The next `length` bytes; fewer if the blocks end."""
        while length > 0 and (block := self._left or next(self._blocks, b"")):
            taken, self._left = block[:length], block[length:]
            length -= len(taken)
            yield taken


def _verify_in_order(stream: BinaryIO, index: Index, codec: Codec, progress: Progress) -> None:
    """Compare a file whose segments cannot be read by themselves, such as one that another program compressed."""
    blocks = HashedFile(stream, progress)
    frames: dict[int, int] = {}
    text = text_with_frames(decode(blocks, codec), frames)
    left = b""
    for number, segment in enumerate(index.segments):
        where = place_of(segment, number, len(index.segments))
        with naming(where):
            left = _check_segment(segment, left, text, where)
    with naming("at the end of the last segment, or after it"):
        left = left or next(text, b"")
    if left:
        raise BackupValidationError("there is more in the file than its manifest lists", USE_ANOTHER)
    if (blocks.bytes, blocks.hash.hexdigest()) != (index.bytes, index.sha256):
        raise BackupValidationError(_OTHER_FILE, USE_ANOTHER)
    frames[index.raw_bytes] = blocks.bytes
    _require_places(index, None if codec is Codec.NONE else frames)


def _require_places(index: Index, frames: dict[int, int] | None) -> None:
    """Check the places of the segments: a restore seeks to them, but here the file was read from start to end."""
    raw = 0
    for number, segment in enumerate(index.segments):
        here = replace(segment, offset=raw, bytes=segment.raw_bytes)
        if segment.offset is not None and segment != (here if frames is None else placed(here, frames)):
            message = f"{place_of(segment, number, len(index.segments))} is not at the place in the manifest"
            raise BackupValidationError(message, "somebody changed the manifest: use another backup")
        raw += segment.raw_bytes


def _check_segment(segment: Segment, left: bytes, text: Iterator[bytes], where: str) -> bytes:
    """Compare one segment.

    Args:
        segment: as the index has it.
        left: bytes that were read with the segment before.
        text: the bytes after those.
        where: names the segment in errors.

    Returns:
        Bytes that were read and belong to the next segment.
    """
    digest = hash_of(segment)
    missing = segment.raw_bytes
    block = left
    while True:
        digest.update(block[:missing])
        if len(block) >= missing:
            break
        missing -= len(block)
        block = next(text, b"")
        if not block:
            raise BackupValidationError(f"{where}: the file ends {missing} bytes too early", USE_ANOTHER)
    if not is_proven(segment, digest):
        raise BackupValidationError(f"{where}: the content is not what was dumped", USE_ANOTHER)
    return block[missing:]
