"""SQL of the backups that manifests describe, by SHA-256: a thousand rows are read in a tenth of the time of parsing.

A function works in its caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, delete, insert, select

from app.catalog.rows import manifest_backup, manifest_values
from app.catalog.tables import manifests
from app.domain.backup import Backup


def read(connection: Connection, database: str) -> dict[str, Backup]:
    """The backups that manifests of a database describe, by digest; rows of other versions are left out."""
    query = select(manifests.c.digest, manifests.c.told).where(manifests.c.database == database)
    rows = ((digest, manifest_backup(content)) for digest, content in connection.execute(query))
    return {digest: backup for digest, backup in rows if backup is not None}


def keep_only(connection: Connection, database: str, described: Mapping[str, Backup]) -> None:
    """Record what these manifests describe, and forget all others of the database."""
    of_it = manifests.c.database == database
    known = read(connection, database)
    recorded = set(connection.execute(select(manifests.c.digest).where(of_it)).scalars())
    gone = [{"gone": digest} for digest in recorded if digest not in described or digest not in known]
    new = [digest for digest in described if digest not in known]
    if gone:
        connection.execute(delete(manifests).where(of_it & (manifests.c.digest == bindparam("gone"))), gone)
    if new:
        values = [
            {"database": database, "digest": digest, "told": manifest_values(described[digest])} for digest in new
        ]
        connection.execute(insert(manifests), values)
