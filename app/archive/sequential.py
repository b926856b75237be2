"""Reads parts of a compressed file that has no index of frames, so that it can only be read from its beginning.

Files of other programs are like this. To decompress such a file again for each table would take time that grows with
the square of their number. So the reader stops after each part, and the next part, if it comes later in the file, goes
on from there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO


class _Reader:
    """An open file, and the offset up to which its text was read."""

    def __init__(self, stream: BinaryIO, text: Iterator[bytes]) -> None:
        self._stream = stream
        self._text = text
        self._left = b""
        self.at = 0

    def read(self, start: int, length: int) -> Iterator[bytes]:
        """Yield `length` bytes of the text from an offset that was not passed yet; fewer if the text ends."""
        end = start + length
        while self.at < end and (block := self._left or next(self._text, b"")):
            taken = min(len(block), (start if self.at < start else end) - self.at)
            self._left = block[taken:]
            self.at += taken
            if self.at > start:
                yield block[:taken]

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class SequentialReader:
    """Reads parts of such a file, from any thread.

    Args:
        open_: opens the file at its start.
        text: decompresses it.
    """

    def __init__(self, open_: Callable[[], BinaryIO], text: Callable[[BinaryIO], Iterator[bytes]]) -> None:
        self._open = open_
        self._decoded = text
        self._waiting: _Reader | None = None
        self._lock = threading.Lock()

    def read(self, start: int, length: int) -> Iterator[bytes]:
        """Yield `length` bytes of the text from an offset on; fewer if the text ends.

        Raises:
            BackupReadError: it cannot be read or decompressed.
        """
        reader = self._take(start)
        try:
            yield from reader.read(start, length)
        except BaseException:  # also if the consumer stops early
            reader.close()
            raise
        self._put_back(reader)

    def _take(self, start: int) -> _Reader:
        with self._lock:
            waiting = self._waiting
            if waiting is not None and waiting.at <= start:
                self._waiting = None
                return waiting
        stream = self._open()
        return _Reader(stream, self._decoded(stream))

    def _put_back(self, reader: _Reader) -> None:
        with self._lock:
            dropped, self._waiting = self._waiting, reader
        if dropped is not None:
            dropped.close()

    def __del__(self) -> None:
        if self._waiting is not None:
            self._waiting.close()
