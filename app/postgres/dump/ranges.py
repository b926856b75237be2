"""Selects the tables that are read in ranges of pages, and makes the SQL that reads a range.

A range is a condition on ``ctid``. PostgreSQL 14 and later answer it with a TID range scan, which reads only the pages
of the range. The server quotes the names, and sends them in the database's own encoding, so that Python needs no codec
for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import psycopg

from app.archive.index import PageRange, SegmentKind, TableName
from app.archive.scanner import SegmentHeader
from app.postgres.server_facts import DUMPED, READABLE, THROUGH_ROOT

RANGE_BYTES = 8 << 20  # of table and TOAST, for one segment
LARGE_BYTES = 2 << 20  # a table of this size or more is not read by pg_dump
MANY_BYTES = 16 << 20  # of all large tables; with less, a second connection costs more than it saves
_MOST = 1000  # pg_dump runs a query for each excluded table
_TID_RANGE_SCAN = 140000

# The size of a table that is read early is not asked for: this session has no lock on it, and would wait for one.
# pg_dump itself reads the tables of extensions (it knows their conditions and their place in the order), those below a
# table that is hash partitioned by an enum (it loads their rows through the root), and those that are no heap.
_LARGE = f"""
    WITH RECURSIVE {THROUGH_ROOT}
    SELECT n.nspname, c.relname, array_agg(a.attname ORDER BY a.attnum), pg_relation_filenode(c.oid),
           CASE WHEN small THEN 0 ELSE pg_relation_size(c.oid) END / current_setting('block_size')::int,
           CASE WHEN small THEN 0 ELSE pg_table_size(c.oid) END AS size,
           convert_to(quote_ident(n.nspname) || '.' || quote_ident(c.relname), getdatabaseencoding()),
           convert_to(string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum), getdatabaseencoding()),
           convert_to('"' || replace(n.nspname, '"', '""') || '"."' || replace(c.relname, '"', '""') || '"',
                      getdatabaseencoding()),
           convert_to(translate(format('Name: %%s; Type: TABLE DATA; Schema: %%s; Owner: %%s',
                                       c.relname, n.nspname, pg_get_userbyid(c.relowner)), E'\\n\\r', '  '),
                      getdatabaseencoding())
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
        CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM unnest(%s::text[], %s::text[]) early (schema, name)
                                           WHERE nspname = schema AND relname = name) AS small) read
    WHERE c.relkind = 'r' AND {DUMPED} AND {READABLE}
      AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'heap') AND c.oid NOT IN (SELECT oid FROM through_root)
      AND NOT EXISTS (SELECT FROM pg_depend d
                      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
      AND CASE WHEN small THEN true ELSE pg_table_size(c.oid) >= %s END
    GROUP BY n.nspname, c.relname, c.oid, c.relowner, small
    ORDER BY small DESC, size DESC LIMIT %s"""


# In an entry header of pg_dump, such a name of a schema, owner or tablespace would be taken for the entry's type, and
# so for the end of the schema before data.
_MISLEADING = """
    SELECT FROM pg_namespace WHERE nspname LIKE '%; Type: %'
    UNION ALL SELECT FROM pg_roles WHERE rolname LIKE '%; Type: %'
    UNION ALL SELECT FROM pg_tablespace WHERE spcname LIKE '%; Type: %'"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeTable:
    """A table that is read beside pg_dump.

    Attributes:
        pages: number of pages of the main fork.
        size: bytes of table and TOAST.
        qualified, listed: name and column list as SQL.
        pattern: its name for pg_dump's --exclude-table-data.
        title: of its entry in a dump.
        early: whether it is read before all others, because another session waits for it.
        kept: its rows as COPY text, if they were read already.
    """

    table: TableName
    columns: tuple[str, ...]
    relfilenode: int
    pages: int
    size: int
    qualified: bytes
    listed: bytes
    pattern: bytes
    title: bytes
    early: bool = False
    kept: tuple[bytes, ...] | None = None

    @property
    def whole(self) -> bytes:
        """The statement that reads all of its rows."""
        return b"COPY %s (%s) TO STDOUT;" % (self.qualified, self.listed)


@dataclass(frozen=True, slots=True)
class TableRange:
    """Some pages of a table. The last range has no end; a whole table has neither beginning nor end."""

    of: LargeTable
    first: int
    end: int | None

    @property
    def header(self) -> SegmentHeader:
        """The header of its segment."""
        last = (self.of.pages if self.end is None else self.end) - 1
        pages = PageRange(relfilenode=self.of.relfilenode, first=self.first, last=max(last, self.first))
        return SegmentHeader(SegmentKind.DATA, self.of.table, self.of.columns, pages)

    @property
    def opening(self) -> bytes:
        """The text before the rows in the archive, as pg_dump writes it."""
        of = self.of
        return b"\n\n--\n-- Data for %s\n--\n\nCOPY %s (%s) FROM stdin;\n" % (of.title, of.qualified, of.listed)

    @property
    def query(self) -> bytes:
        """The statement that reads the rows of the range."""
        conditions = []
        if self.first:
            conditions.append(b"ctid >= '(%d,0)'" % self.first)
        if self.end is not None:
            conditions.append(b"ctid < '(%d,0)'" % self.end)
        if not conditions:
            return self.of.whole
        where = b" AND ".join(conditions)
        return b"COPY (SELECT %s FROM ONLY %s WHERE %s) TO STDOUT;" % (self.of.listed, self.of.qualified, where)


def large_tables(
    connection: psycopg.Connection, wanted: Collection[TableName] = (), early: Collection[TableName] = ()
) -> list[LargeTable]:
    """The tables to read in ranges, in pg_dump's order but for the early ones; none if they are too small together.

    Args:
        connection: in the transaction of the snapshot.
        wanted: tables that other sessions wait for.
        early: those of them that were locked to be read early, whatever their size.
    """
    if connection.execute(_MISLEADING).fetchone() is not None:
        return []
    schemas, names = [table.schema for table in early], [table.name for table in early]
    rows = connection.execute(_LARGE, (schemas, names, LARGE_BYTES, _MOST)).fetchall()
    tables = [
        LargeTable(
            table=TableName(schema, name),
            columns=tuple(columns),
            relfilenode=relfilenode,
            pages=pages,
            size=size,
            qualified=qualified,
            listed=listed,
            pattern=pattern,
            title=title,
            early=TableName(schema, name) in wanted,
        )
        for schema, name, columns, relfilenode, pages, size, qualified, listed, pattern, title in rows
    ]
    if sum(table.size for table in tables) < MANY_BYTES:
        tables = [table for table in tables if table.table in early]
    return sorted(tables, key=lambda table: (not table.early, table.table))


def ranges_of(table: LargeTable, server_version: int, *, whole: bool = False) -> Iterator[TableRange]:
    """Cut a table into ranges of about RANGE_BYTES, TOAST included; into one range if the server has no range scan.

    Args:
        table: the one to cut.
        server_version: as a number: 180006.
        whole: whether to make one range of it.
    """
    if whole or server_version < _TID_RANGE_SCAN:
        yield TableRange(table, 0, None)
        return
    step = max(1, table.pages * RANGE_BYTES // max(table.size, 1))
    for first in range(0, max(table.pages, 1), step):
        end = first + step
        yield TableRange(table, first, end if end < table.pages else None)
