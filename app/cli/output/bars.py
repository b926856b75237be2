"""Progress bars."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as RichProgress

from app.operations.service import Progress


class Bars(Progress):
    """Progress bars on standard error."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def start(self, what: str, total: int | None) -> None:
        """A phase begins."""
        if self._task is not None:
            self._bars.update(self._task, visible=False)
        self._task = self._bars.add_task(what, total=total or None)

    def advance(self, amount: int) -> None:
        """Add a number of bytes."""
        if self._task is not None:
            self._bars.advance(self._task, amount)


@contextmanager
def bars() -> Iterator[Progress]:
    """Bars while a block runs."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        yield Bars(shown)
