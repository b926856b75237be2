"""Leaves out what a server notes about columns for itself, and a pg_dump older than the server takes for a setting.

Seen with PostgreSQL 17.12: each column has an option ``pg_attver``, a number of the server's own. Its pg_dump leaves
that out, the pg_dump of 17.11 writes ``ALTER TABLE ONLY t ALTER COLUMN c SET (pg_attver=36092272, n_distinct=7);``,
which a server of 17.11 refuses, so that a backup could not go back to where it came from before an update.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from app.archive.scanner import Piece

_SET = re.compile(rb"\s*(ALTER TABLE ONLY .* ALTER COLUMN .* SET \()([\w=., -]*)(\);\s*)", re.DOTALL)
_MARK = re.compile(rb"pg_attver=\d+")


def without_marks(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces of a dump, where no statement sets what is the server's own."""
    for piece in pieces:
        if piece.rows or b"pg_attver=" not in piece.data:
            yield piece
        elif data := _unmarked(piece.data):
            yield replace(piece, data=data)


def _unmarked(statement: bytes) -> bytes:
    found = _SET.fullmatch(statement)
    if found is None:
        return statement  # it stands in a comment, a function, a name
    left = [option for option in found[2].split(b", ") if not _MARK.fullmatch(option)]
    return found[1] + b", ".join(left) + found[3] if left else b""
