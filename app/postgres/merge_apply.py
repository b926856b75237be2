"""Carries a plan out: one statement for all tables, with triggers and rules held still.

Foreign keys are checked at the statement's end, when everything is in its place, so that cycles need no order. The
plan has made sure that they hold; should the server find otherwise, nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from app.domain.merge import TableChanges
from app.errors import RestoreDataError
from app.postgres.live_schema import LiveTable, quoted
from app.postgres.merge_session import MergeSession
from app.postgres.merge_stage import Staged

_FREE = "p.blocked IS NULL AND p.act"


def lock(session: MergeSession, staged: Sequence[Staged]) -> None:
    """Keep others from writing to the tables until the end of the transaction; reading goes on."""
    for each in sorted(staged, key=lambda staged: staged.match.name):
        session.do(f"LOCK TABLE {each.match.live.sql} IN SHARE ROW EXCLUSIVE MODE", f"lock on {each.match.name}")


def apply(session: MergeSession, staged: Sequence[Staged], planned: Sequence[TableChanges]) -> None:
    """Change the live rows as planned.

    Args:
        session: in the transaction that holds the locks.
        staged: the tables.
        planned: the counts of each.

    Raises:
        RestoreDataError: a row is refused, or other than the planned numbers were changed.
    """
    work = [(each, plan) for each, plan in zip(staged, planned, strict=True) if plan.changed]
    if not work:
        return
    parts: list[str] = []
    counts: list[str] = []
    for each, plan in work:
        for name, count, statement in _statements(each, plan):
            if count:
                parts.append(f"{name} AS ({statement} RETURNING 1)")
                counts.append(f"(SELECT count(*) FROM {name})")
    with ExitStack() as stack:
        for each, plan in work:
            stack.enter_context(_still(session, each, plan))
        done = session.ask(f"WITH {', '.join(parts)} SELECT {', '.join(counts)}", "the merge")[0]
        # Now, not at the commit, so that what fails is known while it can be told.
        session.do("SET CONSTRAINTS ALL IMMEDIATE", "the merge's constraints")
    expected = [count for _, plan in work for count in (plan.deleted, plan.updated, plan.inserted) if count]
    if list(done) != expected:
        message = f"the merge changed {sum(done)} rows where {sum(expected)} were planned"
        raise RestoreDataError(message, "does a rule or trigger of the database interfere? nothing was changed")


def _statements(each: Staged, plan: TableChanges) -> Iterator[tuple[str, int, str]]:
    """Name, number of rows and text of what deletes, updates and inserts; in this order, for the unique keys."""
    match, number = each.match, each.number
    here = "l.ctid = p.l AND l.tableoid = p.part"
    planned = f"{each.plan} p JOIN {each.rows} s ON s.ctid = p.s"
    delete = f"DELETE FROM {match.live.sql} l USING {each.plan} p WHERE {_FREE} = 'd' AND {here}"
    yield f"d{number}", plan.deleted, delete
    values = ", ".join(f"{quoted(name)} = s.{quoted(name)}" for name in match.values)
    update = f"UPDATE {match.live.sql} l SET {values} FROM {planned} WHERE {_FREE} = 'u' AND {here}"
    yield f"u{number}", plan.updated, update
    columns = ", ".join(map(quoted, match.columns))
    listed = f"({columns}) OVERRIDING SYSTEM VALUE" if columns else ""
    taken = ", ".join(f"s.{quoted(name)}" for name in match.columns)
    insert = f"INSERT INTO {quoted(*match.name)} {listed} SELECT {taken} FROM {planned} WHERE {_FREE} = 'i'"
    yield f"i{number}", plan.inserted, insert


def stillness(live: LiveTable, updated: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of statements that hold a table's triggers and rules still, and that let them go again.

    Args:
        live: the table.
        updated: columns that are given new values.
    """
    if not live.owned:
        return
    for firing in live.firings:
        yield firing.switched(on=False), firing.switched(on=True)
    for name in updated:
        if live.columns[name].always:
            alter = f"ALTER TABLE {quoted(*live.name)} ALTER COLUMN {quoted(name)} SET GENERATED"
            yield f"{alter} BY DEFAULT", f"{alter} ALWAYS"


@contextmanager
def _still(session: MergeSession, each: Staged, plan: TableChanges) -> Iterator[None]:
    pairs = list(stillness(each.match.live, each.match.values if plan.updated else ()))
    for off, _ in pairs:
        session.do(off, f"triggers of {each.match.name}")
    yield
    for _, on in pairs:
        session.do(on, f"triggers of {each.match.name}")
