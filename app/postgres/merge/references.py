"""Foreign keys in a plan: rows whose parent is missing, and rows that others still refer to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.archive.index import TableName
from app.domain.changes import SampleKind
from app.postgres.merge.reasons import Reason, Reasons
from app.postgres.merge.schema import ForeignKey, LiveSchema
from app.postgres.merge.sql import APPLIED, DIFFERS, row_of, same_place
from app.postgres.merge.staged import StagedTable
from app.postgres.quoting import SAME, quoted


@dataclass(frozen=True, slots=True)
class References:
    """Blocks rows by foreign keys.

    Attributes:
        live: the live schema.
        staged: the tables of the merge.
        reasons: of the plan.
    """

    live: LiveSchema
    staged: Mapping[TableName, StagedTable]
    reasons: Reasons

    def orphans(self, child: StagedTable, key: ForeignKey) -> str:
        """Block rows whose parent is neither in the live table nor planned."""
        parent = self.staged.get(key.parent)
        same = key.same("r", "s")
        live_rows = self.live.tables[key.parent].rows
        exists_live = f"EXISTS (SELECT FROM {live_rows} r WHERE {same}{_remains('r', parent, key.referenced)})"
        planned = ""
        if parent is not None and set(key.referenced) <= set(parent.match.columns):
            planned = f" AND NOT EXISTS (SELECT FROM {_coming(parent, 'r')} AND {same})"
        not_null = " AND ".join(f"s.{quoted(name)} IS NOT NULL" for name in key.columns)
        rows = f"(SELECT ctid, * FROM {child.rows} WHERE {key.within.condition})" if key.within else child.rows
        stopped = self.reasons.stopped(Reason(child.match.name, SampleKind.PARENT, key.columns, key.name, key))
        return (
            f"UPDATE {child.plan} p SET {stopped}"
            f" FROM {rows} s WHERE s.ctid {SAME} p.s AND {APPLIED} AND {not_null} AND NOT {exists_live}{planned}"
        )

    def referenced(self, parent: StagedTable, key: ForeignKey) -> str:
        """Block deletes of rows that others refer to, and updates of referenced columns."""
        leaves = f"p.action {SAME} 'd'"
        if not set(key.referenced) <= set(parent.match.key_columns) and set(key.referenced) <= set(
            parent.match.columns
        ):
            changed = f"{row_of('s', key.referenced)} {DIFFERS} {row_of('l', key.referenced)}"
            updated = f"SELECT FROM {parent.rows} s WHERE s.ctid {SAME} p.s AND {changed}"
            leaves += f" OR p.action {SAME} 'u' AND EXISTS ({updated})"
        still_referenced = " OR ".join(f"EXISTS (SELECT FROM {rows})" for _, rows in self.referring_rows(key))
        stopped = self.reasons.stopped(Reason(parent.match.name, SampleKind.REFERENCED, key.referenced, key.name, key))
        return (
            f"UPDATE {parent.plan} p SET {stopped} FROM {parent.match.live.rows} l"
            f" WHERE {same_place('l', 'p')} AND p.blocked IS NULL AND ({leaves}) AND ({still_referenced})"
        )

    def referring_rows(self, key: ForeignKey) -> list[tuple[str, str]]:
        """Rows `c` that refer to a live row `l` after the merge: their side, and what stands after FROM."""
        child = self.staged.get(key.root)
        same = key.same("l", "c")
        live_table = self.live.tables.get(key.child)
        live_rows = live_table.rows if live_table else quoted(*key.child)
        referring = [("live", f"{live_rows} c WHERE {same}{_remains('c', child, key.columns)}")]
        if child is not None and set(key.columns) <= set(child.match.columns):
            referring.append(("backup", f"{_coming(child, 'c')} AND {same}"))
        return referring


def applies(table: StagedTable, foreign: ForeignKey) -> bool:
    """Whether a foreign key of a table, or of a partition of it, can be tried on the backup's rows."""
    within = foreign.within.columns if foreign.within else set()
    return foreign.root == table.match.name and {*foreign.columns, *within} <= set(table.match.columns)


def _coming(table: StagedTable, alias: str) -> str:
    """Rows of the backup that the merge inserts or updates, for FROM; conditions follow."""
    return (
        f"{table.plan} q JOIN {table.rows} {alias} ON {alias}.ctid {SAME} q.s"
        f" WHERE q.blocked IS NULL AND q.action {SAME} ANY (ARRAY['i', 'u'])"
    )


def _remains(alias: str, staged: StagedTable | None, columns: Sequence[str]) -> str:
    """Condition, after AND: a live row keeps its values in some columns; it is neither deleted nor updated there."""
    if staged is None:
        return ""
    lasting = set(columns) <= set(staged.match.key_columns) or not set(columns) & set(staged.match.columns)
    actions = "ARRAY['d']" if lasting else "ARRAY['d', 'u']"
    return (
        f" AND NOT EXISTS (SELECT FROM {staged.plan} o WHERE {same_place(alias, 'o')}"
        f" AND o.action {SAME} ANY ({actions}) AND o.blocked IS NULL)"
    )
