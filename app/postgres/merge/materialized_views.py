"""Materialized views of the tables that a merge changes: they show the old rows until they are refreshed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.archive.index import TableName
from app.postgres.merge.session import MergeSession
from app.postgres.quoting import literal, quoted

# A view of a parent also shows the rows of its children, and a view of a partition rows that the root took.
_VIEWS = """
    WITH RECURSIVE shown(by, what) AS (
        SELECT ev_class, refobjid FROM pg_rewrite r JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass
            AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> ev_class
        UNION ALL SELECT inhparent, inhrelid FROM pg_inherits
        UNION ALL SELECT inhrelid, inhparent FROM pg_inherits),
    found(relation) AS (
        SELECT unnest(ARRAY[{tables}]::regclass[])::oid
        UNION SELECT by FROM shown JOIN found ON what = relation)
    SELECT format('%I.%I', nspname, relname) FROM found JOIN pg_class c ON c.oid = relation
        JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind = 'm' AND relispopulated ORDER BY 1"""


def notes_on_views(session: MergeSession, changed: Sequence[TableName]) -> Iterator[str]:
    """Notes on materialized views of changed tables, which still show the old rows."""
    if not changed:
        return
    tables = ", ".join(literal(quoted(*name)) for name in changed)
    with session.catalogs():
        views = session.query(_VIEWS.format(tables=tables), "materialized views")
    for (view,) in views:
        yield f"materialized view {view} still shows the old rows: REFRESH MATERIALIZED VIEW {view}"
