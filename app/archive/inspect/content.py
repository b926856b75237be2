"""The content of a dump, to compare an archive with a new dump of the restored database.

Kept are: count and digest of each table's rows, values of sequences, hashes of large objects, and the words of each
entry of the schema under its header. So a dump of any size needs little memory.

Source: pg_dump's plain format (pg_backup_archiver.c, _printTocEntry).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from app.archive import lexer
from app.archive.codecs import NO_FRAMES, FrameFormat
from app.archive.digest import RowDigest
from app.archive.index import SegmentKind, TableDigest, TableName
from app.archive.inspect.large_objects import LargeObjects
from app.archive.inspect.pg_attver import without_pg_attver
from app.archive.inspect.words import Words
from app.archive.part import is_left_out
from app.archive.pg_dump import (
    CLIENT_ENCODING,
    SEARCH_PATH,
    SETVAL,
    VERSION,
    last_header,
    plainly_quoted,
    python_encoding,
    with_schema,
)
from app.archive.reader import Archive
from app.archive.scanner import Chunk, scan
from app.archive.writer import PackedSegment

# Statements that say how to load, not what there is. Where pg_dump writes them depends on the entries before.
_NO_WORDS = re.compile(rb"SET\s|SELECT pg_catalog\.set_config\(|\\(?:un)?restrict |BEGIN;|COMMIT;")
# Each new database has these. pg_dump writes them only if they were made again, as pg_upgrade does.
EVERYWHERE = frozenset({b"plpgsql"})
_NOT_COMPARED = {(b"EXTENSION", name) for name in EVERYWHERE} | {
    (b"COMMENT", form % name) for form in (b"EXTENSION %s", b'EXTENSION "%s"') for name in EVERYWHERE
}
# pg_dump writes the oid of a role that was dropped in place of its name. No server can restore that right. Oids below
# 16384 are never given to roles (access/transam.h), so a lower number is the name of a role.
_DROPPED_ROLE = re.compile(rb'(?:GRANT|REVOKE)\s[^;]*\s(?:TO|FROM) "([1-9][0-9]{4,9})"(?: WITH GRANT OPTION)?\s*;?\Z')
_ROLE_NUMBERS = range(16384, 1 << 32)
_KEPT_BYTES = 64 << 20  # of words; of later entries only the hash is kept
# `pg_dump --create` writes them. They are about the database itself, which the restore makes.
_OF_DATABASE = {b"DATABASE", b"DATABASE PROPERTIES"}
# In the names of these entries stand names as SQL: ``TABLE "t"`` if all identifiers are quoted.
_NAMED_AS_SQL = {b"ACL", b"CAST", b"COMMENT", b"SECURITY LABEL"}
_QUOTED_ALL = re.compile(rb'(?:CREATE TABLE|COMMENT ON SCHEMA|SET default_table_access_method =) "[a-z_][a-z0-9_]*"')
_OF_OBJECTS = (b"SELECT", b"ALTER LARGE OBJECT ")
_VALUES = {b"SEQUENCE SET", b"STATISTICS DATA", b"TABLE DATA", b"BLOBS", b"BLOB", b"BLOB METADATA"}


class EntryName(NamedTuple):
    """An entry as pg_dump names it: ``CONSTRAINT app.parent parent_pkey``."""

    type: bytes
    schema: bytes
    name: bytes

    def __str__(self) -> str:
        schema = "" if self.schema == b"-" else f"{_text(self.schema)}."
        return f"{_text(self.type).lower()} {schema}{_text(self.name)}"


@dataclass(slots=True)
class Entries:
    """The schema, entry by entry. Several entries may have one name, because a header shows no line breaks.

    Attributes:
        words: of each name's entries.
        unsure: rights that name a dropped role. After a restore, pg_dump may write the remaining ones differently.
        bare: whether tables are made without a header, as in a dump whose comments were taken out.
        server, program: major versions of the server and of pg_dump; None if the dump does not say.
    """

    words: dict[EntryName, list[Words]] = field(default_factory=lambda: defaultdict(list))
    unsure: set[EntryName] = field(default_factory=set)
    bare: bool = False
    server: int | None = None
    program: int | None = None


class Content:
    """Takes the dump's chunks and packed segments, as the archive's writer does, and keeps what is compared.

    Attributes:
        entries: the schema.
        encoding: that the dump sets.
        quotes_all: whether it was made with ``--quote-all-identifiers``, which values of regclass show too.
        sequences: by the name as a literal, with its quotes, the other arguments of ``setval``. Names in it are plainly
            quoted.
        large_objects: contents and owners.
    """

    def __init__(self, progress: Callable[[int], None] = lambda _: None) -> None:
        self.entries = Entries()
        self.encoding: str | None = None
        self.quotes_all = False
        self._schema = b""  # of names without one
        self.sequences: dict[bytes, bytes] = {}
        self.large_objects = LargeObjects()
        self._progress = progress
        self._rows: dict[TableName, RowDigest] = {}
        self._entry: EntryName | None = None
        self._words = Words()
        self._room = _KEPT_BYTES

    @property
    def tables(self) -> dict[TableName, TableDigest]:
        """Rows and digest of each table."""
        return {
            table: TableDigest(table=table, rows=digest.rows, digest=digest.hexdigest())
            for table, digest in self._rows.items()
        }

    def describes(self, table: TableName) -> bool:
        """Whether the schema has this table. Of an unlogged table, the dump of a standby has no rows."""
        codec = python_encoding(self.encoding or "UTF8")
        schema, name = (part.encode(codec, errors="surrogateescape") for part in table)
        return EntryName(b"TABLE", schema, name) in self.entries.words

    def frame_format(self) -> FrameFormat:
        """No frames: only the digest of a packed segment is used."""
        return NO_FRAMES

    def add(self, chunks: Iterable[Chunk]) -> None:
        """Take chunks, in the dump's order."""
        for chunk in without_pg_attver(chunks):
            if chunk.objects:
                self._end_entry()
                self.large_objects.take_run(chunk.data)
            elif chunk.header.table is None:
                self._sql(chunk.data)
            else:
                self._end_entry()
                digest = self._rows.setdefault(chunk.header.table, RowDigest())
                if chunk.rows:
                    digest.feed(chunk.data)
            self._progress(len(chunk.data))

    def append(self, packed_segment: PackedSegment) -> None:
        """Take a packed segment of rows."""
        self._end_entry()
        for _ in packed_segment.frames():
            pass
        figures = packed_segment.figures
        if figures.header.table is not None and figures.digest is not None:
            self._rows.setdefault(figures.header.table, RowDigest()).add(figures.digest)
        self._progress(figures.raw_bytes)

    def finish(self) -> None:
        """End the last entry, after all chunks."""
        self._end_entry()

    def _sql(self, unit: bytes) -> None:
        end = lexer.start_of(unit)
        if end:
            self._comments(unit, end)
        statement = unit[end:].strip()
        if encoding := CLIENT_ENCODING.match(statement):
            self.encoding = encoding[1].decode()
        if path := SEARCH_PATH.match(statement):
            self._schema = path[1] or b""
        self.quotes_all = self.quotes_all or _QUOTED_ALL.match(statement) is not None
        if self._entry is None and statement.startswith(b"CREATE TABLE "):
            self.entries.bare = True
        if self._entry and dropped_role(statement):
            self.entries.unsure.add(self._entry)
        if statement and not self._value(statement) and self._entry and not _NO_WORDS.match(statement):
            self._words.add(statement)

    def _comments(self, unit: bytes, end: int) -> None:
        """Read the comments before a statement: the header of an entry, or the versions at the top of the dump."""
        header = last_header(unit, end)
        if header is not None and header.schema is not None:
            self._end_entry()
            named = (header.type, header.name)
            if is_left_out(unit[:end]):
                return
            of_database = header.type in _OF_DATABASE or header.name.startswith(b"DATABASE ")
            if not (header.data or of_database or header.type in _VALUES or named in _NOT_COMPARED):
                name = plainly_quoted(header.name) if header.type in _NAMED_AS_SQL else header.name
                self._entry = EntryName(header.type, header.schema, name)
        elif not self.entries.words:
            for what, major in VERSION.findall(unit, 0, end):
                if what == b"by pg_dump":
                    self.entries.program = int(major)
                else:
                    self.entries.server = int(major)

    def _value(self, statement: bytes) -> bool:
        """Take the value of a sequence, or data of a large object; return False for any other statement."""
        if statement.startswith(_OF_OBJECTS) and self.large_objects.take(statement):
            return True
        if value := SETVAL.match(statement):
            self.sequences[plainly_quoted(with_schema(value[1], self._schema))] = b"%s, %s" % (value[2], value[3])
        return value is not None

    def _end_entry(self) -> None:
        if self._entry is not None:
            self.entries.words[self._entry].append(self._words)
            self._room -= self._words.kept
            self._words = Words(self._room)
            self._entry = None


def dropped_role(statement: bytes) -> str | None:
    """The oid of a dropped role, or a name that looks like one, in a GRANT or REVOKE; None if there is none."""
    if not statement.startswith((b"GRANT", b"REVOKE")):
        return None
    found = _DROPPED_ROLE.match(statement)
    return found[1].decode() if found and int(found[1]) in _ROLE_NUMBERS else None


def content_of(archive: Archive) -> Content:
    """The content of an archive without its rows, which its index describes.

    Rows are read only if they cannot be skipped.

    Raises:
        BackupReadError, BackupValidationError: the archive cannot be read, or differs from its index.
    """
    content = Content()
    content.add(_sql(archive))
    content.finish()
    return content


def _sql(archive: Archive) -> Iterator[Chunk]:
    if not archive.seekable:
        yield from (chunk for chunk in scan(archive.whole()) if chunk.header.table is None)
        return
    for segment in archive.index.segments:
        if segment.kind is not SegmentKind.DATA:
            yield from scan(archive.text(segment))


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")
