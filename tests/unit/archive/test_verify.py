"""A whole archive is verified segment by segment, by several threads, and the first damage is named."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.archive import verify as verifying
from app.archive.codecs import frame_format
from app.archive.digest import Stored
from app.archive.index import Index
from app.archive.reader import build_index
from app.archive.scanner import scan
from app.archive.verify import read_back, verify
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.errors import BackupReadError, BackupValidationError

TABLES = 12
DAMAGE = (BackupReadError, BackupValidationError)


def table(number: int) -> bytes:
    """Rows that hardly compress, 300 KB of them, and a table without any."""
    rows = b"".join(b"%d\n" % value for value in random.Random(number).sample(range(1 << 60), 16_000))
    return b"COPY a%d (v) FROM stdin;\n%s\\.\nCOPY b%d (v) FROM stdin;\n\\.\n" % (number, rows, number)


@pytest.fixture(scope="module")
def text() -> bytes:
    end = b"--\n-- PostgreSQL database dump complete\n--\n"
    return b"SET a = 1;\n" + b"".join(map(table, range(TABLES))) + end


def written(codec: Codec, text: bytes) -> tuple[bytes, Index, Stored]:
    out = io.BytesIO()
    writer = ArchiveWriter(out, codec)
    writer.add(scan([text]))
    index = writer.finish()
    return out.getvalue(), index, writer.stored


@pytest.fixture(scope="module", params=list(Codec))
def made(request: pytest.FixtureRequest, text: bytes) -> tuple[Codec, bytes, Index, Stored]:
    return (request.param, *written(request.param, text))


class Counting(io.BytesIO):
    """A file that counts what is read of it."""

    total = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.total += len(data)
        return data


def checkers() -> list[str]:
    """Threads that check segments."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("segment-checker")]


def test_what_was_written_is_read_once_and_found_right(made: tuple[Codec, bytes, Index, Stored]) -> None:
    codec, data, index, stored = made
    for check in (
        lambda file, progress: verify(file, index, codec, progress),
        lambda file, progress: read_back(file, index, stored, codec, progress),
    ):
        steps: list[int] = []
        file = Counting(data)
        check(file, steps.append)
        assert file.total == sum(steps) == len(data) == index.bytes
        assert not checkers()


@pytest.mark.parametrize("threads", [1, 3])
def test_of_several_damaged_segments_the_first_one_is_named(
    made: tuple[Codec, bytes, Index, Stored], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, data, index, _ = made
    monkeypatch.setattr(verifying.os, "sched_getaffinity", lambda _: set(range(threads)))
    large = [number for number, segment in enumerate(index.segments) if (segment.bytes or 0) > 1000]
    for first in large[::4]:
        broken = bytearray(data)
        for number in large[large.index(first) :]:
            segment = index.segments[number]
            broken[(segment.offset or 0) + (segment.bytes or 0) // 2] ^= 0xFF
        with pytest.raises(DAMAGE, match=rf"segment {first + 1} of {len(index.segments)} "):
            verify(io.BytesIO(broken), index, codec)
        assert not checkers()


def test_little_waits_for_a_thread_that_is_slow(
    made: tuple[Codec, bytes, Index, Stored], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, data, index, _ = made
    bound = 600 << 10
    monkeypatch.setattr(verifying, "WAITING_BYTES", bound)
    file, decode, taken, ahead = Counting(data), verifying.decode_part, [0], [0]

    def slowly(stored: Iterator[bytes], codec: Codec, length: int) -> Iterator[bytes]:
        taken[0] += length
        ahead.append(file.total - taken[0])
        return decode(stored, codec, length)

    monkeypatch.setattr(verifying, "decode_part", slowly)
    verify(file, index, codec)
    assert taken[0] == len(data)
    assert max(ahead) < bound + (3 << 20), "no more than the bound, and what a batch has beyond it"


def test_a_cancel_in_the_middle_ends_all_threads(made: tuple[Codec, bytes, Index, Stored]) -> None:
    codec, data, index, _ = made

    def cancel(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(io.BytesIO(data), index, codec, cancel)
    assert not checkers()


@pytest.mark.parametrize("codec", list(Codec))
def test_what_the_disk_changed_without_harm_to_the_text_is_found_too(codec: Codec, text: bytes) -> None:
    data, index, stored = written(codec, text)
    broken = bytearray(data)
    broken[4 if codec is Codec.GZIP else len(data) // 2] ^= 1  # in a member of gzip: its time
    with pytest.raises(DAMAGE, match="not those that were written" if codec is Codec.GZIP else "segment"):
        read_back(io.BytesIO(broken), index, stored, codec)
    with pytest.raises(DAMAGE):
        verify(io.BytesIO(broken), index, codec)


def test_a_file_whose_segments_have_no_places_is_verified_in_order(text: bytes) -> None:
    pack = frame_format(Codec.ZSTD).pack
    packed = b"".join(pack(text[at : at + 100_000]) for at in range(0, len(text), 100_000))
    index = build_index(io.BytesIO(packed), Codec.ZSTD)
    assert None in {segment.offset for segment in index.segments}
    verify(io.BytesIO(packed), index, Codec.ZSTD)
    with pytest.raises(BackupValidationError, match="SHA-256"):
        verify(io.BytesIO(packed), replace(index, sha256="0" * 64), Codec.ZSTD)


def test_the_threads_that_start_are_enough(
    made: tuple[Codec, bytes, Index, Stored], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, data, index, stored = made
    monkeypatch.setattr(verifying, "_cpus", lambda: 3)
    start, began = threading.Thread.start, threading.active_count()

    def limited(thread: threading.Thread) -> None:
        if threading.active_count() > began:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    read_back(io.BytesIO(data), index, stored, codec)
    assert threading.active_count() == began
