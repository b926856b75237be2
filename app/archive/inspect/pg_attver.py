"""Leaves out what a server notes about columns for itself, and a pg_dump older than the server takes for a setting.

Seen with PostgreSQL 17.12: each column has an option ``pg_attver``, a number of the server's own. Its pg_dump leaves
that out, the pg_dump of 17.11 writes ``ALTER TABLE ONLY t ALTER COLUMN c SET (pg_attver=36092272, n_distinct=7);``,
which a server of 17.11 refuses, so that a backup could not go back to where it came from before an update.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from app.archive.scanner import Chunk

_OPENING, _CLOSING = b" SET (", re.compile(rb"\);\s*\Z")
_BEGINS = re.compile(rb"\s*ALTER TABLE ONLY ")
_COLUMN = b" ALTER COLUMN "
_OPTIONS = re.compile(rb"[\w=., -]*")
_MARK = re.compile(rb"pg_attver=\d+")


def without_pg_attver(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    """The chunks of a dump, without the options ``pg_attver`` in any statement."""
    for chunk in chunks:
        if chunk.rows or b"pg_attver=" not in chunk.data:
            yield chunk
        elif data := _unmarked(chunk.data):
            yield replace(chunk, data=data)


def _unmarked(statement: bytes) -> bytes:
    start, end = statement.rfind(_OPENING) + len(_OPENING), _CLOSING.search(statement, max(0, len(statement) - 100))
    known = _BEGINS.match(statement) and statement.find(_COLUMN, 0, start) >= 0
    if end is None or not known or not _OPTIONS.fullmatch(statement, start, end.start()):
        return statement  # it stands in a comment, a function, a name
    options = statement[start : end.start()].split(b", ")
    left = [option for option in options if not _MARK.fullmatch(option)]
    return statement[:start] + b", ".join(left) + statement[end.start() :] if left else b""
