"""The comment that pg_dump writes before each entry: ``-- Name: …; Type: …; Schema: …; Owner: …``.

A name may hold anything but a line break, also what looks like the rest of a header: the last that does is meant.

Source: pg_backup_archiver.c, _printTocEntry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE = re.compile(rb"^-- (Data for )?Name: (.*)", re.MULTILINE)
_TYPE = re.compile(rb"; Type: ([A-Z ]+); Schema: ")
_TYPE_MARK, _OWNER_MARK = b"; Type: ", b"; Owner: "
_LONGEST = 64 << 10  # a function may have 100 arguments, with long names of long types


class EntryHeader(NamedTuple):
    """What one says; `schema` is None if no owner follows it, so that nobody knows where it ends."""

    data: bool
    name: bytes
    type: bytes
    schema: bytes | None


def headers_in(text: bytes, end: int) -> Iterator[EntryHeader]:
    """The headers among the comments before `end`, in their order. Lines that are longer than any are passed over."""
    for line in _LINE.finditer(text, 0, end):
        if line.end() - line.start() <= _LONGEST and (header := _header(bool(line[1]), line[2])):
            yield header


def last_header(text: bytes, end: int) -> EntryHeader | None:
    """The last header among the comments before `end`; None where there is none."""
    found: EntryHeader | None = None
    for header in headers_in(text, end):
        found = header
    return found


def _header(data: bool, text: bytes) -> EntryHeader | None:  # noqa: FBT001 -- of one's own
    owner = text.rfind(_OWNER_MARK)
    known = None if owner < 0 else _type_before(text, owner)
    found = known or _type_before(text, len(text))
    if found is None:
        return None
    return EntryHeader(data, text[: found.start()], found[1], text[found.end() : owner] if known else None)


def _type_before(text: bytes, end: int) -> re.Match[bytes] | None:
    """The last mention of a type that ends before `end`."""
    at = text.rfind(_TYPE_MARK, 0, end)
    while at >= 0:
        if found := _TYPE.match(text, at, end):
            return found
        at = text.rfind(_TYPE_MARK, 0, at)
    return None
