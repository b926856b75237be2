"""Applies a plan: one statement, or few for many tables, with triggers and rules disabled.

Foreign keys are checked at the end of a statement, so that cycles need no order; see `app.postgres.merge.groups`. The
plan has checked them; if the server finds a violation all the same, nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from app.archive.index import TableName
from app.domain.changes import TableChanges
from app.errors import RestoreDataError
from app.postgres.lock_holders import CONFLICT_WITH_ACCESS_EXCLUSIVE, CONFLICT_WITH_SHARE_ROW_EXCLUSIVE
from app.postgres.lock_retries import lock_all, retry_for_locks
from app.postgres.merge.groups import Groups, StatementPart, statement_of
from app.postgres.merge.schema import LiveTable
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import DIFFERS, row_of, same_place
from app.postgres.merge.staged import StagedTable
from app.postgres.quoting import SAME, quoted

_FREE = f"p.blocked IS NULL AND p.action {SAME}"


def lock(
    session: MergeSession,
    staged: Sequence[StagedTable],
    more: Iterable[TableName] = (),
    *,
    readers_out: bool = False,
) -> None:
    """Lock the tables, and `more`, against writers until the end of the transaction.

    Args:
        session: in the transaction.
        staged: the tables of the merge.
        more: other tables.
        readers_out: also lock readers out of the tables that will be altered; the last attempt failed to do so later.

    Raises:
        RestoreBusyError: the locks were not free for a minute; names a session that has them.
    """
    tables = {table.match.name: table.match.live.sql for table in staged}
    statements = [(f"lock on {name}", statement) for name, statement in locks(tables, more)]
    if readers_out:
        altered = [(table.match.name, table.match.live) for table in staged if _is_altered(table.match.live)]
        statements += [(f"lock on {name}", f"LOCK TABLE {live.sql} IN ACCESS EXCLUSIVE MODE") for name, live in altered]
    modes = CONFLICT_WITH_ACCESS_EXCLUSIVE if readers_out else CONFLICT_WITH_SHARE_ROW_EXCLUSIVE
    retry_for_locks(session, "the locks of the merge", modes, lambda: lock_all(session, statements))


def locks(tables: Mapping[TableName, str], more: Iterable[TableName]) -> Iterator[tuple[TableName, str]]:
    """The statements that lock tables, given with their SQL, and `more`; always in the same order."""
    everything = {name: quoted(*name) for name in more} | dict(tables)
    for name, table in sorted(everything.items()):
        yield name, f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"


def _is_altered(live: LiveTable) -> bool:
    """Whether disabling its rules or identities takes a lock that conflicts with readers."""
    rules = any(trigger.what == "RULE" for trigger in live.triggers)
    return live.owned and (rules or any(column.always for column in live.columns.values()))


def apply(
    session: MergeSession, staged: Sequence[StagedTable], planned: Sequence[TableChanges], groups: Groups
) -> None:
    """Change the live rows as planned.

    Args:
        session: in the transaction with the locks.
        staged: the tables.
        planned: the counts of each table.
        groups: cuts the changes into statements.

    Raises:
        RestoreDataError: the server refuses a row, or the number of changed rows differs from the plan.
    """
    work = [(table, plan) for table, plan in zip(staged, planned, strict=True) if plan.changed]
    if not work:
        return
    parts = [part for table, plan in work for part in _parts(session, table, plan)]
    with ExitStack() as stack:
        for table, plan in work:
            stack.enter_context(_triggers_disabled(session, table, plan))
        session.execute("SET CONSTRAINTS ALL DEFERRED", "the merge's constraints")  # rows may swap unique values
        done = [sum(session.query(statement_of(group), "the merge")[0][0]) for group in groups.of(parts)]
        # Checked now and not at the commit, so that the error names the merge.
        session.execute("SET CONSTRAINTS ALL IMMEDIATE", "the merge's constraints")
    expected = sum(plan.changed for _, plan in work)
    if sum(done) != expected:
        message = f"the merge changed {sum(done)} rows, and {expected} were planned"
        raise RestoreDataError(message, "does a rule or trigger of the database interfere? nothing was changed")


def _parts(session: MergeSession, table: StagedTable, plan: TableChanges) -> Iterator[StatementPart]:
    """The statements that delete, update and insert a table's rows."""
    match, number = table.match, table.number
    here = same_place("l", "p")
    planned = f"{table.plan} p JOIN {table.rows} s ON s.ctid {SAME} p.s"
    if plan.deleted:
        for at, target in enumerate(match.live.targets):
            delete = f"DELETE FROM {target} l USING {table.plan} p WHERE {_FREE} 'd' AND {here}"
            yield StatementPart(f"d{number}_{at}", delete, match.name, "d")
    updated = updated_columns(session, table) if plan.updated else ()
    values = ", ".join(f"{quoted(name)} = s.{quoted(name)}" for name in updated)
    for step in update_steps(session, table) if plan.updated else ():
        condition = f"{_FREE} 'u' AND {here} AND p.step {SAME} {step}"
        update = f"UPDATE {match.live.sql} l SET {values} FROM {planned} WHERE {condition}"
        yield StatementPart(f"u{number}_{step}", update, match.name, "u", updated)
    if plan.inserted:
        columns = ", ".join(map(quoted, match.columns))
        listed = f"({columns}) OVERRIDING SYSTEM VALUE" if columns else ""
        taken = ", ".join(f"s.{quoted(name)}" for name in match.columns)
        source = f"SELECT {taken} FROM {planned} WHERE {_FREE} 'i'"
        yield StatementPart(f"i{number}", f"INSERT INTO {quoted(*match.name)} {listed} {source}", match.name, "i")


def updated_columns(session: MergeSession, table: StagedTable) -> tuple[str, ...]:
    """Columns that an update sets. The key is one of them if its text differs, as in numeric 1.0 and 1.00."""
    match = table.match
    key = f"{row_of('s', match.key_columns)} {DIFFERS} {row_of('l', match.key_columns)}"
    query = (
        f"SELECT EXISTS (SELECT FROM {table.plan} p JOIN {table.rows} s ON s.ctid {SAME} p.s"
        f" JOIN {match.live.rows} l ON {same_place('l', 'p')} WHERE {_FREE} 'u' AND {key})"
    )
    return match.compared if session.query(query, f"plan for {match.name}")[0][0] else match.values


def update_steps(session: MergeSession, table: StagedTable) -> list[int]:
    """The steps in which a table's rows are updated."""
    query = f"SELECT DISTINCT step FROM {table.plan} p WHERE {_FREE} 'u' ORDER BY 1"
    return [step for (step,) in session.query(query, f"plan for {table.match.name}")]


def trigger_switches(live: LiveTable, updated: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of statements that disable a table's triggers, rules and identities, and enable them again.

    Args:
        live: the table.
        updated: columns that an update sets.
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
def _triggers_disabled(session: MergeSession, table: StagedTable, plan: TableChanges) -> Iterator[None]:
    pairs = list(trigger_switches(table.match.live, updated_columns(session, table) if plan.updated else ()))
    for off, _ in pairs:
        session.execute(off, f"triggers of {table.match.name}")
    yield
    for _, on in pairs:
        session.execute(on, f"triggers of {table.match.name}")
