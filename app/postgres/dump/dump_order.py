"""Puts pg_dump's text and the ranges that are read beside it together, in the order of a dump."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from app.archive.index import Kind
from app.archive.inspect.pg_attver import without_marks
from app.archive.scanner import Head, scan
from app.archive.writer import Destination
from app.postgres.dump.ranges import TableRange
from app.postgres.dump.workers import Crew


def put_in_order(text: Iterator[bytes], crew: Crew, archive: Destination) -> None:
    """Put each range where pg_dump would have put its table's data: tables stand in the order of their names."""
    head: Head | None = None
    for piece in without_marks(scan(text)):
        if piece.head is not head:
            head = piece.head
            for parcel in crew.parcels(partial(_stands_before, head)):
                archive.append(parcel)
        archive.add([piece])


def _stands_before(head: Head, range_: TableRange) -> bool:
    """Whether a range belongs before a segment of pg_dump's."""
    if range_.of.early:
        return head.kind is not Kind.BEFORE
    if head.kind is Kind.DATA and head.table is not None:
        return range_.of.table < head.table
    return head.kind is not Kind.BEFORE
