"""Several readers, one order: whatever the timing, parcels come as the ranges stand, and what waits is bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from app.archive.codecs import FrameFormat, frame_format
from app.domain.backup import Codec
from app.postgres.dump import workers as crew_module
from app.postgres.dump.ranges import TableRange, ranges_of
from app.postgres.dump.workers import Workers
from app.postgres.programs import ProgramError
from tests.fix_large_tables import table

ROW = b"a row\n"


class Reader:
    """A reader without a server: `delay` seconds a block, `blocks` of 100 KB a range, an error at range `fails_at`."""

    def __init__(self, delay: float = 0.0, blocks: int = 1, fails_at: int | None = None) -> None:
        self.delay, self.blocks, self.fails_at = delay, blocks, fails_at
        self.given = 0
        self.killed = threading.Event()

    def rows(self, query: bytes) -> Iterator[bytes]:
        if self.fails_at is not None and b"(%d," % self.fails_at in query:
            raise ProgramError("psql failed: connection to server was lost")
        for _ in range(self.blocks):
            if self.killed.wait(self.delay):
                raise ProgramError("psql was ended by signal 9")
            self.given += 100_000
            yield ROW * (100_000 // len(ROW))

    def turn_to(self, table: object) -> None:
        self.at = table

    def finish(self) -> None:
        self.finished = True

    def kill(self) -> None:
        self.killed.set()


def ranges(count: int) -> list[TableRange]:
    return list(ranges_of(table(count * 1024), 140000))


def run(readers: list[Any], wanted: list[TableRange], codec: Codec = Codec.NONE) -> list[bytes]:
    with Workers(readers, wanted, lambda: frame_format(codec)) as workers:
        return [b"".join(packed_segment.frames()) for packed_segment in workers.packed_segments(lambda _: True)]


@pytest.mark.parametrize("delays", [[0.0], [0.0, 0.005], [0.01, 0.0, 0.003]])
def test_parcels_come_in_the_ranges_order_whoever_is_faster(delays: list[float]) -> None:
    texts = run([Reader(delay, blocks=2) for delay in delays], ranges(12))
    rows = ROW * (100_000 // len(ROW)) * 2
    assert texts == [each.opening + rows + b"\\.\n" for each in ranges(12)]


def test_figures_of_a_parcel_are_those_of_its_text() -> None:
    with Workers([Reader(blocks=3)], ranges(1), lambda: frame_format(Codec.ZSTD)) as workers:  # type: ignore[list-item]
        (packed_segment,) = workers.packed_segments(lambda _: True)
        frames = b"".join(packed_segment.frames())
    assert packed_segment.figures.digest is not None
    assert packed_segment.figures.digest.rows == 3 * (100_000 // len(ROW))
    assert len(frames) < packed_segment.figures.raw_bytes


def test_what_waits_for_the_archive_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_module, "WAITING_BYTES", 4 << 20)
    readers = [Reader(blocks=30), Reader(blocks=30)]
    with Workers(readers, ranges(40), lambda: frame_format(Codec.NONE)) as workers:  # type: ignore[arg-type]
        first = next(workers.packed_segments(lambda _: True))
        before = -1
        while sum(each.given for each in readers) != before:  # until nobody goes on
            before = sum(each.given for each in readers)
            time.sleep(0.2)
        assert workers.waiting <= (4 << 20) + 3 * (1 << 20)
        assert before < 12 << 20
        total = sum(map(len, first.frames()))
        total += sum(
            len(b"".join(packed_segment.frames())) for packed_segment in workers.packed_segments(lambda _: True)
        )
    assert total > 40 * 30 * 99_990


@pytest.mark.parametrize("codec", Codec)
def test_one_failed_range_stops_all_and_its_error_is_the_one_raised(codec: Codec) -> None:
    readers = [Reader(0.001, blocks=10, fails_at=5 * 1024) for _ in range(2)]
    with pytest.raises(ProgramError, match="connection to server was lost"):
        run(readers, ranges(500), codec)
    assert all(reader.killed.is_set() for reader in readers)
    assert sum(each.given for each in readers) < 100 * 10 * 100_000


def test_a_thread_that_cannot_begin_fails_the_dump() -> None:
    def broken() -> FrameFormat:
        raise MemoryError("no room for a compressor")

    workers = Workers([Reader()], ranges(3), broken)  # type: ignore[list-item]
    with pytest.raises(MemoryError, match="no room"), workers:
        next(next(workers.packed_segments(lambda _: True)).frames())


def test_ranges_that_nobody_took_are_an_error() -> None:
    with (
        pytest.raises(RuntimeError, match="not all ranges were taken"),
        Workers([Reader()], ranges(3), lambda: frame_format(Codec.NONE)),  # type: ignore[list-item]
    ):
        pass


def test_who_leaves_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    with (
        pytest.raises(KeyboardInterrupt),
        Workers([Reader(0.01, blocks=1000), Reader(0.01, blocks=1000)], ranges(9), lambda: frame_format(Codec.NONE)),  # type: ignore[list-item]
    ):
        raise KeyboardInterrupt
    assert threading.active_count() == before
