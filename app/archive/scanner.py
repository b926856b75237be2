r"""Cuts any plain SQL dump into segments while it is read, in bounded memory.

Outside of COPY data the text is read statement by statement (`app.archive.lexer`), so that a function body, a comment
or a string that looks like ``COPY t FROM stdin;`` is not mistaken for one. Inside, the first line ``\.`` ends the
block: no row can be that line, because COPY writes a backslash in a value twice. Statements about large objects, of
which a dump may have millions, are taken in runs (`app.archive.large_objects`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.archive import large_objects, lexer
from app.archive.index import PageRange, SegmentKind, TableName
from app.archive.pg_dump import (
    CLIENT_ENCODING,
    COPY,
    END_MARKER,
    NAME,
    SEARCH_PATH,
    EntryHeader,
    last_header,
    python_encoding,
    unquoted,
)
from app.errors import BackupReadError

# Entries that pg_dump never writes before the data: its post-data section, and rights, which come last.
_BEHIND_DATA = frozenset(
    b"ACL,CHECK CONSTRAINT,CONSTRAINT,DEFAULT ACL,EVENT TRIGGER,FK CONSTRAINT,INDEX,INDEX ATTACH,"
    b"MATERIALIZED VIEW DATA,POLICY,PUBLICATION,PUBLICATION TABLE,PUBLICATION TABLES IN SCHEMA,ROW SECURITY,RULE,"
    b"STATISTICS,SUBSCRIPTION,SUBSCRIPTION TABLE,TRIGGER".split(b",")
)
_LINE_END = re.compile(rb"[^\S\n]*(?:\n|(\Z))")
_END_LINE = re.compile(rb"\\\.\r?\n")
_NEWLINE = ord("\n")
_UNIT_BYTES = 1 << 30  # the longest statement that a server takes; only an INSERT of many rows is so long
_SQL_BYTES = 64 << 20
_COMMENT_BYTES = 16 << 20
_INSERT = re.compile(rb"INSERT\b", re.IGNORECASE)
_KEPT_BYTES = 8 << 20
_RUN_BYTES = 256 << 10
_SPARE = 4  # bytes of a line break and the end-of-data line, which the end of a block may cut


@dataclass(frozen=True, slots=True, eq=False)
class SegmentHeader:
    """What a segment holds. Each new header object begins a new segment, even if it equals the one before."""

    kind: SegmentKind
    table: TableName | None = None
    columns: tuple[str, ...] | None = None
    pages: PageRange | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes of a segment, in the order of the file.

    Attributes:
        rows: whether they are COPY data. Otherwise they are one statement, with the comments before it.
        objects: whether they are many statements: a run of `app.archive.large_objects`.
    """

    header: SegmentHeader
    data: bytes
    rows: bool = False
    objects: bool = False


def scan(blocks: Iterable[bytes]) -> Iterator[Chunk]:
    """Cut a dump, given in blocks of any size, into chunks, each of one segment.

    The chunks' data, joined, is the input byte for byte.

    Raises:
        BackupReadError: the text ends within a COPY block.
    """
    return _Scanner(blocks).chunks()


class _Scanner:
    """Holds the text that was read but not yielded yet: `_text` from `_at` on."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = filter(None, blocks)  # an empty block is not the end
        self._text = b""
        self._at = 0
        self._encoding = "utf-8"
        self._schema = b""  # of names without one
        self._header = SegmentHeader(SegmentKind.BEFORE)

    def chunks(self) -> Iterator[Chunk]:
        while True:
            yield from self._runs()
            if not (unit := self._unit()):
                return
            start = lexer.start_of(unit)
            found = self._copy_of(unit, start)
            self._header = found or self._follow(unit, start)
            yield Chunk(self._header, unit)
            if found:
                self._refuse_rest_of_line(found, unit)
                yield from self._rows(found)
                # Text without an entry header does not belong to the table before it.
                self._header = SegmentHeader(SegmentKind.AFTER)

    def _runs(self) -> Iterator[Chunk]:
        """Runs of statements about large objects, as long as possible."""
        # The header of a large object begins no other segment in these two; see _kind_of.
        headers = self._header.kind in {SegmentKind.BEFORE, SegmentKind.AFTER}
        while True:
            while large_objects.may_begin_run(self._text, self._at, _RUN_BYTES) and self._fill():
                pass
            end = large_objects.end_of_run(self._text, self._at, _RUN_BYTES, headers=headers)
            if end == self._at:
                return
            yield Chunk(self._header, self._take(end), objects=True)

    def _fill(self) -> bool:
        """Read half as much as is held, so that a long statement is not copied again for each block."""
        held = self._text[self._at :]
        wanted = max(len(held) // 2, 1)
        more = [held]
        while wanted > 0 and (block := next(self._blocks, b"")):
            more.append(block)
            wanted -= len(block)
        self._text, self._at = b"".join(more), 0
        return len(more) > 1

    def _take(self, end: int) -> bytes:
        taken = self._text[self._at : end]
        self._at = end
        if len(taken) > _KEPT_BYTES:  # do not keep it in memory twice
            self._text, self._at = self._text[end:], 0
        return taken

    def _unit(self) -> bytes:
        """The next statement with the space and comments before it, and the rest of its line; b"" at the end."""
        while True:
            end = self._unit_end()
            if end != lexer.UNFINISHED:
                return self._take(end)
            self._require_bounded(len(self._text) - self._at)
            if not self._fill():
                return self._take(len(self._text))

    def _require_bounded(self, held: int) -> None:
        """Refuse an unfinished statement or comment that is longer than any in a dump."""
        if held <= _COMMENT_BYTES:
            return
        start = lexer.statement_start(self._text, self._at)
        what, most = "a comment", _COMMENT_BYTES
        if start != lexer.UNFINISHED:
            what, most = "a statement", _UNIT_BYTES if _INSERT.match(self._text, start) else _SQL_BYTES
        if held > most:
            message = f"{what} is longer than {most >> 20} MiB"
            raise BackupReadError(message, "no dump has this: look at the file before you load anything from it")

    def _unit_end(self) -> int:
        start = lexer.statement_start(self._text, self._at)
        if start == lexer.UNFINISHED:
            return start
        if self._text.startswith(b"\\", start):  # a psql command is a line
            return self._text.find(b"\n", start) + 1 or lexer.UNFINISHED
        end = lexer.statement_end(self._text, start)
        if end == lexer.UNFINISHED:
            return end
        blank = _LINE_END.match(self._text, end)
        if blank is None:
            return end  # another statement follows on the line
        return blank.end() if blank[1] is None else lexer.UNFINISHED

    def _copy_of(self, unit: bytes, start: int) -> SegmentHeader | None:
        found = COPY.match(unit, start)
        if found is None:
            return None
        schema, name, columns = found.groups()
        if name is None:
            schema, name = self._schema, schema
        table = TableName(self._name(schema), self._name(name))
        named = None if columns is None else tuple(self._name(column) for column in NAME.findall(columns))
        return SegmentHeader(SegmentKind.DATA, table, named)

    def _refuse_rest_of_line(self, header: SegmentHeader, unit: bytes) -> None:
        """Refuse text after COPY on its line: psql would run it after the data. No dump has that."""
        if not unit.endswith(b"\n") and self._at < len(self._text):
            message = f"cannot tell the data of table {header.table} from what follows COPY on its line"
            raise BackupReadError(message, "put each statement on a line of its own")

    def _follow(self, unit: bytes, start: int) -> SegmentHeader:
        """The segment header of a statement: the current one, unless the comments before the statement change it.

        Only these comments are read, because strings and function bodies may hold anything.
        """
        if encoding := CLIENT_ENCODING.match(unit, start):
            self._encoding = python_encoding(encoding[1].decode())
        if path := SEARCH_PATH.match(unit, start):
            self._schema = path[1] or b""
        entry = last_header(unit, start)
        kind = self._kind_of(entry) if entry else self._header.kind
        if kind is SegmentKind.BEFORE and unit.find(END_MARKER, 0, start) >= 0:
            kind = SegmentKind.AFTER  # the end marker is in the last segment, also of a dump without data
        return self._header if kind is self._header.kind else SegmentHeader(kind)

    def _kind_of(self, entry: EntryHeader) -> SegmentKind:
        large_object = entry.name.startswith(b"LARGE OBJECT")
        if entry.type == b"SEQUENCE SET":
            return SegmentKind.SEQUENCES
        # PostgreSQL 17 and later create large objects next to their data; a comment on one may come in between.
        if entry.type in {b"BLOBS", b"BLOB METADATA"} or (
            large_object and self._header.kind is SegmentKind.LARGE_OBJECTS
        ):
            return SegmentKind.LARGE_OBJECTS
        before = self._header.kind is SegmentKind.BEFORE and entry.type not in _BEHIND_DATA
        return SegmentKind.BEFORE if before else SegmentKind.AFTER

    def _name(self, identifier: bytes) -> str:
        return unquoted(identifier, self._encoding)

    def _rows(self, header: SegmentHeader) -> Iterator[Chunk]:
        """The rows and their end line. A chunk may end inside a line, so a row of any length fits in memory."""
        at_line_start = True
        while (found := self._end_of_data(at_line_start=at_line_start)) is None:
            ready = len(self._text) - _SPARE
            if ready > self._at:
                at_line_start = self._text[ready - 1] == _NEWLINE
                yield Chunk(header, self._take(ready), rows=True)
            if not self._fill():
                message = f"the file ends within the data of table {header.table}"
                raise BackupReadError(message, "it was cut off: use another backup")
        end, after = found
        if end > self._at:
            yield Chunk(header, self._take(end), rows=True)
        yield Chunk(header, self._take(after))

    def _end_of_data(self, *, at_line_start: bool) -> tuple[int, int] | None:
        r"""Offsets of the end of the rows and of the line ``\.`` after them; None if that line was not read yet."""
        if at_line_start and (line := _END_LINE.match(self._text, self._at)):
            return self._at, line.end()
        # find, not a regular expression, because it runs at memory speed.
        found = self._text.find(b"\n\\.", self._at)
        while found >= 0:
            if line := _END_LINE.match(self._text, found + 1):
                return found + 1, line.end()
            found = self._text.find(b"\n\\.", found + 1)
        return None
