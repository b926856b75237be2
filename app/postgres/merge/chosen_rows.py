"""The rows of a merge with a condition (`--where`): those that fulfil it, their dependents, and their parents.

Rows that are not chosen are deleted from the temporary tables. If parents are wanted, they are moved aside first, and
come back if a chosen row refers to them, or a row that came back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.archive.index import TableName
from app.domain.changes import MergeRequest
from app.postgres.merge.references import applies
from app.postgres.merge.schema import ForeignKey
from app.postgres.merge.session import MergeSession
from app.postgres.merge.staged import UNFIT, StagedTable
from app.postgres.merge.where import deletion, keep_only


def keep_chosen(
    session: MergeSession, staged: Sequence[StagedTable], keys: Sequence[ForeignKey], request: MergeRequest
) -> list[str]:
    """Delete all rows that are not chosen.

    Returns:
        Warnings: rows are not chosen because of a value that does not fit.

    Raises:
        RestoreValidationError: the condition is invalid.
    """
    tables = {table.match.name: table for table in staged}
    left = _room_aside(session, tables, keys) if request.parents else {}
    warnings = []
    for table in staged:
        if table.match.filtered and request.where:
            before = _refused_rows(session, table)
            keep_only(session, table.rows, str(table.match.name), request.where, left.get(table.match.name))
            if passed_over := before - _refused_rows(session, table):
                what = f"{passed_over} rows of {table.match.name} with a value that does not fit the live column's type"
                warnings.append(f"{what} are not chosen: such a value counts as NULL in --where")
    _keep_dependents(session, staged, keys, left)
    _bring_parents(session, tables, keys, left)
    return warnings


def _refused_rows(session: MergeSession, table: StagedTable) -> int:
    if not table.refused:
        return 0
    query = f"SELECT pg_catalog.count(*) FROM {table.rows} WHERE {UNFIT} IS NOT NULL"
    return int(session.query(query, f"rows of {table.match.name}")[0][0])


def _room_aside(
    session: MergeSession, tables: dict[TableName, StagedTable], keys: Sequence[ForeignKey]
) -> dict[TableName, str]:
    """Tables for the rows that are not chosen, of each table that others refer to."""
    left: dict[TableName, str] = {}
    for name in sorted({key.parent for key in keys if key.root in tables and key.parent in tables}):
        table = tables[name]
        left[name] = f"restore_left_{table.number}"
        if table.match.referred:  # nothing is chosen yet
            session.execute(f"ALTER TABLE {table.rows} RENAME TO {left[name]}", f"rows of {name}")
        else:
            session.execute(f"CREATE TEMP TABLE {left[name]} (LIKE {table.rows})", f"rows of {name}")
        left[name] = f"pg_temp.{left[name]}"
        if table.match.referred:
            new = table.rows.removeprefix("pg_temp.")
            session.execute(f"CREATE TEMP TABLE {new} (LIKE {left[name]})", f"rows of {name}")
    return left


def _keep_dependents(
    session: MergeSession,
    staged: Sequence[StagedTable],
    keys: Sequence[ForeignKey],
    left: dict[TableName, str],
) -> None:
    """Delete rows of dependent tables that refer to no row that was kept, table by table."""
    kept = {table.match.name: table for table in staged if table.match.filtered}
    pending = {table.match.name: table for table in staged if not (table.match.filtered or table.match.referred)}
    while chosen := [key for key in keys if key.child in pending and key.parent in kept]:
        child = pending.pop(chosen[0].child)
        name = child.match.name
        conditions = [
            f"EXISTS (SELECT FROM {kept[key.parent].rows} p WHERE {key.same('p', 't')})"
            for key in chosen
            if key.child == name and _is_staged(key, child, kept[key.parent])
        ]
        refers = " OR ".join(conditions) or "false"
        statement = deletion(child.rows, f"NOT ({refers})", left.get(name))
        session.execute(statement, f"rows of {name}")
        kept[name] = child


def _is_staged(key: ForeignKey, child: StagedTable, parent: StagedTable) -> bool:
    """Whether the rows of the backup have all columns of a foreign key; without them no row refers to another."""
    return applies(child, key) and set(key.referenced) <= set(parent.match.columns)


def _bring_parents(
    session: MergeSession,
    tables: dict[TableName, StagedTable],
    keys: Sequence[ForeignKey],
    left: dict[TableName, str],
) -> None:
    """Bring back the rows that chosen ones refer to, until these refer to no others."""
    statements = list(_returns(tables, keys, left))
    while sum(session.execute(statement, f"rows of {name}") for name, statement in statements):
        pass
    for name, aside in left.items():
        session.execute(f"DROP TABLE {aside}", f"rows of {name}")


def _returns(
    tables: dict[TableName, StagedTable], keys: Sequence[ForeignKey], left: dict[TableName, str]
) -> Iterator[tuple[TableName, str]]:
    """For each foreign key the statement that brings back the rows that are referred to by it."""
    for key in keys:
        child, parent = tables.get(key.root), tables.get(key.parent)
        if child is None or parent is None or key.parent not in left:
            continue
        if _is_staged(key, child, parent):
            within = f" AND ({key.within.condition})" if key.within else ""
            referring = f"EXISTS (SELECT FROM {child.rows} c WHERE {key.same('t', 'c')}{within})"
            yield key.parent, deletion(left[key.parent], referring, parent.rows)
