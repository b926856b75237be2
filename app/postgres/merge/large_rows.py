"""Rows as COPY text that are too large for the memory of this process: their values come in pieces.

libpq and Python each hold a whole row of COPY, and a row may have a gigabyte. Few tables have such rows; those without
large values beside them (in a TOAST table) are not looked through.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from app.archive.index import TableName
from app.postgres.merge.schema import Column, LiveSchema, LiveTable
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import TEXT
from app.postgres.quoting import SAME, literal, quoted

LARGE = 8 << 20  # bytes of a row
PIECE = 8 << 20  # bytes that are held at once; two to three times as much in fact
LEAST_BESIDE = 64 << 10  # bytes beside a table: a value of LARGE does not get smaller by compression
_BESIDE = f"""
    SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid {SAME} c.relnamespace
    WHERE c.relkind {SAME} 'r' AND c.reltoastrelid OPERATOR(pg_catalog.<>) 0::pg_catalog.oid
        AND c.relpersistence OPERATOR(pg_catalog.<>) 't'
        AND pg_catalog.pg_relation_size(c.reltoastrelid::pg_catalog.regclass) OPERATOR(pg_catalog.>=) {{}}"""
_CUT = "restore_cut"
_ESCAPES = {b"\b": rb"\b", b"\f": rb"\f", b"\n": rb"\n", b"\r": rb"\r", b"\t": rb"\t", b"\v": rb"\v", b"\\": rb"\\"}
_ESCAPED = re.compile(rb"[\x08\f\n\r\t\v\\]")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows `l` of a live table.

    Attributes:
        live: the table.
        columns: those that are wanted.
        source: what stands after FROM.
        condition: which rows; what stands after WHERE.
        more: further values, as SQL, that are no large ones.
    """

    live: LiveTable
    columns: Sequence[str]
    source: str
    condition: str
    more: Sequence[str] = ()

    def query(self, condition: str = "true") -> str:
        """The query of these rows, or of those with a further condition."""
        listed = ", ".join([*(f"l.{quoted(name)}" for name in self.columns), *self.more])
        return f"SELECT {listed} FROM {self.source} WHERE ({self.condition}) AND {condition}"

    @property
    def are_large(self) -> str:
        """The condition for the large ones of them, as SQL."""
        sizes = " OPERATOR(pg_catalog.+) ".join(_size(self.live.columns[name]) for name in self.columns)
        return f"({sizes or '0'}) OPERATOR(pg_catalog.>) {LARGE}"


def _size(column: Column) -> str:
    """About how many bytes a value is as text. That of these types is known without unpacking it."""
    value, size = f"l.{quoted(column.name)}", "8::pg_catalog.int8 OPERATOR(pg_catalog.*) pg_catalog.pg_column_size({})"
    if column.type in {"text", "bytea", "character varying"}:
        size = "2::pg_catalog.int8 OPERATOR(pg_catalog.*) pg_catalog.octet_length({})"
    return f"coalesce({size.format(value)}, 0)"


def with_values_beside(session: MergeSession, live: LiveSchema) -> set[TableName]:
    """The tables that may have large rows."""
    rows = session.query(_BESIDE.format(LEAST_BESIDE), "sizes of tables")
    return {root for name in rows if (root := live.roots.get(TableName(*name))) is not None}


def copy_out(session: MergeSession, rows: Rows, out: BinaryIO, beside: Collection[TableName]) -> None:
    """Write rows as the lines of a COPY block, in any order.

    Args:
        session: in the transaction.
        rows: to be written.
        out: takes them.
        beside: the tables that may have large rows.

    Raises:
        RestoreError: the server refuses that.
    """
    what = f"rows of {rows.live.name}"
    places: list[tuple[str, ...]] = []
    if rows.live.name in beside:
        texts = ", ".join([f"l.tableoid::pg_catalog.oid::{TEXT}", f"l.ctid::{TEXT}", *rows.more])
        places = session.query(f"SELECT {texts} FROM {rows.source} WHERE ({rows.condition}) AND {rows.are_large}", what)
    query = rows.query(f"NOT {rows.are_large}") if places else rows.query()
    how = f" (ENCODING '{encoding_of(session)}')"
    session.read(f"COPY ({query}) TO STDOUT{how}", out.write, what)
    for part, row, *more in places:
        here = f"l.tableoid {SAME} {part}::pg_catalog.oid AND l.ctid {SAME} {literal(row)}::pg_catalog.tid"
        for number, name in enumerate(rows.columns):
            out.write(b"\t" if number else b"")
            out.writelines(_pieces(session, f"l.{quoted(name)}", f"FROM {rows.live.rows} l WHERE {here}", what))
        out.write(b"".join(b"\t%s" % str(value).encode() for value in more) + b"\n")


def encoding_of(session: MergeSession) -> str:
    """The encoding of such rows. In a database without one (SQL_ASCII) a value may have bytes that none takes."""
    bare = session.connection.info.parameter_status("server_encoding") == "SQL_ASCII"
    return "SQL_ASCII" if bare else "UTF8"


def _pieces(session: MergeSession, value: str, place: str, what: str) -> Iterator[bytes]:
    """A value as COPY writes it: `format` calls the type's output function, as COPY does."""
    encoded = f"pg_catalog.convert_to(pg_catalog.format('%s', {value}), {literal(encoding_of(session))})"
    # A composite value of NULLs is no NULL.
    is_null = f"pg_catalog.num_nulls({value}) {SAME} 1"
    first = f"SELECT CASE WHEN {is_null} THEN NULL ELSE pg_catalog.substr({encoded}, 1, {PIECE}) END {place}"
    text = session.query(first, what, binary=True)[0][0]
    yield rb"\N" if text is None else _escaped(text)
    if text is not None and len(text) == PIECE:
        yield from map(_escaped, _further(session, f"SELECT {encoded} {place}", what))


def _further(session: MergeSession, query: str, what: str) -> Iterator[bytes]:
    """The pieces of a value after the first one. It is stored without compression, so that the server can cut it."""
    session.execute(f"CREATE TEMP TABLE {_CUT} (value pg_catalog.bytea)", what)
    session.execute(f"ALTER TABLE pg_temp.{_CUT} ALTER COLUMN value SET STORAGE EXTERNAL", what)
    session.execute(f"INSERT INTO pg_temp.{_CUT} {query}", what)
    at = 1
    while text := session.query(
        f"SELECT pg_catalog.substr(value, {(at := at + PIECE)}, {PIECE}) FROM pg_temp.{_CUT}", what, binary=True
    )[0][0]:
        yield text
    session.execute(f"DROP TABLE pg_temp.{_CUT}", what)


def _escaped(text: bytes) -> bytes:
    return _ESCAPED.sub(lambda found: _ESCAPES[found[0]], text)
