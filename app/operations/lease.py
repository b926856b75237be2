"""Keeps a claim alive while its work goes on, and notices when it is lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from app.errors import CatalogError, ResidencyBackupError

HEARTBEAT_SECONDS = 10.0


class Lease:
    """A claim that this process holds."""

    def __init__(
        self,
        beat: Callable[[datetime], bool],
        lost: ResidencyBackupError,
        clock: Callable[[], datetime],
        tell: Callable[[CatalogError], None],
    ) -> None:
        self._tell = tell
        self._beat_once = beat
        self._error = lost
        self._clock = clock
        self._ended = threading.Event()
        self._lost = False

    def confirm(self) -> None:
        """Make sure that the claim is still ours. A catalog that cannot be asked does not stop what is finished.

        Raises:
            ResidencyBackupError: it was taken for dead, and another may be at the same work.
        """
        self._beat()
        if self._lost:
            raise self._error

    def _beat(self) -> None:
        try:
            self._lost = self._lost or not self._beat_once(self._clock())
        except CatalogError as error:
            self._tell(error)

    def _keep_beating(self, every: float) -> None:
        while not self._ended.wait(every) and not self._lost:
            self._beat()


@contextmanager
def lease(
    beat: Callable[[datetime], bool],
    lost: ResidencyBackupError,
    clock: Callable[[], datetime],
    tell: Callable[[CatalogError], None],
    *,
    every: float = HEARTBEAT_SECONDS,
) -> Iterator[Lease]:
    """Give signs of life every so many seconds for the length of a block.

    Args:
        beat: gives one; says whether the claim is still ours.
        lost: the error to raise if it is not.
        clock: the present instant.
        tell: called with the error of a sign of life that could not be recorded.
        every: seconds between two.
    """
    held = Lease(beat, lost, clock, tell)
    thread = threading.Thread(target=held._keep_beating, args=(every,), name="lease", daemon=True)  # noqa: SLF001
    thread.start()
    try:
        yield held
    finally:
        held._ended.set()  # noqa: SLF001
        thread.join()
