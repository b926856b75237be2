"""What stands where in an archive: its segments and, per table, the row digest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class SegmentKind(StrEnum):
    """The kinds of segment, in the order in which they stand in an archive."""

    BEFORE = "schema before data"
    DATA = "table data"
    SEQUENCES = "sequence values"
    LARGE_OBJECTS = "large objects"
    AFTER = "schema after data"


class TableName(NamedTuple):
    """A table's schema and name as the server spells them, without quotes."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRange:
    """Which pages of a table's file a segment holds: `first` to `last` of `relfilenode`, as of the snapshot."""

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
        offset, bytes: where it stands in the file. None for a compressed file of foreign make, whose frames do not end
            where the segments do.
        raw_bytes, sha256: length and digest of its plain SQL.
        pages: of the table, where the segment was read by a range of them.
    """

    kind: SegmentKind
    table: TableName | None = None
    columns: tuple[str, ...] | None = None
    offset: int | None
    bytes: int | None
    raw_bytes: int
    rows: int | None = None
    sha256: str
    pages: PageRange | None = None

    def __str__(self) -> str:
        named = f"{self.kind} of {self.table}" if self.table else str(self.kind)
        return f"{named}, {self.pages}" if self.pages else named


@dataclass(frozen=True, slots=True, kw_only=True)
class TableDigest:
    """What proves a table's content, whatever the order of its rows: see `app.archive.digest`."""

    table: TableName
    rows: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A whole archive: `complete` says whether the dump's end marker was seen."""

    segments: tuple[Segment, ...]
    tables: tuple[TableDigest, ...]
    bytes: int
    raw_bytes: int
    sha256: str
    complete: bool

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return total_rows(self.tables)


def total_rows(tables: Iterable[TableDigest]) -> int:
    """Rows of all the given tables."""
    return sum(each.rows for each in tables)
