"""A folder in which a full backup is put together. It goes when the block ends; a crash leaves it as a leftover."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.storage import disk


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A new folder, ours alone, for the length of a block."""
    with disk.writing(folder):
        folder.mkdir(0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what does not go now is a leftover, which `check --repair` removes


def discard_folder(folder: Path) -> None:
    """Remove a folder and all in it; no link is followed. What is missing is no error."""
    shutil.rmtree(folder, onerror=_unless_missing)


def _unless_missing(_: object, __: str, failure: tuple[type[BaseException], BaseException, object]) -> None:
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]
