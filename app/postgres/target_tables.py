"""Tables of the live database, to compare with those of a file before a replace."""

from __future__ import annotations

from collections.abc import Iterable

from app.archive.index import TableName
from app.postgres.database import Database
from app.postgres.maintenance import Maintenance
from app.postgres.server_facts import DUMPED
from app.postgres.session import as_restore_errors

_TABLES = f"""
    SELECT n.nspname, c.relname, rn.nspname, r.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class r ON r.oid = CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid ELSE c.oid END
        JOIN pg_namespace rn ON rn.oid = r.relnamespace
    WHERE c.relkind IN ('r', 'p') AND {DUMPED}"""
# An extension's own rows come with the extension, and cannot be told from those that users added.
_OF_EXTENSION = """NOT EXISTS (
    SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')"""
_FILLED = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND (n.nspname, c.relname) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
        AND pg_relation_size(c.oid) > 0"""


def tables(database: Database) -> dict[TableName, TableName]:
    """Tables with their roots; see `app.ports.target.Target.tables`."""
    with as_restore_errors(), database.connect() as connection:
        rows = Maintenance(connection, database.name).query(f"{_TABLES} AND {_OF_EXTENSION}")
    return {TableName(schema, name): TableName(root_schema, root) for schema, name, root_schema, root in rows}


def filled(database: Database, among: Iterable[TableName]) -> set[TableName]:
    """Tables with rows; see `app.ports.target.Target.filled`."""
    schemas, names = zip(*among, strict=True) if (among := list(among)) else ((), ())
    with as_restore_errors(), database.connect() as connection:
        rows = Maintenance(connection, database.name).query(_FILLED, list(schemas), list(names))
    return {TableName(*row) for row in rows}
