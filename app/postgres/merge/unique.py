"""Secondary unique keys in a merge: what is in their way, and in which order updates pass a value on.

A value counts as taken while a row that stays has it after the merge. Where one updated row takes over what another
gives up, the other goes first; the server looks at each row as it comes. Rows that pass values on in a circle, or in
a longer chain than is worth an order, are blocked all together, so that a second run finds the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from app.postgres.merge.schema import UniqueKey
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import APPLIED, TEXT, same_place
from app.postgres.merge.stage import StagedTable
from app.postgres.quoting import SAME, literal

UNIQUE = "unique"
MOST_STEPS = 500


def unique_taken(each: StagedTable, key: UniqueKey) -> str:
    """Block rows whose unique value another live row has, and keeps."""
    columns = ", ".join(sorted(key.columns))
    moved = f"NOT EXISTS (SELECT FROM {_values_of(each.rows, key)} s WHERE s.id {SAME} q.s AND {_same(key)})"
    leaves = f"q.blocked IS NULL AND (q.action {SAME} 'd' OR q.action {SAME} 'u' AND {moved})"
    return (
        f"UPDATE {each.plan} p SET blocked = '{UNIQUE}', why = {literal(columns)}"
        f" FROM {_values_of(each.rows, key)} s, {_values_of(each.match.live.rows, key)} l"
        f" WHERE s.id {SAME} p.s AND {APPLIED} AND {_same(key)}"
        f" AND (p.l IS NULL OR NOT (l.id {SAME} p.l AND l.part {SAME} p.part))"
        f" AND NOT EXISTS (SELECT FROM {each.plan} q WHERE q.l {SAME} l.id AND q.part {SAME} l.part AND {leaves})"
    )


def unique_twice(each: StagedTable, key: UniqueKey) -> str:
    """Block rows of the backup that have the same unique value: it had no such key then."""
    columns = ", ".join(sorted(key.columns))
    return (
        f"UPDATE {each.plan} p SET blocked = '{UNIQUE}', why = {literal(columns)}"
        f" FROM {_values_of(each.rows, key)} s, {_values_of(each.rows, key)} l, {each.plan} q"
        f" WHERE s.id {SAME} p.s AND {APPLIED} AND l.id {SAME} q.s AND q.action {SAME} ANY (ARRAY['i', 'u'])"
        f" AND NOT l.id {SAME} s.id AND {_same(key)}"
    )


def block_shared_keys(each: StagedTable) -> Iterator[str]:
    """Leave rows alone whose key is not theirs alone: an index that was built for another collation lets that in."""
    columns = literal(", ".join(sorted(each.match.key_columns)))
    stopped = f"UPDATE {each.plan} p SET blocked = '{UNIQUE}', why = {columns} FROM {each.rows} s"
    planned = f"s.ctid {SAME} p.s AND {APPLIED}"
    twin = f"SELECT FROM {each.rows} o WHERE {each.match.same('o', 's')} AND NOT o.ctid {SAME} s.ctid"
    yield f"{stopped} WHERE {planned} AND EXISTS ({twin})"
    twin = f"SELECT FROM {each.match.live.rows} l WHERE {each.match.same('l', 's')} AND NOT ({same_place('l', 'p')})"
    yield f"{stopped} WHERE {planned} AND p.action {SAME} 'u' AND EXISTS ({twin})"
    # A row of the backup counts once, though two of the live database have its key.
    before = f"q.part OPERATOR(pg_catalog.<) p.part OR q.part {SAME} p.part AND q.l OPERATOR(pg_catalog.<) p.l"
    yield f"DELETE FROM {each.plan} p USING {each.plan} q WHERE q.s {SAME} p.s AND ({before})"


def order_updates(session: MergeSession, each: StagedTable) -> int:
    """Number the waves of a table's updates; block those that have no order, and say how many these are."""
    after: defaultdict[str, set[str]] = defaultdict(set)
    why: dict[str, str] = {}
    for key in each.match.other_keys:
        if key.deferrable:
            continue  # looked at when all is done
        for taker, giver in session.query(_passes_on(each, key), f"plan for {each.match.name}"):
            after[taker].add(giver)
            why[taker] = why[giver] = ", ".join(sorted(key.columns))
    steps = _update_steps(after)
    blocked = 0
    for row, columns in why.items():
        if row in steps:
            session.execute(f"UPDATE {each.plan} SET step = {steps[row]} WHERE s {SAME} '{row}'", "the plan")
        else:
            stopped = f"blocked = '{UNIQUE}', why = {literal(columns)}"
            blocked += session.execute(f"UPDATE {each.plan} SET {stopped} WHERE s {SAME} '{row}'", "the plan")
    return blocked


def _update_steps(after: dict[str, set[str]]) -> dict[str, int]:
    """For each row of a graph when its turn is; none for those that hang together with a circle or too long a chain."""
    steps: dict[str, int] = {}
    rows = set(after).union(*after.values())
    step = 0
    while ready := {row for row in rows - steps.keys() if after.get(row, set()) <= steps.keys()}:
        steps |= dict.fromkeys(ready, step)
        step += 1
    stuck = {row for row in rows if steps.get(row, MOST_STEPS) >= MOST_STEPS}
    together = defaultdict(set)
    for taker, givers in after.items():
        for giver in givers:
            together[taker].add(giver)
            together[giver].add(taker)
    while more := {other for row in stuck for other in together[row]} - stuck:
        stuck |= more
    return {row: step for row, step in steps.items() if row not in stuck}


def _passes_on(each: StagedTable, key: UniqueKey) -> str:
    """Pairs of updated rows of which the first takes over what the second gives up."""
    return (
        f"SELECT DISTINCT p.s::{TEXT}, q.s::{TEXT} FROM {each.plan} p"
        f" JOIN {_values_of(each.rows, key)} s ON s.id {SAME} p.s"
        f" JOIN {_values_of(each.match.live.rows, key)} l ON {_same(key)}"
        f" JOIN {each.plan} q ON q.l {SAME} l.id AND q.part {SAME} l.part"
        f" WHERE p.action {SAME} 'u' AND q.action {SAME} 'u' AND p.blocked IS NULL AND q.blocked IS NULL"
        f" AND NOT p.s {SAME} q.s"
    )


def _values_of(table: str, key: UniqueKey) -> str:
    """The rows that a unique index knows, with its parts as k1, k2 and so on."""
    parts = ", ".join(f"({part}) AS k{number}" for number, part in enumerate(key.parts, 1))
    condition = f" WHERE {key.condition}" if key.condition else ""
    return f"(SELECT ctid AS id, tableoid AS part, {parts} FROM {table} l{condition})"


def _same(key: UniqueKey) -> str:
    """That two rows exclude each other."""
    pairs = []
    for number, operator in enumerate(key.operators or key.equals, 1):
        one, other = f"s.k{number}", f"l.k{number}"
        # IS NULL is true of a row of nulls as well, which is a value.
        nulls = f" OR pg_catalog.num_nulls({one}, {other}) {SAME} 2" if key.nulls_equal else ""
        pairs.append(f"({one} {operator} {other}{nulls})")
    return " AND ".join(pairs)
