"""Packs segments: bytes are hashed, counted and compressed in one pass.

A packer does not know the file that its segment is written to, so any number of packers can work at the same time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.archive.codecs import FrameFormat
from app.archive.digest import RowDigest
from app.archive.scanner import SegmentHeader


@dataclass(frozen=True, slots=True)
class SegmentFigures:
    """The figures of a packed segment; `digest` is of its rows, None for SQL."""

    header: SegmentHeader
    raw_bytes: int
    xxh128: str
    digest: RowDigest | None


class Packer:
    """Packs one segment into one or more whole frames."""

    def __init__(self, header: SegmentHeader, frame_format: FrameFormat) -> None:
        self.header = header
        self._frame_format = frame_format
        self._held: list[bytes] = []
        self._room = frame_format.size
        self._raw_bytes = 0
        self._hash = frame_format.hash()
        self._digest = None if header.table is None else RowDigest()

    def take(self, data: bytes, *, rows: bool = False) -> Iterator[bytes]:
        """Take the next bytes, which are COPY data if `rows`; yield the frames that they fill."""
        self._hash.update(data)
        self._raw_bytes += len(data)
        if rows and self._digest is not None:
            self._digest.feed(data)
        if not self._frame_format.size:
            return
        at = 0  # an offset, so that the rest is not copied for each frame
        while len(data) - at >= self._room:
            end = at + self._room
            self._held.append(data[at:end])
            at = end
            yield self._frame()
        if at < len(data):
            self._held.append(data[at:])
            self._room -= len(data) - at

    def finish(self) -> Iterator[bytes]:
        """Yield the last frame."""
        if self._held:
            yield self._frame()

    @property
    def figures(self) -> SegmentFigures:
        """The figures, after `finish`."""
        return SegmentFigures(self.header, self._raw_bytes, self._hash.hexdigest(), self._digest)

    def _frame(self) -> bytes:
        data = b"".join(self._held)
        self._held.clear()
        self._room = self._frame_format.size
        return self._frame_format.pack(data)
