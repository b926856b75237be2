"""Finds what happened to a dump after pg_dump wrote it: its line ends were changed, or another was appended to it."""

from __future__ import annotations

from app.archive import lexer
from app.archive.index import TableName
from app.archive.inspect.tables import TablesInFile
from app.archive.pg_dump import END_MARKER_LINE
from app.archive.scanner import Chunk

_CR_LF = b"\r\n"


class Mishaps:
    """Takes all chunks of a dump, in its order.

    Attributes:
        has_crlf: whether statements or rows end with CR LF. pg_dump ends them with LF, and escapes a CR in a row.
        twice: a table that is made, or filled, in two dumps of the file.
        tables: those of the dump.
    """

    def __init__(self) -> None:
        self.has_crlf = False
        self.twice: TableName | None = None
        self.tables = TablesInFile()
        self._filled: set[TableName] = set()
        self._filled_before: set[TableName] = set()  # in a dump that has ended

    def look(self, chunk: Chunk) -> None:
        """Take the next chunk."""
        table = chunk.header.table
        if chunk.rows:
            self.has_crlf = self.has_crlf or _CR_LF in chunk.data
            return
        self.has_crlf = self.has_crlf or chunk.data.endswith(_CR_LF)
        if END_MARKER_LINE.search(chunk.data, 0, lexer.start_of(chunk.data)):
            self._filled_before |= self._filled
        if table is None:
            self.twice = self.tables.take(chunk.data) or self.twice
            return
        self._filled.add(table)
        if table in self._filled_before:
            self.twice = table
