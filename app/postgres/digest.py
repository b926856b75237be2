"""Row digests of a live database's tables: what an archive's digests are compared with."""

from __future__ import annotations

from collections.abc import Mapping

import psycopg
from psycopg import sql

from app.archive.digest import RowDigest
from app.archive.index import TableDigest, TableName


def use_read_settings(connection: psycopg.Connection, settings: Mapping[str, str]) -> None:
    """Make a session read rows as the dump did, so that their text, and so their digests, are comparable.

    Args:
        connection: the session.
        settings: the `read_settings` of the dump's manifest.
    """
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, value))


def table_digest(connection: psycopg.Connection, table: TableName) -> TableDigest:
    """Count and digest all rows of one table, its children's and partitions' not among them."""
    digest = RowDigest()
    statement = sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(*table))
    with connection.cursor() as cursor, cursor.copy(statement) as rows:
        for block in rows:
            digest.feed(bytes(block))
    return TableDigest(table=table, rows=digest.rows, digest=digest.hexdigest())
