"""Progress, for a person who watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from app.operations.service import SILENT, Progress


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """Progress bars while a block runs, if a person watches."""
    if quiet or not sys.stderr.isatty():
        yield SILENT
        return
    from app.cli.output.bars import bars  # noqa: PLC0415 -- by need: `rich` takes 0.05 s

    with bars() as shown:
        yield shown
