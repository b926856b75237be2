"""Carries a plan out: one statement for all tables, with triggers and rules held still.

Foreign keys are checked at the statement's end, when everything is in its place, so that cycles need no order. The
plan has made sure that they hold; should the server find otherwise, nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from app.archive.index import TableName
from app.domain.changes import TableChanges
from app.errors import RestoreDataError
from app.postgres.lock_holders import CONFLICT_WITH_ACCESS_EXCLUSIVE, CONFLICT_WITH_SHARE_ROW_EXCLUSIVE
from app.postgres.lock_retries import lock_all, retry_for_locks
from app.postgres.merge.schema import LiveTable
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import DIFFERS, row_of, same_place
from app.postgres.merge.stage import StagedTable
from app.postgres.quoting import SAME, quoted

_FREE = f"p.blocked IS NULL AND p.action {SAME}"


def lock(
    session: MergeSession,
    staged: Sequence[StagedTable],
    more: Iterable[TableName] = (),
    *,
    readers_out: bool = False,
) -> None:
    """Keep others from writing to the tables, and to `more` of them, until the end of the transaction.

    Args:
        session: in the transaction.
        staged: the tables of the merge.
        more: others.
        readers_out: lock those that are to be altered for everybody at once: an attempt to do so later met somebody.

    Raises:
        RestoreBusyError: others would not go for a minute; names who.
    """
    tables = {each.match.name: each.match.live.sql for each in staged}
    statements = [(f"lock on {name}", statement) for name, statement in locks(tables, more)]
    if readers_out:
        altered = [(each.match.name, each.match.live) for each in staged if _is_altered(each.match.live)]
        statements += [(f"lock on {name}", f"LOCK TABLE {live.sql} IN ACCESS EXCLUSIVE MODE") for name, live in altered]
    modes = CONFLICT_WITH_ACCESS_EXCLUSIVE if readers_out else CONFLICT_WITH_SHARE_ROW_EXCLUSIVE
    retry_for_locks(session, "the locks of the merge", modes, lambda: lock_all(session, statements))


def locks(tables: Mapping[TableName, str], more: Iterable[TableName]) -> Iterator[tuple[TableName, str]]:
    """The statements that lock tables, given by name with what they are as SQL, and more; always in one order."""
    everything = {name: quoted(*name) for name in more} | dict(tables)
    for name, table in sorted(everything.items()):
        yield name, f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"


def _is_altered(live: LiveTable) -> bool:
    """Whether holding it still may take a lock that keeps readers out too: a rule's or an identity's does."""
    rules = any(trigger.what == "RULE" for trigger in live.triggers)
    return live.owned and (rules or any(column.always for column in live.columns.values()))


def apply(session: MergeSession, staged: Sequence[StagedTable], planned: Sequence[TableChanges]) -> None:
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
    statements = [found for each, plan in work for found in _statements(session, each, plan)]
    parts = [f"{name} AS ({statement} RETURNING 1)" for name, statement in statements]
    # Asked for in this order they are done in it, for the unique keys: what goes makes room for what comes.
    counts = [f"(SELECT pg_catalog.count(*) FROM {name})" for name, _ in statements]
    with ExitStack() as stack:
        for each, plan in work:
            stack.enter_context(_triggers_disabled(session, each, plan))
        session.execute("SET CONSTRAINTS ALL DEFERRED", "the merge's constraints")  # rows may swap what is unique
        # An array, since a list of answers has an end at 1,664.
        done = session.query(f"WITH {', '.join(parts)} SELECT ARRAY[{', '.join(counts)}]", "the merge")[0][0]
        # Now, not at the commit, so that what fails is known while it can be told.
        session.execute("SET CONSTRAINTS ALL IMMEDIATE", "the merge's constraints")
    expected = sum(plan.changed for _, plan in work)
    if sum(done) != expected:
        message = f"the merge changed {sum(done)} rows where {expected} were planned"
        raise RestoreDataError(message, "does a rule or trigger of the database interfere? nothing was changed")


def _statements(session: MergeSession, each: StagedTable, plan: TableChanges) -> Iterator[tuple[str, str]]:
    """Name and text of what deletes, updates and inserts a table's rows."""
    match, number = each.match, each.number
    here = same_place("l", "p")
    planned = f"{each.plan} p JOIN {each.rows} s ON s.ctid {SAME} p.s"
    if plan.deleted:
        for at, target in enumerate(match.live.targets):
            yield f"d{number}_{at}", f"DELETE FROM {target} l USING {each.plan} p WHERE {_FREE} 'd' AND {here}"
    values = ", ".join(f"{quoted(name)} = s.{quoted(name)}" for name in updated_columns(session, each))
    for step in update_steps(session, each) if plan.updated else ():
        condition = f"{_FREE} 'u' AND {here} AND p.step {SAME} {step}"
        yield f"u{number}_{step}", f"UPDATE {match.live.sql} l SET {values} FROM {planned} WHERE {condition}"
    if plan.inserted:
        columns = ", ".join(map(quoted, match.columns))
        listed = f"({columns}) OVERRIDING SYSTEM VALUE" if columns else ""
        taken = ", ".join(f"s.{quoted(name)}" for name in match.columns)
        source = f"SELECT {taken} FROM {planned} WHERE {_FREE} 'i'"
        yield f"i{number}", f"INSERT INTO {quoted(*match.name)} {listed} {source}"


def updated_columns(session: MergeSession, each: StagedTable) -> tuple[str, ...]:
    """What an update gives new values: the key too where that is spelled differently, as numeric 1.0 and 1.00 are."""
    match = each.match
    key = f"{row_of('s', match.key_columns)} {DIFFERS} {row_of('l', match.key_columns)}"
    query = (
        f"SELECT EXISTS (SELECT FROM {each.plan} p JOIN {each.rows} s ON s.ctid {SAME} p.s"
        f" JOIN {match.live.rows} l ON {same_place('l', 'p')} WHERE {_FREE} 'u' AND {key})"
    )
    return match.columns if session.query(query, f"plan for {match.name}")[0][0] else match.values


def update_steps(session: MergeSession, each: StagedTable) -> list[int]:
    """The waves in which a table's rows are updated."""
    query = f"SELECT DISTINCT step FROM {each.plan} p WHERE {_FREE} 'u' ORDER BY 1"
    return [step for (step,) in session.query(query, f"plan for {each.match.name}")]


def trigger_switches(live: LiveTable, updated: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of statements that hold a table's triggers and rules still, and that let them go again.

    Args:
        live: the table.
        updated: columns that are given new values.
    """
    if not live.owned:
        return
    for trigger in live.triggers:
        yield trigger.switch_statement(on=False), trigger.switch_statement(on=True)
    for name in updated:
        if live.columns[name].always:
            alter = f"ALTER TABLE {quoted(*live.name)} ALTER COLUMN {quoted(name)} SET GENERATED"
            yield f"{alter} BY DEFAULT", f"{alter} ALWAYS"


@contextmanager
def _triggers_disabled(session: MergeSession, each: StagedTable, plan: TableChanges) -> Iterator[None]:
    pairs = list(trigger_switches(each.match.live, updated_columns(session, each) if plan.updated else ()))
    for off, _ in pairs:
        session.execute(off, f"triggers of {each.match.name}")
    yield
    for _, on in pairs:
        session.execute(on, f"triggers of {each.match.name}")
