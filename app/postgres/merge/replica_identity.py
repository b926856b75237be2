"""Whether the server allows changes of published rows.

It refuses updates and deletes in a published table without a replica identity (a primary key, or another way to
identify rows). No plan of rows shows that.

Source: CheckCmdReplicaIdentity in PostgreSQL's execReplication.c.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.changes import TableChanges
from app.domain.psql import in_psql
from app.errors import RestoreValidationError
from app.postgres.merge.session import MergeSession
from app.postgres.merge.staged import StagedTable
from app.postgres.quoting import literal, quoted

# For a partitioned table its partitions are checked; the publication may name the root.
_BARRED = """
    SELECT r.oid::bigint, format('%I.%I', n.nspname, c.relname), bool_or(pubupdate), bool_or(pubdelete)
    FROM pg_class r CROSS JOIN LATERAL (SELECT r.oid AS id UNION SELECT relid FROM pg_partition_tree(r.oid)) part
        JOIN pg_class c ON c.oid = part.id AND c.relkind = 'r' AND c.relpersistence = 'p'
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_publication p ON (pubupdate OR pubdelete)
            AND (puballtables OR EXISTS (
                SELECT FROM pg_publication_tables t JOIN pg_class k ON k.relname = t.tablename
                    JOIN pg_namespace m ON m.oid = k.relnamespace AND m.nspname = t.schemaname
                WHERE t.pubname = p.pubname AND (k.oid = c.oid OR k.oid = r.oid)))
    WHERE r.oid = {}::regclass AND c.relreplident <> 'f' AND NOT EXISTS (
        SELECT FROM pg_index i WHERE indrelid = c.oid AND indisvalid AND CASE c.relreplident
            WHEN 'd' THEN indisprimary AND indimmediate WHEN 'i' THEN indisreplident END)
    GROUP BY r.oid, n.nspname, c.relname ORDER BY 2"""


def lack_replica_identity(session: MergeSession, staged: Sequence[StagedTable]) -> bool:
    """Whether any table of the merge is published without a replica identity."""
    with session.catalogs():
        return any(session.query(_barred(table), "publications") for table in staged)


def require_publishable(
    session: MergeSession, database: str, staged: Sequence[StagedTable], planned: Sequence[TableChanges]
) -> None:
    """Make sure that the planned changes can be published.

    Raises:
        RestoreValidationError: some cannot; the hint makes it possible.
    """
    barred: dict[str, None] = {}
    with session.catalogs():
        for table, plan in zip(staged, planned, strict=True):
            rows = session.query(_barred(table), "publications") if plan.updated or plan.deleted else ()
            for _, name, updates, deletes in rows:
                if (updates and plan.updated) or (deletes and plan.deleted):
                    barred[name] = None
    if barred:
        names = ", ".join(barred)
        full = (f"ALTER TABLE {name} REPLICA IDENTITY FULL" for name in barred)
        hint = f"{in_psql(database, *full)}; then restore again (afterwards: REPLICA IDENTITY DEFAULT)"
        message = f"rows of {names} are published without a replica identity, so the server refuses to change them"
        raise RestoreValidationError(message, hint)


def _barred(table: StagedTable) -> str:
    return _BARRED.format(literal(quoted(*table.match.name)))
