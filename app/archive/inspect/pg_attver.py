"""Leaves out the column option ``pg_attver``, which a server may set for itself.

Seen with PostgreSQL 17.12: each column has this option, a number for internal use. Its pg_dump leaves it out, but the
pg_dump of 17.11 writes ``ALTER TABLE ONLY t ALTER COLUMN c SET (pg_attver=36092272, n_distinct=7);``. A server of 17.11
refuses that, so the backup could not be restored on the server as it was before the update.
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
        return statement  # the text is in a comment, a function or a name
    options = statement[start : end.start()].split(b", ")
    left = [option for option in options if not _MARK.fullmatch(option)]
    return statement[:start] + b", ".join(left) + statement[end.start() :] if left else b""
