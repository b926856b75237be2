"""Main programs whose standard streams are not as they should be, for `run_forked`."""

from __future__ import annotations

import os
import sys

from app.cli import main


def full() -> None:
    """Standard output is a disk without room."""
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    main()


def unread() -> None:
    """Standard output is a pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)
    main()


def closed() -> None:
    """Whoever started the program has closed all three."""
    for number in (0, 1, 2):
        os.close(number)
    sys.stdout = sys.stderr = sys.stdin = None  # type: ignore[assignment] # as Python itself does
    main()


def latin_only() -> None:
    """A terminal that knows the letters of Western Europe only."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="latin-1", errors="strict")  # type: ignore[union-attr] # real streams
    main()
