"""Counts and samples of a plan, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from app.domain.merge import MOST_SAMPLES, Kind, Sample, TableChanges
from app.postgres.live_schema import quoted
from app.postgres.merge_plan import CHECK, PARENT, REFERENCED
from app.postgres.merge_session import MergeSession
from app.postgres.merge_sql import literal, row_of
from app.postgres.merge_stage import Staged
from app.postgres.merge_unique import UNIQUE

_BLOCKED = {UNIQUE: Kind.UNIQUE, CHECK: Kind.CHECK, PARENT: Kind.PARENT, REFERENCED: Kind.REFERENCED}
_ACTS = {"i": Kind.INSERTED, "u": Kind.UPDATED, "d": Kind.DELETED, "k": Kind.DIFFERS}
_CONFLICT = "(p.blocked IS NOT NULL OR p.act = 'k')"


def counted(session: MergeSession, each: Staged) -> TableChanges:
    """The counts of one table."""
    name = each.match.name
    query = f"SELECT act, blocked IS NOT NULL, count(*), count(*) FILTER (WHERE differs) FROM {each.plan} GROUP BY 1, 2"
    done: Counter[str] = Counter()
    planned: Counter[str] = Counter()
    blocked = conflicting = 0
    for act, stopped, count, differing in session.ask(query, f"plan for {name}"):
        planned[act] += count
        conflicting += differing
        if stopped:
            blocked += count
        else:
            done[act] += count
    totals = f"SELECT (SELECT count(*) FROM {each.rows}), (SELECT count(*) FROM {each.match.live.sql})"
    backup, live = session.ask(totals, f"rows of {name}")[0]
    return TableChanges(
        table=str(name),
        inserted=done["i"],
        updated=done["u"],
        deleted=done["d"],
        unchanged=backup - planned["i"] - planned["u"] - planned["k"],
        conflicting=conflicting,
        blocked=blocked,
        live_only=live - (backup - planned["i"]) - done["d"],
    )


def samples(session: MergeSession, staged: Sequence[Staged]) -> tuple[Sample, ...]:
    """Up to `MOST_SAMPLES` rows: of all tables first those that conflict, then those that change."""
    found: list[Sample] = []
    for conflicts in (True, False):
        for each in staged:
            found += _samples(session, each, MOST_SAMPLES - len(found), conflicts=conflicts)
    return tuple(found)


def _samples(session: MergeSession, each: Staged, most: int, *, conflicts: bool) -> Iterator[Sample]:
    if not most:
        return
    match = each.match
    key = match.key_columns or match.columns
    shown = ", ".join(f"coalesce(s.{quoted(name)}, l.{quoted(name)})::text" for name in key)
    differing = ", ".join(
        f"CASE WHEN {row_of('s', [name])} *<> {row_of('l', [name])} THEN {literal(name)} END" for name in match.values
    )
    query = (
        f"SELECT p.act, p.blocked, p.why, p.differs, ARRAY[{shown}]::text[], ARRAY[{differing}]::text[]"
        f" FROM (SELECT * FROM {each.plan} p WHERE {'' if conflicts else 'NOT '}{_CONFLICT} LIMIT {most}) p"
        f" LEFT JOIN {each.rows} s ON s.ctid = p.s"
        f" LEFT JOIN {match.live.sql} l ON l.ctid = p.l AND l.tableoid = p.part"
    )
    for act, blocked, why, differs, values, columns in session.ask(query, f"samples of {match.name}"):
        kind = _BLOCKED[blocked] if blocked else _ACTS[act]
        told = tuple(why.split(", ")) if blocked else tuple(filter(None, columns)) if differs else ()
        yield Sample(table=str(match.name), kind=kind, key=dict(zip(key, values, strict=True)), columns=told)
