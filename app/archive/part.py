"""The first line of a backup of some tables only: its file is a script like any other, and says what it is."""

from __future__ import annotations

import json
from collections.abc import Sequence

_HEAD = b"-- NOT A WHOLE DATABASE. It holds the rows of these tables only: "


def part_head(names: Sequence[str]) -> bytes:
    """The first line of a file that holds the rows of some tables only."""
    return _HEAD + json.dumps(names).encode() + b"\n"


def tables_of_part(begin: bytes) -> tuple[str, ...]:
    """The tables whose rows a dump holds, if its first line says so; else none.

    Args:
        begin: how its text begins, with the first line.
    """
    line = begin.partition(b"\n")[0]
    if not line.startswith(_HEAD):
        return ()
    try:
        names = json.loads(line.removeprefix(_HEAD))
    except ValueError:  # somebody has changed it
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()
