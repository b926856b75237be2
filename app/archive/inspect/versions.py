"""The rows of migration tools' tables in an archive: which migrations its schema has seen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.archive.index import TableName
from app.archive.reader import Archive
from app.domain.version_tables import VersionTable, version_table

ALEMBIC = "alembic_version"
_MOST_BYTES = 1 << 20  # of one table; a longer one is not what it seems
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_PLAIN = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


@dataclass(frozen=True, slots=True)
class RecordedVersions:
    """A migration tool's table in an archive.

    Attributes:
        tool: whose table it is.
        column: that has the versions.
    """

    name: TableName
    tool: VersionTable
    column: str
    versions: frozenset[str]


def recorded_versions(archive: Archive, more: Iterable[str] = ()) -> Iterator[RecordedVersions]:
    """The tables of migration tools, with what they recorded.

    If the archive can only be read from its start, of Alembic's alone.

    Args:
        archive: to look at.
        more: names from the setting: ``table`` or ``schema.table``.

    Raises:
        BackupReadError, BackupValidationError: it cannot be read.
    """
    for digest in archive.index.tables:
        table = digest.table
        segments = archive.segments_of(table)
        columns = segments[0].columns if segments else None
        tool = version_table(*table, columns or (), more)
        if tool is None or tool.tells is None or sum(segment.raw_bytes for segment in segments) > _MOST_BYTES:
            continue
        if not archive.seekable and table.name != ALEMBIC:
            continue
        number = [name.casefold() for name in columns or ()].index(tool.tells)
        rows = (line.split(b"\t") for line in _lines(archive, table))
        versions = frozenset(_text(row[number]) for row in rows if number < len(row) and row[number] != rb"\N")
        yield RecordedVersions(table, tool, (columns or ())[number], versions)


def _lines(archive: Archive, table: TableName) -> Iterator[bytes]:
    """The rows of a table's COPY blocks."""
    inside = False
    for line in b"".join(archive.read_table(table)).split(b"\n"):
        if inside and line == rb"\.":
            inside = False
        elif inside:
            yield line
        else:
            inside = line.startswith(b"COPY ")


def _text(value: bytes) -> str:
    return _ESCAPE.sub(lambda found: _PLAIN.get(found[1], found[1]), value).decode(errors="backslashreplace")
