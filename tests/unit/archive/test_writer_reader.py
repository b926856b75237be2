"""An archive proves itself: what was written is read back, and any damage is found."""

from __future__ import annotations

import errno
import gzip
import io
import os
import subprocess
import tracemalloc
from collections.abc import Iterator

import pytest
import zstandard

from app.archive import codecs
from app.archive.codecs import LEVELS
from app.archive.index import Index, SegmentKind, TableName
from app.archive.reader import build_index, verify
from app.archive.scanner import Chunk, SegmentHeader, scan
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.errors import BackupReadError, BackupStorageError, BackupValidationError, BackupWriteError

DUMP = b"""--
-- PostgreSQL database dump
--

SET client_encoding = 'UTF8';
CREATE TABLE public.a (x int, y text);

--
-- Data for Name: a; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.a (x, y) FROM stdin;
1\tone
2\t\\\\.
\\.


--
-- Data for Name: e; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.e () FROM stdin;


\\.


--
-- Data for Name: n; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.n (x) FROM stdin;
\\.


--
-- Name: s; Type: SEQUENCE SET; Schema: public; Owner: -
--

SELECT pg_catalog.setval('public.s', 1, true);


--
-- Name: a a_pkey; Type: CONSTRAINT; Schema: public; Owner: -
--

ALTER TABLE ONLY public.a ADD PRIMARY KEY (x);


--
-- PostgreSQL database dump complete
--

"""
PACKED = [Codec.GZIP, Codec.ZSTD]
DAMAGE = (BackupReadError, BackupValidationError)


def write(codec: Codec, text: bytes = DUMP, level: int | None = None) -> tuple[bytes, Index]:
    out = io.BytesIO()
    archive = ArchiveWriter(out, codec, level)
    archive.add(scan([text]))
    index = archive.finish()
    return out.getvalue(), index


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
        assert [each.sha256 for each in index.segments] == [each.sha256 for each in expected.segments]
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


# Damage


def flips(data: bytes) -> Iterator[bytes]:
    broken = bytearray(data)
    for at in range(len(data)):
        for bit in range(8):
            broken[at] ^= 1 << bit
            yield bytes(broken)
            broken[at] ^= 1 << bit


@pytest.mark.parametrize("codec", Codec)
def test_every_flipped_bit_is_found(codec: Codec) -> None:
    data, index = write(codec)
    for broken in flips(data):
        with pytest.raises(DAMAGE) as caught:
            verify(io.BytesIO(broken), index, codec)
        assert caught.value.hint
        assert "segment" in caught.value.message or "manifest" in caught.value.message


@pytest.mark.parametrize("codec", Codec)
def test_every_truncation_is_found(codec: Codec) -> None:
    data, index = write(codec)
    for end in range(len(data)):
        with pytest.raises(DAMAGE):
            verify(io.BytesIO(data[:end]), index, codec)


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize(
    "garbage", [b"\0", b"\n", b"SELECT 1;\n", b"\0" * 1000, gzip.compress(b"", mtime=0), gzip.compress(b"x", mtime=0)]
)
def test_appended_garbage_is_found(codec: Codec, garbage: bytes) -> None:
    data, index = write(codec)
    with pytest.raises(DAMAGE) as caught:
        verify(io.BytesIO(data + garbage), index, codec)
    assert caught.value.hint


def test_an_appended_empty_zstd_frame_is_found() -> None:
    data, index = write(Codec.ZSTD)
    for garbage in (zstandard.ZstdCompressor().compress(b""), b"\x50\x2a\x4d\x18\x01\x00\x00\x00x"):
        with pytest.raises(DAMAGE):
            verify(io.BytesIO(data + garbage), index, Codec.ZSTD)


@pytest.mark.parametrize("codec", Codec)
def test_the_message_names_the_damaged_segment(codec: Codec) -> None:
    data, index = write(codec)
    for number, each in enumerate(index.segments, start=1):
        assert each.offset is not None
        assert each.bytes is not None
        broken = bytearray(data)
        broken[each.offset + each.bytes // 2] ^= 0xFF
        with pytest.raises(DAMAGE, match=rf"segment {number} of {len(index.segments)}") as caught:
            verify(io.BytesIO(broken), index, codec)
        assert str(each) in caught.value.message


@pytest.mark.parametrize("codec", Codec)
def test_two_segments_that_changed_places_are_found(codec: Codec) -> None:
    text = b"COPY t FROM stdin;\n1\n\\.\nCOPY t FROM stdin;\n2\n\\.\n"
    data, index = write(codec, text)
    one, two = index.segments
    assert one.bytes is not None
    with pytest.raises(BackupValidationError, match="segment 1 of 2"):
        verify(io.BytesIO(data[one.bytes :] + data[: one.bytes]), index, codec)
    assert two.offset == one.bytes


class Failing(io.BytesIO):
    """A file whose disk fails at its end, and at every write."""

    def __init__(self, data: bytes, error: int) -> None:
        super().__init__(data)
        self._error = error

    def read(self, size: int | None = -1) -> bytes:
        return super().read(size) or self._fail()

    def write(self, _: object) -> int:
        return len(self._fail())

    def _fail(self) -> bytes:
        raise OSError(self._error, os.strerror(self._error))


@pytest.mark.parametrize("codec", Codec)
def test_a_disk_that_fails_while_reading_is_a_read_error_that_names_the_segment(codec: Codec) -> None:
    data, index = write(codec)
    second = index.segments[1].offset
    assert second is not None
    failing = Failing(data[: second + 3], errno.EIO)
    with pytest.raises(BackupReadError, match=r"segment 2 .*Input/output error"):
        verify(failing, index, codec)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(errno.ENOSPC, BackupStorageError), (errno.EDQUOT, BackupStorageError), (errno.EIO, BackupWriteError)],
)
def test_a_disk_that_fails_while_writing_is_told_by_its_reason(error: int, expected: type[Exception]) -> None:
    archive = ArchiveWriter(Failing(b"", error), Codec.NONE)
    with pytest.raises(expected) as caught:
        archive.add(scan([DUMP]))
    assert type(caught.value) is expected


def test_progress_counts_what_was_written_and_what_was_read() -> None:
    written: list[int] = []
    out = io.BytesIO()
    archive = ArchiveWriter(out, Codec.GZIP, progress=written.append)
    archive.add(scan([DUMP]))
    index = archive.finish()
    read: list[int] = []
    verify(io.BytesIO(out.getvalue()), index, Codec.GZIP, read.append)
    assert (sum(written), sum(read)) == (index.raw_bytes, index.bytes)


# Building the index of a file that has none


@pytest.mark.parametrize("codec", Codec)
def test_the_index_built_from_our_file_is_the_one_that_was_written(codec: Codec) -> None:
    data, index = write(codec)
    assert build_index(io.BytesIO(data), codec) == index


@pytest.mark.parametrize("codec", PACKED)
def test_a_foreign_file_of_one_frame_has_no_places_but_proves_itself(codec: Codec) -> None:
    whole = gzip.compress(DUMP) if codec is Codec.GZIP else zstandard.ZstdCompressor().compress(DUMP)
    built = build_index(io.BytesIO(whole), codec)
    ours = write(codec)[1]
    assert {(each.offset, each.bytes) for each in built.segments} == {(None, None)}
    assert [each.sha256 for each in built.segments] == [each.sha256 for each in ours.segments]
    assert built.tables == ours.tables
    assert (built.bytes, built.complete) == (len(whole), True)
    verify(io.BytesIO(whole), built, codec)


@pytest.mark.parametrize("codec", PACKED)
def test_a_file_whose_frames_end_elsewhere_has_places_only_where_they_agree(codec: Codec) -> None:
    index = write(Codec.NONE)[1]
    second = index.segments[1].offset
    assert second is not None
    pack = gzip.compress if codec is Codec.GZIP else zstandard.ZstdCompressor().compress
    first = pack(DUMP[:second])
    built = build_index(io.BytesIO(first + pack(DUMP[second:])), codec)
    assert (built.segments[0].offset, built.segments[0].bytes) == (0, len(first))
    assert {each.offset for each in built.segments[1:]} == {None}


@pytest.mark.parametrize("codec", Codec)
def test_a_cut_file_gets_no_index_or_one_that_is_not_complete(codec: Codec) -> None:
    data, _ = write(codec)
    marker = DUMP.index(b"dump complete") + len(b"dump complete")
    for end in range(len(data)):
        try:
            index = build_index(io.BytesIO(data[:end]), codec)
        except BackupReadError:
            continue
        assert not index.complete or index.raw_bytes >= marker


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
