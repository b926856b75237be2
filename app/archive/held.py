"""A file kept open: what is read is of one and the same file, whatever takes its name or removes it meanwhile."""

from __future__ import annotations

import io
import os
import weakref
from typing import Any, BinaryIO, cast

_BLOCK = 256 << 10


class Held:
    """Keeps a file open as long as anybody may read it: until this, and all that it opened, are forgotten.

    Args:
        stream: the open file; its own end does not matter any more.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.descriptor = os.dup(stream.fileno())
        weakref.finalize(self, os.close, self.descriptor)

    @property
    def size(self) -> int:
        """Its length."""
        return os.fstat(self.descriptor).st_size

    def open(self) -> BinaryIO:
        """The file from its start, with a place of its own in it: any number may be read side by side."""
        return cast("BinaryIO", io.BufferedReader(_Reading(self), _BLOCK))


class _Reading(io.RawIOBase):
    def __init__(self, held: Held) -> None:
        self._held = held
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        read = os.preadv(self._held.descriptor, [buffer], self._at)
        self._at += read
        return read

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._held.size}[whence]
        self._at = start + offset
        return self._at
