"""Tables that no query can be planned on under an empty search_path: an index calls a function that relies on one.

The planner looks at the expressions of a table's indexes and statistics, and puts functions' bodies into them. A table
is then read whole, by a statement that is not planned.
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
    """Those of the tables that a range cannot be read of.

    Args:
        connection: in the snapshot, and without a search_path.
        tables: that it has locked.

    Raises:
        psycopg.OperationalError: the connection was lost.
    """
    if not tables:
        return frozenset()
    rows = connection.execute(_EXPRESSIONS).fetchall()
    doubtful = {TableName(schema, name) for schema, name in rows}
    return frozenset(each.table for each in tables if each.table in doubtful and not _can_plan(connection, each.table))


def _can_plan(connection: psycopg.Connection, table: TableName) -> bool:
    query = sql.SQL("EXPLAIN SELECT FROM ONLY {} WHERE ctid < '(1,0)'").format(sql.Identifier(*table))
    try:
        with connection.transaction(force_rollback=True):  # which gives up the locks on the indexes too
            connection.execute(query)
    except psycopg.Error:
        if connection.closed:
            raise
        return False
    return True
