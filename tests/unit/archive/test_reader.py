"""Parts of an archive are read by themselves, and damage is named by segment and table."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Callable
from typing import BinaryIO

import pytest
import zstandard

from app.archive import codecs, kept_text
from app.archive.index import Index, SegmentKind, TableName
from app.archive.inspect.lint import lint
from app.archive.kept_text import TextWhileIndexed
from app.archive.reader import Archive, build_index
from app.archive.scanner import scan
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.errors import BackupError, BackupReadError, BackupValidationError
from app.postgres.load import batches

A, B = TableName("public", "a"), TableName("public", "b")
PACKED = {Codec.GZIP: gzip.compress, Codec.ZSTD: zstandard.ZstdCompressor(3).compress}


def block(name: str, rows: int) -> bytes:
    lines = b"".join(b"%d\t%s row %d\n" % (row, name.encode(), row * 7919 % 1000) for row in range(rows))
    return b"\n\nCOPY public.%s (x, y) FROM stdin;\n" % name.encode() + lines + b"\\.\n"


TEXT = (
    b"SET client_encoding = 'UTF8';\nCREATE TABLE public.a (x int, y text);\n"
    + block("a", 3000)
    + block("a", 2000)
    + block("b", 4000)
    + b"\n--\n-- Name: a a_x; Type: INDEX; Schema: public; Owner: -\n--\nCREATE INDEX a_x ON public.a (x);\n"
    + b"--\n-- PostgreSQL database dump complete\n--\n\n"
)


class Counted(io.BytesIO):
    """A file that counts what is read of it."""

    total = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        type(self).total += len(data)
        return data


def written(codec: Codec) -> tuple[bytes, Index]:
    out = io.BytesIO()
    writer = ArchiveWriter(out, codec)
    writer.add(scan([TEXT]))
    index = writer.finish()
    return out.getvalue(), index


def opener(data: bytes) -> Callable[[], BinaryIO]:
    return lambda: Counted(data)


@pytest.mark.parametrize("codec", Codec)
def test_segments_one_by_one_are_the_whole(codec: Codec) -> None:
    data, index = written(codec)
    archive = Archive(opener(data), codec, index)
    assert archive.seekable
    assert b"".join(b"".join(archive.text(each)) for each in index.segments) == TEXT
    assert b"".join(archive.whole()) == TEXT


@pytest.mark.parametrize("codec", Codec)
def test_one_table_is_read_alone(codec: Codec) -> None:
    data, index = written(codec)
    archive = Archive(opener(data), codec, index)
    Counted.total = 0
    assert b"".join(archive.read_table(B)) == block("b", 4000)
    assert Counted.total < 1.1 * sum(each.bytes or 0 for each in archive.segments_of(B))
    assert b"".join(archive.read_table(A)) == block("a", 3000) + block("a", 2000)
    assert archive.segments_of(TableName("public", "none")) == []


@pytest.mark.parametrize("codec", PACKED)
def test_a_compressed_file_of_foreign_make_is_read_through(codec: Codec) -> None:
    data = PACKED[codec](TEXT)
    archive = Archive(opener(data), codec, build_index(io.BytesIO(data), codec))
    assert not archive.seekable
    assert b"".join(archive.read_table(B)) == block("b", 4000)
    assert b"".join(b"".join(archive.text(each)) for each in archive.index.segments) == TEXT


@pytest.mark.parametrize("codec", Codec)
def test_a_file_cut_anywhere_is_an_error_that_names_the_first_segment_it_lacks(codec: Codec) -> None:
    data, index = written(codec)
    for cut in range(0, len(data), max(1, len(data) // 200)):
        archive = Archive(opener(data[:cut]), codec, index)
        for number, segment in enumerate(index.segments, start=1):
            assert segment.offset is not None
            if segment.offset + (segment.bytes or 0) <= cut:
                assert sum(map(len, archive.text(segment))) == segment.raw_bytes
                continue
            with pytest.raises((BackupReadError, BackupValidationError), match=rf"^segment {number} of 5 \({segment}"):
                list(archive.text(segment))


@pytest.mark.parametrize("codec", Codec)
def test_a_flipped_bit_is_found_in_its_own_segment_and_in_no_other(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codecs, "_FAST_FRAME_BYTES", 10_000)
    monkeypatch.setattr(codecs, "_SLOW_FRAME_BYTES", 10_000)
    data, index = written(codec)
    # Time and system in the header of a gzip member: they change nothing, and only the file's SHA-256 shows them.
    idle = {member.start() + byte for member in re.finditer(rb"\x1f\x8b\x08", data) for byte in range(4, 10)}
    for at in sorted(set(range(3, len(data), max(1, len(data) // 150))) - idle):
        broken = bytearray(data)
        broken[at] ^= 1 << at % 8
        archive = Archive(opener(bytes(broken)), codec, index)
        for segment in index.segments:
            assert segment.offset is not None
            if segment.offset <= at < segment.offset + (segment.bytes or 0):
                with pytest.raises(BackupError) as caught:
                    list(archive.text(segment))
                assert str(segment) in caught.value.message
            else:
                assert sum(map(len, archive.text(segment))) == segment.raw_bytes


@pytest.mark.parametrize(("codec", "taken_for"), [(a, b) for a in Codec for b in Codec if a is not b])
def test_the_wrong_codec_is_an_error(codec: Codec, taken_for: Codec) -> None:
    data, index = written(codec)
    archive = Archive(opener(data), taken_for, index)
    data_segment = next(each for each in index.segments if each.kind is SegmentKind.DATA)
    with pytest.raises((BackupReadError, BackupValidationError), match=r"table data of public\.a"):
        list(archive.text(data_segment))


def test_sql_is_read_once_and_compared_before_any_of_it_is_used() -> None:
    data, index = written(Codec.ZSTD)
    source = Archive(opener(data), Codec.ZSTD, index)
    before = next(segment for segment in index.segments if segment.kind is SegmentKind.BEFORE)
    Counted.total = 0
    assert [b"".join(source.text(before)) for _ in range(3)] == [TEXT[: before.raw_bytes]] * 3
    assert Counted.total == before.bytes
    assert source.proven == {0}
    spoiled = bytearray(data)
    spoiled[(before.bytes or 0) - 1] ^= 1
    with pytest.raises(BackupError):
        next(Archive(opener(bytes(spoiled)), Codec.ZSTD, index).text(before))


def test_sql_is_not_kept_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_text, "KEPT_BYTES", 10)
    data, index = written(Codec.NONE)
    source = Archive(opener(data), Codec.NONE, index)
    Counted.total = 0
    for _ in range(2):
        assert b"".join(source.text(index.segments[0])) == TEXT[: index.segments[0].raw_bytes]
    assert Counted.total == 2 * index.segments[0].raw_bytes


def test_the_sql_of_a_foreign_file_is_kept_while_it_is_indexed() -> None:
    data, sql = PACKED[Codec.ZSTD](TEXT), TextWhileIndexed()
    index = build_index(io.BytesIO(data), Codec.ZSTD, look=sql.take)
    sql.finish()
    source = Archive(opener(data), Codec.ZSTD, index, kept=sql.kept)
    assert not source.seekable
    Counted.total = 0
    lint(source, rows=False)
    texts = [b"".join(source.text(part)) for part in index.segments if part.kind is not SegmentKind.DATA]
    assert Counted.total == 0
    assert b"".join(texts) == TEXT[: index.segments[0].raw_bytes] + TEXT[-sum(map(len, texts[1:])) :]


def test_an_archive_is_linted_once_and_its_rows_only_if_they_are_loaded() -> None:
    data, index = written(Codec.NONE)
    source = Archive(opener(data), Codec.NONE, index)
    Counted.total = 0
    for _ in range(2):
        assert lint(source, rows=False) == []
    assert Counted.total == sum(part.raw_bytes for part in index.segments if part.kind is not SegmentKind.DATA)
    read = Counted.total
    lint(source)
    assert Counted.total > read
    read = Counted.total
    for rows in (False, True):
        lint(source, rows=rows)
    assert Counted.total == read


@pytest.mark.parametrize(("small", "readings"), [(0, 2), (1 << 20, 1)])
def test_a_batch_reads_its_segment_once(small: int, readings: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SMALL_BYTES", small)
    data, index = written(Codec.NONE)
    source = Archive(opener(data), Codec.NONE, index)
    (segment,) = source.segments_of(B)
    Counted.total = 0
    (batch,) = batches.batches_of_table(source, [segment])
    rows = [b"".join(batch.blocks())]
    assert Counted.total == segment.raw_bytes
    rows.append(b"".join(batch.blocks()))
    assert rows[0] == rows[1]
    assert Counted.total == readings * segment.raw_bytes


def test_damage_is_told_as_the_reader_of_the_archive_wants_it() -> None:
    data, index = written(Codec.NONE)
    spoiled = data.replace(b"1999\tb row", b"1999\tB row")
    assert spoiled != data
    source = Archive(
        opener(spoiled), Codec.NONE, index, damaged=lambda error: RuntimeError(f"damaged: {error.message}")
    )
    assert b"".join(source.read_table(A)) in data
    with pytest.raises(RuntimeError, match=r"damaged: segment 4 of 5 \(table data of public.b\)"):
        b"".join(source.read_table(B))
    assert source.proven == {1, 2}
