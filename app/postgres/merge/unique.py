"""Unique keys other than the primary one in a merge: which rows they block, and the order of updates.

A value is taken if a row that stays has it after the merge. The server checks each row as soon as it is updated. So if
an updated row takes over a value that another updated row gives up, the row that gives it up is updated in an earlier
step. Rows that pass values on in a cycle, or in a chain of more than MOST_STEPS steps, are all blocked, so that a
second run finds the same result.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from app.domain.changes import SampleKind
from app.postgres.merge.reasons import BACKUP, Reason, Reasons, backup_place, live_place
from app.postgres.merge.schema import UniqueKey
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import APPLIED, TEXT, same_place
from app.postgres.merge.staged import StagedTable
from app.postgres.quoting import SAME, literal

MOST_STEPS = 500


def unique_taken(table: StagedTable, key: UniqueKey, reasons: Reasons) -> str:
    """Block rows whose unique value a live row has and keeps."""
    stopped = reasons.stopped(_reason(table, key), live_place("l.part", "l.id"))
    changes_value = f"NOT EXISTS (SELECT FROM {_values_of(table.rows, key)} s WHERE s.id {SAME} q.s AND {_same(key)})"
    frees_value = f"q.blocked IS NULL AND (q.action {SAME} 'd' OR q.action {SAME} 'u' AND {changes_value})"
    return (
        f"UPDATE {table.plan} p SET {stopped}"
        f" FROM {_values_of(table.rows, key)} s, {_values_of(table.match.live.rows, key)} l"
        f" WHERE s.id {SAME} p.s AND {APPLIED} AND {_same(key)}"
        f" AND (p.l IS NULL OR NOT (l.id {SAME} p.l AND l.part {SAME} p.part))"
        f" AND NOT EXISTS (SELECT FROM {table.plan} q WHERE q.l {SAME} l.id AND q.part {SAME} l.part AND {frees_value})"
    )


def unique_twice(table: StagedTable, key: UniqueKey, reasons: Reasons) -> str:
    """Block rows of the backup that share a unique value. They may if the key was added after the backup."""
    return (
        f"UPDATE {table.plan} p SET {reasons.stopped(_reason(table, key), backup_place('l.id'))}"
        f" FROM {_values_of(table.rows, key)} s, {_values_of(table.rows, key)} l, {table.plan} q"
        f" WHERE s.id {SAME} p.s AND {APPLIED} AND l.id {SAME} q.s AND q.action {SAME} ANY (ARRAY['i', 'u'])"
        f" AND NOT l.id {SAME} s.id AND {_same(key)}"
    )


def block_shared_keys(table: StagedTable, reasons: Reasons) -> Iterator[str]:
    """Block rows that share their key: an index that was built under another collation version allows that."""
    name = table.match.key.name if table.match.key else None
    reason = Reason(table.match.name, SampleKind.UNIQUE, tuple(sorted(table.match.key_columns)), name)
    stopped = f"UPDATE {table.plan} p SET {reasons.stopped(reason)} FROM {table.rows} s"
    planned = f"s.ctid {SAME} p.s AND {APPLIED}"
    twin = f"SELECT FROM {table.rows} o WHERE {table.match.same('o', 's')} AND NOT o.ctid {SAME} s.ctid"
    yield f"{stopped} WHERE {planned} AND EXISTS ({twin})"
    twin = f"SELECT FROM {table.match.live.rows} l WHERE {table.match.same('l', 's')} AND NOT ({same_place('l', 'p')})"
    yield f"{stopped} WHERE {planned} AND p.action {SAME} 'u' AND EXISTS ({twin})"
    # A row of the backup is planned once, even if two live rows have its key.
    before = f"q.part OPERATOR(pg_catalog.<) p.part OR q.part {SAME} p.part AND q.l OPERATOR(pg_catalog.<) p.l"
    yield f"DELETE FROM {table.plan} p USING {table.plan} q WHERE q.s {SAME} p.s AND ({before})"


def order_updates(session: MergeSession, table: StagedTable, reasons: Reasons) -> int:
    """Number the steps of a table's updates. Blocks updates that have no order, and returns their number."""
    givers_of: defaultdict[str, set[str]] = defaultdict(set)
    reason_of: dict[str, Reason] = {}
    for key in table.match.other_keys:
        if key.deferrable:
            continue  # checked at the end
        for taker, giver in session.query(_passes_on(table, key), f"plan for {table.match.name}"):
            givers_of[taker].add(giver)
            reason_of[taker] = reason_of[giver] = _reason(table, key)
    steps = _update_steps(givers_of)
    blocked = 0
    for row, reason in reason_of.items():
        if row in steps:
            session.execute(f"UPDATE {table.plan} SET step = {steps[row]} WHERE s {SAME} '{row}'", "the plan")
        else:
            way = [literal(f"{BACKUP} {giver}") for giver in sorted(givers_of.get(row, ()))[:1]]
            stopped = reasons.stopped(reason, *way)
            blocked += session.execute(f"UPDATE {table.plan} SET {stopped} WHERE s {SAME} '{row}'", "the plan")
    return blocked


def _update_steps(givers_of: dict[str, set[str]]) -> dict[str, int]:
    """The step of each row in a graph. Rows that are connected with a cycle or with too long a chain have none."""
    steps: dict[str, int] = {}
    rows = set(givers_of).union(*givers_of.values())
    step = 0
    while ready := {row for row in rows - steps.keys() if givers_of.get(row, set()) <= steps.keys()}:
        steps |= dict.fromkeys(ready, step)
        step += 1
    unordered = {row for row in rows if steps.get(row, MOST_STEPS) >= MOST_STEPS}
    neighbours = defaultdict(set)
    for taker, givers in givers_of.items():
        for giver in givers:
            neighbours[taker].add(giver)
            neighbours[giver].add(taker)
    while connected := {other for row in unordered for other in neighbours[row]} - unordered:
        unordered |= connected
    return {row: step for row, step in steps.items() if row not in unordered}


def _passes_on(table: StagedTable, key: UniqueKey) -> str:
    """Pairs of updated rows: the first takes over a value that the second gives up."""
    return (
        f"SELECT DISTINCT p.s::{TEXT}, q.s::{TEXT} FROM {table.plan} p"
        f" JOIN {_values_of(table.rows, key)} s ON s.id {SAME} p.s"
        f" JOIN {_values_of(table.match.live.rows, key)} l ON {_same(key)}"
        f" JOIN {table.plan} q ON q.l {SAME} l.id AND q.part {SAME} l.part"
        f" WHERE p.action {SAME} 'u' AND q.action {SAME} 'u' AND p.blocked IS NULL AND q.blocked IS NULL"
        f" AND NOT p.s {SAME} q.s"
    )


def _reason(table: StagedTable, key: UniqueKey) -> Reason:
    return Reason(table.match.name, SampleKind.UNIQUE, tuple(sorted(key.columns)), key.name)


def _values_of(table: str, key: UniqueKey) -> str:
    """The rows in a unique index, with its parts as columns k1, k2 and so on."""
    parts = ", ".join(f"({part}) AS k{number}" for number, part in enumerate(key.parts, 1))
    condition = f" WHERE {key.condition}" if key.condition else ""
    return f"(SELECT ctid AS id, tableoid AS part, {parts} FROM {table} l{condition})"


def _same(key: UniqueKey) -> str:
    """Condition: two rows conflict in the key."""
    pairs = []
    for number, operator in enumerate(key.operators or key.equals, 1):
        one, other = f"s.k{number}", f"l.k{number}"
        # num_nulls, because IS NULL is also true for a composite value of NULLs.
        nulls = f" OR pg_catalog.num_nulls({one}, {other}) {SAME} 2" if key.nulls_equal else ""
        pairs.append(f"({one} {operator} {other}{nulls})")
    return " AND ".join(pairs)
