"""Workers read the ranges of a dump in parallel; the packed ranges are written in order.

Each worker thread drives one reader: it takes the next range, reads it, and packs it. The archive takes the packed
ranges one after the other. The size of what waits for that is bounded: a worker that is ahead waits, except the one
whose range the archive is taking, which must go on for the others to get room.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from app.archive.codecs import FrameFormat
from app.archive.packer import Packer, SegmentFigures
from app.postgres.dump.range_reader import RangeReader
from app.postgres.dump.ranges import TableRange
from app.postgres.oversized_rows import is_too_long, with_command
from app.postgres.programs import ProgramError

WAITING_BYTES = 16 << 20  # packed, of all segments together
_CLOSING = b"\\.\n"


class Workers:
    """Worker threads for the ranges of a dump. A context manager, which ends all of them.

    Attributes:
        readers: one for each thread.
    """

    def __init__(
        self, readers: Sequence[RangeReader], ranges: Sequence[TableRange], frame_format: Callable[[], FrameFormat]
    ) -> None:
        self.readers = readers
        self._frame_format = frame_format
        self._packed_ranges = [_PackedRange(self, part) for part in ranges]
        self._unclaimed = iter(self._packed_ranges)
        self._untaken = deque(self._packed_ranges)
        self.state = threading.Condition()
        self.waiting = 0
        self.failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, args=(reader,), name=f"range-reader-{number}", daemon=True)
            for number, reader in enumerate(readers)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None or self._untaken:
            self.fail(error or RuntimeError("not all ranges were taken"))
            for reader in self.readers:
                reader.kill()
        for thread in self._threads:
            thread.join()
        if error is None and self.failure:
            raise self.failure
        if not self.failure:
            for reader in self.readers:
                reader.finish()

    def packed_segments(self, until: Callable[[TableRange], bool]) -> Iterator[_PackedRange]:
        """The next segments in order, as long as their ranges are wanted."""
        while self._untaken and until(self._untaken[0].range):
            yield self._untaken.popleft()

    def fail(self, error: BaseException) -> None:
        """Stop all threads. The first error is kept."""
        with self.state:
            self.failure = self.failure or error
            self.state.notify_all()

    def _work(self, reader: RangeReader) -> None:
        try:
            frame_format = self._frame_format()
            while (packed_range := self._claim()) is not None:
                if packed_range.range.of.kept is None:
                    reader.turn_to(packed_range.range.of)
                packed_range.fill(reader, frame_format)
            reader.turn_to(None)
        except BaseException as error:  # noqa: BLE001 -- it is raised in the thread that writes the archive
            self.fail(error)

    def _claim(self) -> _PackedRange | None:
        with self.state:
            return None if self.failure else next(self._unclaimed, None)


class _PackedRange:
    """One range on its way into the archive: see `app.archive.writer.PackedSegment`."""

    def __init__(self, workers: Workers, range_: TableRange) -> None:
        self.range = range_
        self._workers = workers
        self._frames: deque[bytes] = deque()
        self._taken = False
        self._figures: SegmentFigures | None = None

    def fill(self, reader: RangeReader, frame_format: FrameFormat) -> None:
        """Read and pack the range."""
        packer = Packer(self.range.header, frame_format)
        self._put(packer.take(self.range.opening))
        kept = self.range.of.kept
        for block in self._rows(reader) if kept is None else kept:
            self._put(packer.take(block, rows=True))
        self._put(packer.take(_CLOSING))
        self._put(packer.finish())
        with self._workers.state:
            self._figures = packer.figures
            self._workers.state.notify_all()

    def _rows(self, reader: RangeReader) -> Iterator[bytes]:
        try:
            yield from reader.rows(self.range.query)
        except ProgramError as error:  # its message may name files, but not the table
            table = self.range.of
            message = f"table {table.table}: {error.message}"
            if is_too_long(message):
                message = with_command(message, table.whole.decode(errors="replace"))
            named = ProgramError(message)
            named.code = error.code
            raise named from error

    def frames(self) -> Iterator[bytes]:
        """Its frames in order, as they get ready.

        Raises:
            Exception: the failure that stopped the workers.
        """
        self._taken = True
        while (frame := self._next()) is not None:
            yield frame

    @property
    def figures(self) -> SegmentFigures:
        """Its figures, after the last frame."""
        if self._figures is None:
            raise RuntimeError("the range is still being read")
        return self._figures

    def _put(self, frames: Iterator[bytes]) -> None:
        state = self._workers.state
        for frame in frames:
            with state:
                state.wait_for(self._has_room)
                if self._workers.failure:
                    raise self._workers.failure
                self._frames.append(frame)
                self._workers.waiting += len(frame)
                state.notify_all()

    def _has_room(self) -> bool:
        workers = self._workers
        # The range that the archive takes must go on, however much waits: nothing else makes room.
        return bool(workers.failure) or workers.waiting < WAITING_BYTES or (self._taken and not self._frames)

    def _next(self) -> bytes | None:
        state = self._workers.state
        with state:
            state.notify_all()  # this range may have waited for the archive to take it
            state.wait_for(lambda: self._frames or self._figures or self._workers.failure)
            if self._workers.failure:
                raise self._workers.failure
            if not self._frames:
                return None
            frame = self._frames.popleft()
            self._workers.waiting -= len(frame)
            state.notify_all()
            return frame
