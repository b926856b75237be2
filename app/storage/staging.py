"""A folder in which a full backup is put together. It is removed at the end; after a crash it is a leftover."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.os_errors import writing

_PATIENCE_SECONDS = 5.0
_PAUSE_SECONDS = 0.1


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A new private folder for the length of a block."""
    try:
        with writing(folder):
            folder.mkdir(0o700)
        yield folder
    finally:
        _discard_surely(folder)


def _discard_surely(folder: Path) -> None:
    """Remove a folder. If a program that was just ended still writes into it, try again for some seconds.

    If it stays, it is a leftover, which the next run or `check --repair` removes.
    """
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() or time.monotonic() > end:
            return
        time.sleep(_PAUSE_SECONDS)


def discard_folder(folder: Path) -> None:
    """Remove a folder with its content, without following links. A missing file is no error."""
    shutil.rmtree(folder, onerror=_unless_missing)


def _unless_missing(_: object, __: str, failure: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]
