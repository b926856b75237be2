"""Ends what a test run left running, however the run ended: `python tests/janitor.py FOLDER`.

It waits until its standard input is closed, as that of a process which was killed is too. Servers and workers of tests
lead sessions of their own, and would go on for ever.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from contextlib import suppress

import psutil

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)  # a fast shutdown of PostgreSQL, then what others listen to
SECONDS = 5.0


def left_in(folder: str) -> list[psutil.Process]:
    """The processes that were started with a folder in their arguments or surroundings, or work in it."""
    return [found for found in psutil.process_iter() if found.pid != os.getpid() and _uses(found, folder)]


def _uses(process: psutil.Process, folder: str) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        words = [*process.cmdline(), process.cwd(), *process.environ().values()]
    except psutil.Error:
        return False
    return any(folder in word for word in words)


def end_all(folder: str) -> None:
    """End them: the servers in an orderly way, if they can."""
    for number in SIGNALS:
        for process in left_in(folder):
            with suppress(psutil.Error):
                process.send_signal(number)
        end = time.monotonic() + SECONDS
        while left_in(folder) and time.monotonic() < end:
            time.sleep(0.1)


def main() -> None:
    folder = sys.argv[1]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_all(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
