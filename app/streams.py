"""The standard streams of the command line. A failed write never fails the work, which may be done by then."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TextIO

_STREAMS = (0, 1, 2)


class ForgivingStream(io.RawIOBase):
    """A stream that notes its first failure, and drops everything written after it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.failure: OSError | None = None

    def writable(self) -> bool:
        """True: the stream can only be written to."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, data: bytes) -> int:  # type: ignore[override] # Buffer has no name before 3.12
        """Write bytes. After a failure they count as written."""
        while self.failure is None:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # another process has set the terminal to non-blocking
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.failure = error
        return len(data)


def forgive() -> None:
    """Replace both streams by forgiving ones. Call it before anything is written or opened."""
    for number in _STREAMS:
        try:
            os.fstat(number)
        except OSError:  # closed by our parent: the next file that is opened would get its number
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _forgiving(1, sys.stdout)
    sys.stderr = _forgiving(2, sys.stderr)


def what_was_lost() -> str | None:
    """Why standard output could not be written; None if it was, or if its reader has closed it."""
    try:
        sys.stdout.flush()
    except ValueError:  # closed
        return None
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, ForgivingStream) or raw.failure is None or raw.failure.errno == errno.EPIPE:
        return None
    return raw.failure.strerror or str(raw.failure)


def _forgiving(descriptor: int, stream: TextIO | None) -> io.TextIOWrapper:
    """A text stream that forgives failures and escapes characters that its encoding lacks."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    interactive = os.isatty(descriptor)
    return io.TextIOWrapper(
        io.BufferedWriter(ForgivingStream(descriptor)),  # type: ignore[type-var] # typeshed wants a file's own class
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=interactive or descriptor == 2,  # noqa: PLR2004 -- standard error
    )
