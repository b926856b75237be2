"""The index of an archive: its segments with their places and, for each table, the row digest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple


class SegmentKind(StrEnum):
    """The kinds of segment, in their order in an archive."""

    BEFORE = "schema before data"
    DATA = "table data"
    SEQUENCES = "sequence values"
    LARGE_OBJECTS = "large objects"
    AFTER = "schema after data"


class TableName(NamedTuple):
    """A table's schema and name as the server stores them, without quotes."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRange:
    """The pages of a table's file that a segment holds: `first` to `last` of `relfilenode`, at the snapshot."""

    relfilenode: int
    first: int
    last: int

    def __str__(self) -> str:
        return f"pages {self.first} to {self.last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One part of an archive that can be read by itself.

    Attributes:
        table, columns, rows: of a COPY block; None for SQL.
        offset, bytes: its place in the file. None in a compressed file of another program, because its frames do
            not end with the segments.
        raw_bytes: length of its plain SQL.
        xxh128, sha256: digest of its plain SQL; one of the two (see `app.archive.digest`).
        pages: of the table, if the segment was read by a range of pages.
    """

    kind: SegmentKind
    table: TableName | None = None
    columns: tuple[str, ...] | None = None
    offset: int | None
    bytes: int | None
    raw_bytes: int
    rows: int | None = None
    xxh128: str | None = None
    sha256: str | None = None
    pages: PageRange | None = None

    def __str__(self) -> str:
        named = f"{self.kind} of {self.table}" if self.table else str(self.kind)
        return f"{named}, {self.pages}" if self.pages else named


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDigest:
    """Proves a table's content, in any order of its rows: see `app.archive.digest`."""

    table: TableName
    rows: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """The index of a whole archive; `complete` says whether the end marker of the dump was found."""

    segments: tuple[Segment, ...]
    tables: tuple[TableDigest, ...]
    bytes: int
    raw_bytes: int
    sha256: str
    complete: bool

    @property
    def rows(self) -> int:
        """Number of rows in all tables."""
        return total_rows(self.tables)

    def without_places(self) -> Index:
        """The index of a file that can only be read from its beginning."""
        segments = tuple(replace(segment, offset=None, bytes=None) for segment in self.segments)
        return replace(self, segments=segments)


def total_rows(tables: Iterable[TableDigest]) -> int:
    """Number of rows in all given tables."""
    return sum(table.rows for table in tables)
