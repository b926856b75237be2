"""The file of a backup of some tables only: a script like any other, which says in its first line what it is.

Foreign keys to tables whose rows it lacks stand in it as comments, each below the header of its entry.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

_HEAD = b"-- NOT A WHOLE DATABASE. It holds the rows of these tables only: "
ROWS_ELSEWHERE = b"-- The rows of the other table are not in this file:\n"  # what follows is a comment too


def part_head(names: Sequence[str]) -> bytes:
    """The first line of a file that holds the rows of some tables only."""
    return _HEAD + json.dumps(names).encode() + b"\n"


def is_left_out(comments: bytes) -> bool:
    """Whether an entry is in a dump as comments only, given with all comments from its header on."""
    return comments.rfind(ROWS_ELSEWHERE) > comments.rfind(b"-- Name: ")


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
