"""The SQL of an archive in memory, because a restore looks at it several times.

It is kept from its first reading on, up to a limit. What is read from the file to be kept was compared with its digest
before any of it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from app.archive.index import Segment, SegmentKind
from app.archive.scanner import Chunk, SegmentHeader

KEPT_BYTES = 32 << 20  # of one archive: the schema of some 30,000 tables
_SQL = {SegmentKind.BEFORE, SegmentKind.SEQUENCES, SegmentKind.AFTER}


class KeptText:
    """The text of segments, by their numbers in the archive."""

    def __init__(self) -> None:
        self._texts: dict[int, bytes] = {}
        self._room = KEPT_BYTES

    def text(self, number: int, segment: Segment, read: Callable[[], Iterator[bytes]]) -> Iterator[bytes]:
        """The text of a segment.

        Args:
            number: of the segment.
            segment: which one.
            read: reads it, and compares its digest after the last block.
        """
        text = self._texts.get(number)
        if text is None and segment.kind in _SQL and segment.raw_bytes <= self._room:
            text = b"".join(read())
            self.put(number, text)
        return read() if text is None else iter((text,))

    def put(self, number: int, text: bytes) -> None:
        """Keep the text of a segment, if there is room."""
        if len(text) <= self._room:
            self._room -= len(text)
            self._texts[number] = text


class TextWhileIndexed:
    """Keeps the SQL of a file while its index is made, so that it is not read again for that.

    Attributes:
        kept: the text of the segments that have ended.
    """

    def __init__(self) -> None:
        self.kept = KeptText()
        self._number = -1
        self._header: SegmentHeader | None = None
        self._parts: list[bytes] = []
        self._bytes = 0

    def take(self, chunk: Chunk) -> None:
        """Take the next chunk of the file."""
        if chunk.header is not self._header:
            self.finish()
            self._number += 1
            self._header = chunk.header
        if chunk.header.kind in _SQL:
            self._bytes += len(chunk.data)
            if self._bytes <= KEPT_BYTES:
                self._parts.append(chunk.data)
            else:
                self._parts.clear()

    def finish(self) -> None:
        """End the last segment, after all chunks."""
        if self._parts:
            self.kept.put(self._number, b"".join(self._parts))
        self._parts, self._bytes = [], 0
