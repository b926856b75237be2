"""Row digests of a database's tables, to compare with an archive's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from app.archive.digest import RowDigest
from app.archive.index import TableDigest, TableName

# A dump holds the rows of an extension's table that meet its condition; and those of a partitioned table if they cannot
# be dumped by partition.
_HOW = """
    SELECT c.relkind = 'p', (SELECT extcondition[array_position(extconfig, c.oid)] FROM pg_extension
                             WHERE c.oid = ANY (extconfig))
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = %s AND relname = %s"""


_LEAVES = """
    SELECT n.nspname, c.relname, ln.nspname, l.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, pg_partition_tree(c.oid) t
    JOIN pg_class l ON l.oid = t.relid JOIN pg_namespace ln ON ln.oid = l.relnamespace
    WHERE c.relkind = 'p' AND t.isleaf AND l.oid <> c.oid"""


def leaves_of_partitioned(connection: psycopg.Connection) -> dict[TableName, list[TableName]]:
    """The partitions that hold the rows of each partitioned table."""
    leaves: dict[TableName, list[TableName]] = {}
    for schema, name, leaf_schema, leaf in connection.execute(_LEAVES):
        leaves.setdefault(TableName(schema, name), []).append(TableName(leaf_schema, leaf))
    return leaves


def use_read_settings(connection: psycopg.Connection, settings: Mapping[str, str]) -> None:
    """Set the session's settings to the dump's, so that the text of rows, and so their digests, can be compared.

    Args:
        connection: the session.
        settings: the `read_settings` of the dump's manifest.
    """
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))


def table_digest(
    connection: psycopg.Connection, table: TableName, columns: Sequence[str] | None = None
) -> TableDigest | None:
    """Count and digest the rows of one table as a dump holds them, without those of its children and partitions.

    Args:
        connection: a session with the dump's read settings.
        table: its name.
        columns: in the dump's order; None for the table's order.

    Returns:
        None if there is no such table.
    """
    row = connection.execute(_HOW, tuple(table)).fetchone()
    if row is None:
        return None
    partitioned, condition = row
    digest = RowDigest()
    with connection.cursor() as cursor, cursor.copy(_statement(table, columns, condition, partitioned)) as rows:
        for block in rows:
            digest.feed(bytes(block))
    return TableDigest(table=table, rows=digest.rows, digest=digest.hexdigest())


def _statement(
    table: TableName,
    columns: Sequence[str] | None,
    condition: str | None,
    partitioned: bool,  # noqa: FBT001 -- private
) -> sql.Composed:
    name = sql.Identifier(*table)
    listed = sql.SQL(", ").join(map(sql.Identifier, columns or ()))
    if not condition and not partitioned:
        chosen = sql.SQL("({})").format(listed) if columns else sql.SQL("")
        return sql.SQL("COPY {} {} TO STDOUT").format(name, chosen)
    only = sql.SQL("" if partitioned else "ONLY ")
    where = sql.SQL(condition or "")
    return sql.SQL("COPY (SELECT {} FROM {}{} {}) TO STDOUT").format(
        listed if columns is not None else sql.SQL("*"), only, name, where
    )
