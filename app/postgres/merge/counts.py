"""Counts of a plan, for the operator."""

from __future__ import annotations

from collections import Counter

from app.domain.changes import TableChanges
from app.postgres.merge.session import MergeSession
from app.postgres.merge.staged import StagedTable
from app.postgres.quoting import SAME, literal, quoted

_COUNT = "SELECT pg_catalog.count(*) FROM"
_C_COLLATION = 950  # oid on every server


def counted(session: MergeSession, table: StagedTable, *, exact: bool) -> TableChanges:
    """The counts of one table. `exact`: whether the plan deletes what only the live database has."""
    name = table.match.name
    counts = "pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE differs)"
    query = f"SELECT action, blocked IS NOT NULL, {counts} FROM {table.plan} GROUP BY 1, 2"
    done: Counter[str] = Counter()
    planned: Counter[str] = Counter()
    blocked = conflicting = 0
    for action, stopped, count, differing in session.query(query, f"plan for {name}"):
        planned[action] += count
        conflicting += differing
        if stopped:
            blocked += count
        else:
            done[action] += count
    totals = f"SELECT ({_COUNT} {table.rows}), ({_COUNT} {table.match.live.users} l)"
    backup, live = session.query(totals, f"rows of {name}")[0]
    only_live = planned["d"] if exact else _live_only(session, table, live - (backup - planned["i"]))
    return TableChanges(
        table=str(name),
        inserted=done["i"],
        updated=done["u"],
        deleted=done["d"],
        unchanged=backup - planned["i"] - planned["u"] - planned["k"],
        conflicting=conflicting,
        blocked=blocked,
        live_only=only_live - done["d"],
    )


def _live_only(session: MergeSession, table: StagedTable, expected: int) -> int:
    """Number of rows that only the live database has: as expected, unless rows of one side share their key."""
    if not table.match.key or (expected >= 0 and not _may_share_keys(session, table)):
        return expected
    unknown = f"NOT EXISTS (SELECT FROM {table.rows} s WHERE {table.match.same('s', 'l')})"
    query = f"{_COUNT} {table.match.live.rows} l WHERE {unknown}"
    return int(session.query(query, f"rows of {table.match.name}")[0][0])


def _may_share_keys(session: MergeSession, table: StagedTable) -> bool:
    """Whether rows of one side may share their key: collations change with versions of the system's libraries."""
    key = ", ".join(map(literal, table.match.key_columns))
    table_literal = literal(quoted(*table.match.name))
    collated = f"attcollation OPERATOR(pg_catalog.<>) ALL (ARRAY[0, {_C_COLLATION}]::pg_catalog.oid[])"
    query = (
        f"SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid {SAME} {table_literal}::pg_catalog.regclass"
        f" AND attname {SAME} ANY (ARRAY[{key}]::pg_catalog.name[]) AND {collated})"
    )
    return bool(session.query(query, f"columns of {table.match.name}")[0][0])
