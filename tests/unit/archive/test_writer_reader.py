"""An archive proves itself: what was written is read back, and any damage is found."""

from __future__ import annotations

import io
import subprocess
import tracemalloc
from collections.abc import Iterator

import pytest
import zstandard

from app.archive import codecs
from app.archive.codecs import LEVELS
from app.archive.index import SegmentKind, TableName
from app.archive.reader import build_index
from app.archive.scanner import Chunk, SegmentHeader, scan
from app.archive.verify import verify
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from tests.fix_small_dump import DUMP, write


def unpack(codec: Codec, data: bytes) -> bytes:
    """What the stock programs make of it."""
    if codec is Codec.GZIP:
        return subprocess.run(["gzip", "-dc"], input=data, capture_output=True, check=True).stdout
    if codec is Codec.ZSTD:
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    return data


@pytest.mark.parametrize(("codec", "level"), [(codec, level) for codec in Codec for level in LEVELS[codec][::3]])
def test_what_was_written_is_read_back_here_and_by_the_stock_program(codec: Codec, level: int) -> None:
    data, index = write(codec, level=level)
    assert unpack(codec, data) == DUMP
    verify(io.BytesIO(data), index, codec)


def test_the_index_says_what_stands_where() -> None:
    data, index = write(Codec.NONE)
    assert [each.kind for each in index.segments] == [
        SegmentKind.BEFORE,
        SegmentKind.DATA,
        SegmentKind.DATA,
        SegmentKind.DATA,
        SegmentKind.SEQUENCES,
        SegmentKind.AFTER,
    ]
    assert [(each.table, each.rows) for each in index.tables] == [
        (TableName("public", "a"), 2),
        (TableName("public", "e"), 2),
        (TableName("public", "n"), 0),
    ]
    assert (index.rows, index.complete, index.bytes, index.raw_bytes) == (4, True, len(data), len(DUMP))
    assert [each.rows for each in index.segments if each.table] == [2, 2, 0]


@pytest.mark.parametrize("codec", Codec)
def test_each_segment_can_be_read_by_itself(codec: Codec) -> None:
    data, index = write(codec)
    text = b""
    for each in index.segments:
        assert each.offset is not None
        assert each.bytes is not None
        text += unpack(codec, data[each.offset : each.offset + each.bytes])
    assert text == DUMP


MARKER = b"-- PostgreSQL database dump complete"
ENDS = {
    b"--\n" + MARKER + b"\n--\n\n\\unrestrict aBc\n\n": True,
    b"--\r\n" + MARKER + b"\r\n--\r\n": True,
    MARKER: True,
    MARKER + b"\n" + b"-- padding\n" * 1000: True,
    b"COMMENT ON TABLE a IS '" + MARKER + b"';\n": False,
    b"COMMENT ON TABLE a IS '\n" + MARKER + b"\n';\n": False,
    b"COMMENT ON TABLE a IS '\n" + MARKER + b"\n": False,
    b"COPY a (x) FROM stdin;\n" + MARKER + b"\n\\.\n": False,
    b"-- Name: " + MARKER + b"; Type: COMMENT\n": False,
    MARKER + b"\nCREATE TABLE b ();\n": False,
    b"BEGIN;\n" + MARKER + b"\n\nCOMMIT;\n": True,
    b"COMMIT;\n": False,
    b"RESET ALL;\n": True,
    MARKER + b"\n\nRESET ALL;\n": True,
    b"RESET ALL;\nCREATE TABLE b ();\n": False,
    b"COMMENT ON TABLE a IS 'RESET ALL;';\n": False,
    MARKER + b"\n\nCREATE TABLE b ();\n" + MARKER + b"\n": True,
    MARKER + b"\n\nCOPY a (x) FROM stdin;\n1\n\\.\n": False,
}


@pytest.mark.parametrize("end", ENDS)
def test_a_dump_is_complete_where_nothing_but_its_end_follows(end: bytes) -> None:
    assert write(Codec.NONE, b"CREATE TABLE a (x int);\n" + end)[1].complete is ENDS[end]


def test_a_dump_without_its_end_is_not_complete() -> None:
    assert not write(Codec.NONE, DUMP[: DUMP.index(b"-- PostgreSQL database dump complete")])[1].complete


def test_a_table_in_several_blocks_has_one_digest_and_many_segments() -> None:
    once = write(Codec.NONE, b"COPY t FROM stdin;\n1\n2\n3\n\\.\n")[1]
    twice = write(Codec.NONE, b"COPY t FROM stdin;\n3\n\\.\nCOPY t FROM stdin;\n1\n2\n\\.\n")[1]
    assert once.tables == twice.tables
    assert [each.rows for each in twice.segments] == [1, 2]


@pytest.mark.parametrize("codec", Codec)
def test_pieces_cut_anywhere_give_the_same_index(codec: Codec) -> None:
    expected = write(Codec.NONE)[1]
    for size in (1, 3, 1000):
        out = io.BytesIO()
        archive = ArchiveWriter(out, codec)
        archive.add(scan(DUMP[at : at + size] for at in range(0, len(DUMP), size)))
        index = archive.finish()
        assert index.tables == expected.tables
        assert [each.xxh128 for each in index.segments] == [each.xxh128 for each in expected.segments]
        verify(io.BytesIO(out.getvalue()), index, codec)


@pytest.mark.parametrize("codec", Codec)
def test_large_segments_are_several_frames(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_FAST_FRAME_BYTES", 1000)
    monkeypatch.setattr(codecs, "_SLOW_FRAME_BYTES", 1000)
    text = b"COPY t FROM stdin;\n" + b"a row\n" * 5000 + b"\\.\n"
    for size in (10, 100, 999, 5000):
        out = io.BytesIO()
        archive = ArchiveWriter(out, codec)
        archive.add(scan(text[at : at + size] for at in range(0, len(text), size)))
        index = archive.finish()
        verify(io.BytesIO(out.getvalue()), index, codec)
        assert unpack(codec, out.getvalue()) == text
        assert build_index(io.BytesIO(out.getvalue()), codec) == index


@pytest.mark.parametrize(("codec", "level"), [(codec, level) for codec in Codec for level in LEVELS[codec][::3]])
def test_empty_pieces_leave_no_trace(codec: Codec, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_FAST_FRAME_BYTES", 2)
    monkeypatch.setattr(codecs, "_SLOW_FRAME_BYTES", 2)
    header, other = SegmentHeader(SegmentKind.BEFORE), SegmentHeader(SegmentKind.AFTER)
    parts = [(header, b""), (header, b"ab"), (header, b""), (other, b""), (other, b"c"), (other, b"")]
    out = io.BytesIO()
    archive = ArchiveWriter(out, codec, level)
    archive.add(Chunk(each, data) for each, data in parts)
    index = archive.finish()
    verify(io.BytesIO(out.getvalue()), index, codec)
    assert unpack(codec, out.getvalue()) == b"abc"


@pytest.mark.parametrize("codec", Codec)
def test_an_empty_archive_is_empty(codec: Codec) -> None:
    data, index = write(codec, b"")
    assert (data, index.segments, index.complete) == (b"", (), False)
    verify(io.BytesIO(data), index, codec)


def test_progress_counts_what_was_written_and_what_was_read() -> None:
    written: list[int] = []
    out = io.BytesIO()
    archive = ArchiveWriter(out, Codec.GZIP, progress=written.append)
    archive.add(scan([DUMP]))
    index = archive.finish()
    read: list[int] = []
    verify(io.BytesIO(out.getvalue()), index, Codec.GZIP, read.append)
    assert (sum(written), sum(read)) == (index.raw_bytes, index.bytes)


@pytest.mark.parametrize("codec", Codec)
def test_verifying_a_well_compressed_archive_takes_bounded_memory(codec: Codec) -> None:
    out = io.BytesIO()
    archive = ArchiveWriter(out, codec)

    def blocks() -> Iterator[bytes]:
        yield b"COPY t FROM stdin;\n"
        for _ in range(600):
            yield b"the same row again and again\n" * 4096
        yield b"\\.\n"

    archive.add(scan(blocks()))
    index = archive.finish()
    out.seek(0)
    tracemalloc.start()
    try:
        verify(out, index, codec)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert index.raw_bytes > 60 << 20
    assert peak < 40 << 20
