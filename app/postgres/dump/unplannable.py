"""Tables for which no query can be planned under an empty search_path.

The planner inlines functions in the expressions of a table's indexes and statistics. If such a function relies on
search_path, planning fails. The table is then read whole, by a COPY that is not planned.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from app.archive.index import TableName
from app.postgres.dump.ranges import LargeTable

_EXPRESSIONS = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid IN (SELECT indrelid FROM pg_index WHERE indexprs IS NOT NULL OR indpred IS NOT NULL
                    UNION ALL SELECT stxrelid FROM pg_statistic_ext WHERE stxexprs IS NOT NULL)"""


def unplannable(connection: psycopg.Connection, tables: Sequence[LargeTable]) -> frozenset[TableName]:
    """The tables of which no range can be read.

    Args:
        connection: in the transaction of the snapshot, with an empty search_path.
        tables: locked by the connection.

    Raises:
        psycopg.OperationalError: the connection was lost.
    """
    if not tables:
        return frozenset()
    rows = connection.execute(_EXPRESSIONS).fetchall()
    candidates = {TableName(schema, name) for schema, name in rows}
    return frozenset(
        table.table for table in tables if table.table in candidates and not _can_plan(connection, table.table)
    )


def _can_plan(connection: psycopg.Connection, table: TableName) -> bool:
    query = sql.SQL("EXPLAIN SELECT FROM ONLY {} WHERE ctid < '(1,0)'").format(sql.Identifier(*table))
    try:
        with connection.transaction(force_rollback=True):  # releases the locks on the indexes too
            connection.execute(query)
    except psycopg.Error:
        if connection.closed:
            raise
        return False
    return True
