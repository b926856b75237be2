"""Reads a program's output ahead of its consumer, so that the program can end and release its locks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from app.postgres.programs import GRACE_SECONDS, ChildProcess

AHEAD_BYTES = 64 << 20  # that wait for the consumer; with more, the program waits
# A slow program, such as pg_dump with many large objects, writes a few kilobytes at a time. After some such blocks the
# next one is awaited in the pipe, which holds far more: each block that is handed over costs both threads their turn.
_SMALL_BYTES, _SMALL_BLOCKS = 64 << 10, 16
_PAUSE_SECONDS = 0.01


class _OutputBuffer:
    def __init__(self, program: ChildProcess) -> None:
        self._program = program
        self._blocks: deque[bytes] = deque()
        self._waiting = 0
        self._ended = False
        self._unwanted = False
        self._failure: BaseException | None = None
        self._state = threading.Condition()
        self._thread = threading.Thread(target=self._read, name=f"{program.name}-ahead", daemon=True)
        self._thread.start()

    def blocks(self) -> Iterator[bytes]:
        """The output, until the program closes it.

        Raises:
            ProgramError: the program failed, and there was output left to take.
        """
        while (block := self._next()) is not None:
            yield block

    def stop(self) -> None:
        """End the program if it has not ended, and the thread that reads it."""
        with self._state:
            self._unwanted = True
            self._state.notify_all()
        if self._thread.is_alive():
            self._program.terminate()
            self._thread.join(GRACE_SECONDS)
        if self._thread.is_alive():
            self._program.kill()
            self._thread.join()

    def _next(self) -> bytes | None:
        with self._state:
            self._state.wait_for(lambda: self._blocks or self._ended)
            if not self._blocks:
                if self._failure is not None:
                    raise self._failure
                return None
            if not self._program.running:
                self._program.check()  # it failed: packing what was read before takes seconds, for nothing
            block = self._blocks.popleft()
            self._waiting -= len(block)
            self._state.notify_all()
            return block

    def _read(self) -> None:
        small = 0
        try:
            for block in self._program.blocks():
                small = small + 1 if len(block) < _SMALL_BYTES else 0
                if small > _SMALL_BLOCKS:
                    time.sleep(_PAUSE_SECONDS)
                with self._state:
                    self._state.wait_for(lambda: self._unwanted or self._waiting < AHEAD_BYTES)
                    if self._unwanted:
                        return
                    self._blocks.append(block)
                    self._waiting += len(block)
                    self._state.notify_all()
        except BaseException as error:  # noqa: BLE001 -- it is raised in the thread that consumes the blocks
            self._failure = error
        finally:
            with self._state:
                self._ended = True
                self._state.notify_all()


@contextmanager
def read_ahead(program: ChildProcess) -> Iterator[Iterator[bytes]]:
    """A program's output for the length of a block; at its end the program has ended."""
    buffer = _OutputBuffer(program)
    try:
        yield buffer.blocks()
    finally:
        buffer.stop()
