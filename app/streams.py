"""The standard streams of the command line: what they cannot take never fails the work, which may be done by then."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TextIO

_STREAMS = (0, 1, 2)


class Forgiving(io.RawIOBase):
    """A stream that notes its first failure, and takes everything after it to nowhere."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.failure: OSError | None = None

    def writable(self) -> bool:
        """It can be written to, and nothing else."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        return os.isatty(self._descriptor)

    def write(self, data: bytes) -> int:  # type: ignore[override] # Buffer has no name before 3.12
        """Write what the stream takes; all of it counts as written if it takes nothing any more."""
        while self.failure is None:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # whoever shares the terminal with us has set it so
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.failure = error
        return len(data)


def forgive() -> None:
    """Let both streams take any character, and any failure. Call it before anything is written or opened."""
    for number in _STREAMS:
        try:
            os.fstat(number)
        except OSError:  # closed by whoever started us: the next file that is opened would take its place
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = _forgiving(1, sys.stdout)
    sys.stderr = _forgiving(2, sys.stderr)


def what_was_lost() -> str | None:
    """Why standard output was not written to its end; None if it was, or if its reader wanted no more."""
    try:
        sys.stdout.flush()
    except ValueError:  # closed
        return None
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if not isinstance(raw, Forgiving) or raw.failure is None or raw.failure.errno == errno.EPIPE:
        return None
    return raw.failure.strerror or str(raw.failure)


def _forgiving(descriptor: int, stream: TextIO | None) -> io.TextIOWrapper:
    """What a terminal has no letter for is escaped."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    interactive = os.isatty(descriptor)
    return io.TextIOWrapper(
        io.BufferedWriter(Forgiving(descriptor)),  # type: ignore[type-var] # typeshed wants a file's own class
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=interactive or descriptor == 2,  # noqa: PLR2004 -- standard error
    )
