"""A file that is kept open, so that all reads are of the same file even if it is replaced or removed meanwhile."""

from __future__ import annotations

import io
import os
import weakref
from typing import Any, BinaryIO, cast


class OpenFile:
    """Keeps a file open until this object, and all streams that it opened, are garbage.

    Args:
        stream: the open file; the caller may close it.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.descriptor = os.dup(stream.fileno())
        weakref.finalize(self, os.close, self.descriptor)

    @property
    def size(self) -> int:
        """Length of the file."""
        return os.fstat(self.descriptor).st_size

    def open(self) -> BinaryIO:
        """A new stream at the start of the file. Each has its own position, so any number can be read at a time.

        It reads no more than it is asked for: its readers ask for large blocks, and for no more than a segment has.
        """
        return cast("BinaryIO", _FileStream(self))


class _FileStream(io.RawIOBase):
    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = os.preadv(self._file.descriptor, [buffer], self._at)
        self._at += read
        return read

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            return self.readall()
        data = os.pread(self._file.descriptor, size, self._at)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._file.size}[whence]
        self._at = start + offset
        return self._at
