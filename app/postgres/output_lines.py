"""Reads the lines that a child process prints, as they come, within a time."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator

from app.postgres.programs import BLOCK, ERROR_LINE_BYTES, ChildProcess, ProgramError

_POLL_SECONDS = 0.1


def lines_of(program: ChildProcess, seconds: float) -> Iterator[bytes]:
    """Lines of a process's standard output, until the process ends; a very long one is several.

    What the process has started may keep the output open: that is not waited for. The last lines are kept for messages,
    as those of the error stream are.

    Raises:
        ProgramError: the process does not end within `seconds`.
    """
    end = time.monotonic() + seconds
    rest = b""
    for block in _blocks(program, end):
        *whole, rest = (rest + block).split(b"\n")
        if len(rest) > ERROR_LINE_BYTES:
            whole, rest = [*whole, rest], b""
        for line in whole:
            program.keep(line)
            yield line
    if rest:
        program.keep(rest)
        yield rest
    if not program.wait(max(0.0, end - time.monotonic())):
        printed = program.error_tail() or "it printed nothing"
        raise ProgramError(f"{program.name} did not end within {seconds:g} s: {printed}")


def _blocks(program: ChildProcess, end: float) -> Iterator[bytes]:
    with selectors.DefaultSelector() as output:
        output.register(program.stdout, selectors.EVENT_READ)
        while time.monotonic() < end:
            running = program.running  # asked before its output is, so that nothing that it wrote is missed
            if output.select(_POLL_SECONDS if running else 0):
                if not (block := os.read(program.stdout.fileno(), BLOCK)):
                    return
                yield block
            elif not running:
                return
