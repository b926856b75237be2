"""A dump of the whole schema with the rows of some tables: the safety backup of a restore that changes only these.

Like every dump it can be run by psql in an empty database. So the foreign keys of these tables to others, whose rows
are not there, stand in it as comments; and materialized views, which may read others, are made without rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

import psycopg

from app.archive import lexer
from app.archive.part import ROWS_ELSEWHERE, part_head
from app.archive.pg_dump import last_header
from app.archive.scanner import Chunk
from app.ports.source import Part
from app.postgres.server_facts import DUMPED

_NAMES_IN_A_PATTERN = 200  # pg_dump runs a query for each pattern
# In a pattern of pg_dump, quoted text stands for itself; what is not quoted is an expression as in psql's \d.
_PATTERNS = f"""
    WITH chosen AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS t (schema, name)),
    others AS (
        SELECT n.nspname, c.relname, (row_number() OVER (PARTITION BY n.nspname ORDER BY c.relname) - 1)
            / {_NAMES_IN_A_PATTERN} AS part
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'm') AND {DUMPED}
          AND NOT EXISTS (SELECT FROM chosen WHERE schema = nspname AND name = relname))
    SELECT convert_to('"' || replace(nspname, '"', '""') || '".('
        || string_agg('"' || replace(relname, '"', '""') || '"', '|') || ')', getdatabaseencoding())
    FROM others GROUP BY nspname, part"""
# The entries of foreign keys from chosen tables to others, and of comments on them, by schema, type and name.
_KEYS = """
    WITH chosen AS (
        SELECT coalesce(pg_partition_root(c.oid)::oid, c.oid) AS root
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN unnest(%s::text[], %s::text[]) AS t (schema, name) ON nspname = schema AND relname = name),
    missing AS (
        SELECT n.nspname, c.relname, f.conname FROM pg_constraint f
            JOIN pg_class c ON c.oid = conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE contype = 'f' AND coalesce(pg_partition_root(conrelid)::oid, conrelid) IN (SELECT root FROM chosen)
          AND coalesce(pg_partition_root(confrelid)::oid, confrelid) NOT IN (SELECT root FROM chosen)),
    entries AS (
        SELECT nspname, 'FK CONSTRAINT' AS type, relname || ' ' || conname AS name FROM missing
        UNION ALL SELECT nspname, 'COMMENT', format('CONSTRAINT %%I ON %%I', conname, relname) FROM missing)
    SELECT convert_to(type, getdatabaseencoding()),
           convert_to(translate(nspname, E'\\n\\r', '  '), getdatabaseencoding()),
           convert_to(translate(name, E'\\n\\r', '  '), getdatabaseencoding()) FROM entries"""


class DumpOfPart:
    """What is known of a part before it is dumped.

    Args:
        connection: in the transaction of the snapshot.
        part: what is dumped.

    Attributes:
        arguments: of pg_dump: whose rows are left out, and that large objects are.
    """

    def __init__(self, connection: psycopg.Connection, part: Part) -> None:
        self._part = part
        tables = sorted(part.tables)
        names = [table.schema for table in tables], [table.name for table in tables]
        patterns = connection.execute(_PATTERNS.encode(), names)
        self.arguments = [b"--exclude-table-data=" + pattern for (pattern,) in patterns] + [b"--no-blobs"]
        self._missing = {tuple(entry) for entry in connection.execute(_KEYS.encode(), names)}

    def chunks(self, dumped: Iterable[Chunk]) -> Iterator[Chunk]:
        """The dump from pg_dump's chunks: it says what it is, and has no foreign key to rows that it lacks."""
        head = part_head(self._part.names)
        for chunk in dumped:
            data, head = head + chunk.data, b""
            if not chunk.rows and chunk.header.table is None:
                data = _without_key(data, self._missing)
            yield replace(chunk, data=data)


def _without_key(unit: bytes, missing: Collection[tuple[bytes, ...]]) -> bytes:
    """A statement with the comments before it; all of it as comments, if it is about one of these foreign keys."""
    start = lexer.start_of(unit)
    header = last_header(unit, start)
    if header is None or (header.type, header.schema, header.name) not in missing:
        return unit
    # A carriage return in a name would end the comment.
    lines = unit[start:].replace(b"\r", b" ").strip().split(b"\n")
    return unit[:start] + ROWS_ELSEWHERE + b"".join(b"-- %s\n" % line for line in lines) + b"\n"
