"""Frames: written by us, read by us and by the stock programs."""

from __future__ import annotations

import gzip
import io
import random
import tracemalloc
import zlib

import pytest
import zstandard

from app.archive.codecs import LEVELS, decode, frame_format
from app.domain.backup import Codec
from app.errors import BackupReadError, BackupValidationError

PACKED = [Codec.GZIP, Codec.ZSTD]
TEXT = b"".join(f"{number}\trow {number % 13}\n".encode() for number in range(3000)) + random.Random(2).randbytes(3000)


def frame(codec: Codec, data: bytes, level: int | None = None) -> bytes:
    return frame_format(codec, level).pack(data)


def stock(codec: Codec, data: bytes) -> bytes:
    if codec is Codec.GZIP:
        return gzip.decompress(data)
    if codec is Codec.ZSTD:
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    return data


def read(codec: Codec, data: bytes, size: int) -> list[tuple[bytes, int | None]]:
    blocks = (data[at : at + size] for at in range(0, len(data), size))
    return [(chunk.data, chunk.frame_at) for chunk in decode(blocks, codec)]


@pytest.mark.parametrize(("codec", "level"), [(codec, level) for codec in Codec for level in LEVELS[codec]])
def test_each_level_comes_back_whole(codec: Codec, level: int) -> None:
    packed = frame(codec, TEXT, level)
    assert stock(codec, packed) == TEXT
    assert b"".join(data for data, _ in read(codec, packed, 1000)) == TEXT


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("level", [-1, 23, 100])
def test_a_level_that_the_codec_has_not_is_refused(codec: Codec, level: int) -> None:
    with pytest.raises(BackupValidationError, match="level") as caught:
        frame_format(codec, level)
    assert "from" in caught.value.hint


@pytest.mark.parametrize("codec", PACKED)
@pytest.mark.parametrize("size", [1, 2, 7, 100, 10_000_000])
def test_the_place_of_each_frame_is_told_for_any_block_size(codec: Codec, size: int) -> None:
    texts = [b"one", TEXT[:5000], b"", b"four"]
    frames = [frame(codec, text) for text in texts]
    starts = [sum(map(len, frames[:number])) for number in range(len(frames))]
    chunks = read(codec, b"".join(frames), size)
    assert [at for _, at in chunks if at is not None] == starts
    assert b"".join(data for data, _ in chunks) == b"".join(texts)
    assert stock(codec, b"".join(frames)) == b"".join(texts)


@pytest.mark.parametrize("codec", PACKED)
def test_a_file_that_ends_within_a_frame_is_refused(codec: Codec) -> None:
    packed = frame(codec, b"some text that is not short") * 2
    whole = {0, len(packed) // 2, len(packed)}
    for end in range(len(packed) + 1):
        if end in whole:
            read(codec, packed[:end], 5)
        else:
            with pytest.raises(BackupReadError, match="ends within"):
                read(codec, packed[:end], 5)


@pytest.mark.parametrize("codec", PACKED)
@pytest.mark.parametrize("garbage", [b"\0", b"\0" * 512, b"-- SQL\n", b"\x1f", b"\x28\xb5", b"\xff" * 20])
def test_what_follows_the_last_frame_must_be_a_frame(codec: Codec, garbage: bytes) -> None:
    for size in (1, 1000):
        with pytest.raises(BackupReadError):
            read(codec, frame(codec, b"text") + garbage, size)


@pytest.mark.parametrize("codec", PACKED)
def test_a_frame_of_another_codec_is_refused(codec: Codec) -> None:
    other = Codec.ZSTD if codec is Codec.GZIP else Codec.GZIP
    with pytest.raises(BackupReadError, match="corrupt"):
        read(codec, frame(other, TEXT), 4096)


def test_stock_gzip_of_every_kind_is_read() -> None:
    named = io.BytesIO()
    with gzip.GzipFile("a name.sql", "wb", fileobj=named) as file:
        file.write(TEXT)
    for packed in (named.getvalue(), gzip.compress(TEXT, 9), zlib.compress(TEXT, wbits=31)):
        assert b"".join(data for data, _ in read(Codec.GZIP, packed, 333)) == TEXT


def test_zstd_with_checksum_and_window_of_19_is_read() -> None:
    packed = zstandard.ZstdCompressor(level=19, write_checksum=True).compress(TEXT)
    assert b"".join(data for data, _ in read(Codec.ZSTD, packed, 333)) == TEXT


@pytest.mark.parametrize("codec", PACKED)
def test_what_shrank_a_thousand_times_and_more_comes_back_in_pieces(codec: Codec) -> None:
    packed = gzip.compress(b"0" * (200 << 20), 1) if codec is Codec.GZIP else many_zeros()
    tracemalloc.start()
    try:
        chunks = [len(chunk.data) for chunk in decode([packed], codec)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (sum(chunks), max(chunks) <= 1 << 20) == (200 << 20, True)
    assert peak < 300 << 20  # the decoder holds its output twice for a moment


def many_zeros() -> bytes:
    made = zstandard.ZstdCompressor(level=1).compressobj()
    return b"".join(made.compress(b"0" * (1 << 20)) for _ in range(200)) + made.flush()


@pytest.mark.parametrize("codec", Codec)
def test_an_empty_file_is_empty_text(codec: Codec) -> None:
    assert read(codec, b"", 10) == []


def rows(count: int) -> bytes:
    """COPY text of a table with many kinds of columns."""
    chance = random.Random(3)
    return b"".join(
        b"%d\t%032x\t%s\t2025-01-%02d 07:%02d:00+00\t%.3f\t{pgy%d,block}\n"
        % (at, chance.getrandbits(128), chance.choice((b"Clinic", b"Ward A")), at % 28, at % 60, at / 7, at % 5)
        for at in range(count)
    )


def vectors(count: int) -> bytes:
    """COPY text of a column of vectors, as pgvector has them."""
    chance = random.Random(4)
    values = (",".join(f"{chance.gauss(0, 0.05):.8g}" for _ in range(768)) for _ in range(count))
    return b"".join(b"%d\t[%s]\n" % (at, vector.encode()) for at, vector in enumerate(values))


@pytest.mark.parametrize("text", [rows(30_000), vectors(300), b"1\t\\N\t0\tconstant filler\n" * 100_000])
def test_the_default_levels_are_about_as_small_as_gzip_6_and_zstd_1(text: bytes) -> None:
    for codec, theirs, most in (
        (Codec.GZIP, len(gzip.compress(text, 6)), 1.05),
        (Codec.ZSTD, len(zstandard.ZstdCompressor(level=1).compress(text)), 1.03),
    ):
        size = frame_format(codec).size
        ours = sum(len(frame(codec, text[at : at + size])) for at in range(0, len(text), size))
        assert ours < theirs * most + 4000, f"{codec}: {ours} against {theirs}"
