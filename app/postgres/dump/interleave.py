"""Merges pg_dump's text and the ranges that are read beside it, in the order of a dump."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from app.archive.index import SegmentKind
from app.archive.inspect.pg_attver import without_pg_attver
from app.archive.scanner import Chunk, SegmentHeader
from app.archive.writer import Destination
from app.postgres.dump.ranges import TableRange
from app.postgres.dump.workers import Workers


def merge_in_dump_order(chunks: Iterable[Chunk], workers: Workers, archive: Destination) -> None:
    """Write each range in the place where pg_dump would have put its table: tables are ordered by name."""
    header: SegmentHeader | None = None
    for chunk in without_pg_attver(chunks):
        if chunk.header is not header:
            header = chunk.header
            for packed_segment in workers.packed_segments(partial(_stands_before, header)):
                archive.append(packed_segment)
        archive.add([chunk])


def _stands_before(header: SegmentHeader, range_: TableRange) -> bool:
    """Whether a range comes before a segment of pg_dump's."""
    if range_.of.early:
        return header.kind is not SegmentKind.BEFORE
    if header.kind is SegmentKind.DATA and header.table is not None:
        return range_.of.table < header.table
    return header.kind is not SegmentKind.BEFORE
