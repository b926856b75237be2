"""Published tables whose rows have no replica identity: the server refuses to update or delete them."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.merge import TableChanges
from app.errors import RestoreValidationError
from app.postgres.live_schema import quoted
from app.postgres.merge_session import MergeSession
from app.postgres.merge_sql import literal
from app.postgres.merge_stage import Staged

# A partition's rows are its own, and are published with it or with what it is part of.
_PUBLISHED = """
    WITH tree AS (
        SELECT {table}::regclass::oid AS relation, true AS leaf WHERE NOT {partitioned}
        UNION ALL SELECT relid::oid, isleaf FROM pg_partition_tree({table}::regclass)),
    bare AS (
        SELECT FROM tree JOIN pg_class c ON c.oid = relation
        WHERE leaf AND relreplident <> 'f' AND NOT EXISTS (
            SELECT FROM pg_index WHERE indrelid = c.oid AND indisvalid AND indimmediate AND (
                relreplident = 'd' AND indisprimary OR relreplident = 'i' AND indisreplident)))
    SELECT coalesce(bool_or(pubupdate), false), coalesce(bool_or(pubdelete), false)
    FROM pg_publication JOIN pg_publication_tables p USING (pubname)
        JOIN pg_namespace n ON n.nspname = p.schemaname
        JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
    WHERE c.oid IN (SELECT relation FROM tree) AND EXISTS (SELECT FROM bare)"""


def require_identity(session: MergeSession, staged: Sequence[Staged], planned: Sequence[TableChanges]) -> None:
    """Refuse a plan that the server would, while nothing is changed.

    Raises:
        RestoreValidationError: rows of a published table would change that have no replica identity.
    """
    if not session.ask("SELECT EXISTS (SELECT FROM pg_publication)", "publications")[0][0]:
        return
    for each, plan in zip(staged, planned, strict=True):
        if not (plan.updated or plan.deleted):
            continue
        live = each.match.live
        table = quoted(*live.name)
        partitioned = "true" if live.partitioned else "false"
        query = _PUBLISHED.format(table=literal(table), partitioned=partitioned)
        updates, deletes = session.ask(query, f"publications of {live.name}")[0]
        if (updates and plan.updated) or (deletes and plan.deleted):
            message = f"{live.name} is published and has no replica identity: the server changes none of its rows"
            hint = f"ALTER TABLE {table} REPLICA IDENTITY FULL (of a partitioned table, its partitions), then try again"
            raise RestoreValidationError(message, hint)
