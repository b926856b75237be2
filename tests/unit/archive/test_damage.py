"""Damage of an archive is found, and named by the segment in which it is."""

from __future__ import annotations

import errno
import gzip
import io
import os
from collections.abc import Iterator

import pytest
import zstandard

from app.archive.scanner import scan
from app.archive.verify import verify
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.errors import BackupReadError, BackupStorageError, BackupValidationError, BackupWriteError
from tests.fix_small_dump import DUMP, write

DAMAGE = (BackupReadError, BackupValidationError)


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
