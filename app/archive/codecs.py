"""Codecs: an archive is a sequence of whole zstd frames or gzip members, which the stock programs read as one file."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Protocol, cast

import zstandard
from isal import igzip_lib, isal_zlib

from app.archive.digest import PieceHash, xxh128
from app.domain.backup import Codec
from app.errors import BackupReadError, BackupValidationError

LEVELS = {Codec.NONE: range(1), Codec.GZIP: range(10), Codec.ZSTD: range(1, 20)}
_FAST_LEVEL = 1  # of zstd, and of ISA-L
_ISAL_LEVELS = range(4)  # ISA-L has no slower ones; zlib takes over there
# gzip's default, measured on COPY text against `gzip -6` (docs/performance.md): libdeflate's level 3 is as small and
# two to six times as fast. What ISA-L shrinks to between a tenth and a sixtieth is as small with ISA-L, and five times
# as fast; more and less than that is larger.
_LIBDEFLATE_LEVEL = 3
_SAMPLE_BYTES = 64 << 10
_ISAL_RATIOS = range(10, 60)
_MEBIBYTE = 1 << 20
# Plain bytes in one frame: as much is lost by one flipped bit. The window of the fast levels is no longer.
_FAST_FRAME_BYTES = _MEBIBYTE
_SLOW_FRAME_BYTES = 8 * _MEBIBYTE
# zstd's level 1 for rows of a table: matches are long (7 bytes and more) and, within a frame, may be far. Measured on
# COPY text against plain level 1: as fast, and a sixth smaller (docs/performance.md).
_FAST_ZSTD = {"window_log": 20, "hash_log": 15, "min_match": 7}
# Compressed bytes decoded at once: in zstd, 4 bytes may stand for 128 KB of zeros, in gzip for 4 KB.
_SLICE = {Codec.ZSTD: 1 << 10, Codec.GZIP: 4 << 10}
_CHUNK = 1 << 20  # plain bytes yielded at once, because the consumer may need several times as much memory
_ISAL_ERROR: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment] # the stub calls the class an instance
_GZIP_WINDOW = 31  # 15 bits of window and gzip's own header


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """How plain bytes become frames. Not for use by several threads.

    A frame depends only on its own bytes, so that equal text makes equal files.

    Attributes:
        size: plain bytes in a frame; 0 if no frames are made, because only the figures of a segment are wanted.
        pack: makes one frame.
        hash: makes the digest of a segment's plain bytes.
    """

    size: int
    pack: Callable[[bytes], bytes]
    hash: PieceHash = xxh128


class _NoHash:
    """For segments whose digest nobody uses."""

    def update(self, data: bytes, /) -> None:
        pass

    def hexdigest(self) -> str:
        return ""


NO_FRAMES = FrameFormat(0, bytes, _NoHash)


class Decompressor(Protocol):
    """Decompresses one frame."""

    @property
    def eof(self) -> bool:
        """Whether the frame has ended."""

    @property
    def unused_data(self) -> bytes:
        """The bytes after the frame."""

    def decompress(self, data: bytes, /) -> bytes:
        """Take compressed bytes and return the plain bytes that they yield."""


def frame_format(codec: Codec, level: int | None = None) -> FrameFormat:
    """The frame format of a codec and level.

    Args:
        codec: how to compress.
        level: the codec's own level; None means its fast one.

    Raises:
        BackupValidationError: the codec has no such level.
    """
    size = _FAST_FRAME_BYTES if level is None else _SLOW_FRAME_BYTES
    if level is not None and level not in LEVELS[codec]:
        low, high = LEVELS[codec][0], LEVELS[codec][-1]
        raise BackupValidationError(f"{codec} has no compression level {level}", f"use a level from {low} to {high}")
    if codec is Codec.ZSTD:
        return FrameFormat(size, _zstd_compressor(level).compress)
    if codec is Codec.GZIP:
        return FrameFormat(size, _fast_gzip() if level is None else lambda data: _gzip_member(data, level))
    return FrameFormat(size, bytes)


def _zstd_compressor(level: int | None) -> zstandard.ZstdCompressor:
    tuned = _FAST_ZSTD if level is None else {}
    # The checksum lets `zstd -t`, which knows no manifest, find a flipped bit; gzip has one by nature.
    parameters = zstandard.ZstdCompressionParameters.from_level(level or _FAST_LEVEL, **tuned, write_checksum=1)
    return zstandard.ZstdCompressor(compression_params=parameters)


def _gzip_member(data: bytes, level: int) -> bytes:
    library = isal_zlib if level in _ISAL_LEVELS else zlib
    member = library.compressobj(level, zlib.DEFLATED, _GZIP_WINDOW)
    return bytes(member.compress(data) + member.flush())


def _fast_gzip() -> Callable[[bytes], bytes]:
    from deflate import gzip_compress  # noqa: PLC0415 -- only for who writes gzip

    def pack(data: bytes) -> bytes:
        sample = data[:_SAMPLE_BYTES]
        if len(sample) // len(_gzip_member(sample, _FAST_LEVEL)) in _ISAL_RATIOS:
            return _gzip_member(data, _FAST_LEVEL)
        return bytes(gzip_compress(data, _LIBDEFLATE_LEVEL))

    return pack


@dataclass(frozen=True, slots=True)
class DecodedChunk:
    """A block of plain SQL; `frame_at` is the file offset of the frame that begins with it, None inside a frame."""

    data: bytes
    frame_at: int | None


def decode(blocks: Iterable[bytes], codec: Codec) -> Iterator[DecodedChunk]:
    """Decompress a whole file, given in blocks.

    Raises:
        BackupReadError: a frame is corrupt or the file ends within one.
    """
    if codec is Codec.NONE:
        yield from (DecodedChunk(block, None) for block in blocks)
        return
    make, broken = _DECOMPRESSORS[codec]
    frame: Decompressor | None = None
    at = 0  # offset in the file of the first byte that belongs to no frame yet
    for block in _cut(blocks, _SLICE[codec]):
        rest = block
        while rest:
            begins = frame is None
            frame = frame or make()
            try:
                data = frame.decompress(rest)
            except broken as error:
                raise BackupReadError(f"corrupt {codec} frame near byte {at}: {error}") from error
            yield DecodedChunk(data[:_CHUNK], at if begins else None)
            for start in range(_CHUNK, len(data), _CHUNK):
                yield DecodedChunk(data[start : start + _CHUNK], None)
            left = frame.unused_data if frame.eof else b""
            at += len(rest) - len(left)
            rest = left
            if frame.eof:
                frame = None
    if frame is not None:
        raise BackupReadError(f"the file ends within a {codec} frame, at byte {at}")


def decode_part(blocks: Iterable[bytes], codec: Codec, length: int) -> Iterator[bytes]:
    """Decompress whole frames, of which nobody wants to know the places: faster than `decode`.

    If the last frame is not whole, that need not be an error. So the digest of the text must be compared.

    Args:
        blocks: of the file, from the beginning of a frame to the end of one.
        codec: how it is compressed.
        length: of the blocks together.

    Raises:
        BackupReadError: a frame is corrupt, or the file ends too early.
    """
    stored = _whole(blocks, length)
    if codec is Codec.NONE:
        return stored
    return _zstd_text(stored) if codec is Codec.ZSTD else _gzip_text(stored)


def _whole(blocks: Iterable[bytes], length: int) -> Iterator[bytes]:
    for block in blocks:
        length -= len(block)
        yield block
    if length > 0:
        raise BackupReadError(f"the file ends {length} bytes too early")


class _BlockSource:
    """Blocks as a file for zstandard, which takes as many bytes as it is given."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks

    def read(self, _: int) -> bytes:
        return next(self._blocks, b"")


def _zstd_text(blocks: Iterator[bytes]) -> Iterator[bytes]:
    source = cast("IO[bytes]", _BlockSource(blocks))
    with zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True) as frames:
        while True:
            try:
                text = frames.read(_CHUNK)
            except zstandard.ZstdError as error:
                raise BackupReadError(f"corrupt {Codec.ZSTD} frame: {error}") from error
            if not text:
                return
            yield text


def _gzip_text(blocks: Iterator[bytes]) -> Iterator[bytes]:
    frame: igzip_lib.IgzipDecompressor | None = None
    for block in blocks:
        rest = block
        while rest or (frame is not None and not frame.needs_input):
            frame = frame or igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
            try:
                text = frame.decompress(rest, _CHUNK)
            except _ISAL_ERROR as error:
                raise BackupReadError(f"corrupt {Codec.GZIP} frame: {error}") from error
            if text:
                yield text
            rest = b""
            if frame.eof:
                rest, frame = frame.unused_data, None


def _cut(blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
    for block in blocks:
        yield from (block[at : at + size] for at in range(0, len(block), size))


def _zstd() -> Decompressor:
    return zstandard.ZstdDecompressor().decompressobj()


def _gzip() -> Decompressor:
    frame: Decompressor = isal_zlib.decompressobj(_GZIP_WINDOW)
    return frame


_DECOMPRESSORS: dict[Codec, tuple[Callable[[], Decompressor], type[Exception]]] = {
    Codec.ZSTD: (_zstd, zstandard.ZstdError),
    Codec.GZIP: (_gzip, _ISAL_ERROR),
}
