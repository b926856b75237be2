"""A merge equals an oracle on generated schemas and divergence: rows by key, without a key, foreign keys, cycles.

The oracle knows nothing of SQL: it decides row by row, and blocks what a constraint would refuse until nothing more is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.changes import TableChanges
from app.errors import MergeConflictError
from tests.fix_merge import archive_of, beside, merge, request, undo
from tests.fix_postgres import TestDatabase, scratch_database
from tests.tiers import times

POLICIES = ("take-backup", "keep-live", "newest:ts", "fail")
Row = tuple[int | None, ...]
State = dict[int, list[Row]]


@dataclass(frozen=True)
class Table:
    """Columns k1, k2 (the key, or not), u (perhaps unique), v, ts, and one for each reference."""

    keys: int  # 0: no key, 1 or 2 columns
    unique: bool
    refers: tuple[int, ...] = ()

    @property
    def columns(self) -> list[str]:
        return ["k1", "k2", "u", "v", "ts", *(f"r{n}" for n in range(len(self.refers)))]

    def key(self, row: Row) -> Row:
        return row[: self.keys]


@dataclass
class Planned:
    """What the oracle makes of one table."""

    inserts: list[Row] = field(default_factory=list)
    updates: list[tuple[Row, Row]] = field(default_factory=list)  # live, backup
    kept: int = 0
    unchanged: int = 0
    differing: int = 0
    blocked: int = 0


small = st.integers(0, 5)
maybe = st.none() | small
tables = st.lists(
    st.builds(Table, keys=st.sampled_from([0, 1, 1, 1, 2]), unique=st.sampled_from([False, True, True])),
    min_size=1,
    max_size=4,
)


@st.composite
def schemas(draw: st.DrawFn) -> list[Table]:
    """Tables that refer to any table with a key of one column: itself, earlier ones, later ones."""
    plain = draw(tables)
    targets = [number for number, each in enumerate(plain) if each.keys == 1]
    refer = st.lists(st.sampled_from(targets), max_size=2) if targets else st.just([])
    return [Table(each.keys, each.unique, tuple(draw(refer))) for each in plain]


@st.composite
def states(draw: st.DrawFn, schema: list[Table]) -> State:
    """Rows that satisfy every constraint."""
    state: State = {}
    for number, table in enumerate(schema):
        row = st.tuples(small, small, maybe, maybe, maybe, *(maybe for _ in table.refers))
        state[number] = _valid(table, draw(st.lists(row, max_size=7)))
    for number, table in enumerate(schema):
        state[number] = [
            row[:5]
            + tuple(
                value if value in {each[0] for each in state[target]} else None
                for value, target in zip(row[5:], table.refers, strict=True)
            )
            for row in state[number]
        ]
    return state


def _valid(table: Table, rows: list[Row]) -> list[Row]:
    keys: set[Row] = set()
    values: set[int | None] = set()
    kept = []
    for row in rows:
        taken = (table.keys and table.key(row) in keys) or (table.unique and row[2] is not None and row[2] in values)
        if not taken:
            keys.add(table.key(row))
            values.add(row[2])
            kept.append(row)
    return kept


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Table], State, State, str]:
    schema = draw(schemas())
    backup = draw(states(schema))
    live = draw(states(schema))
    # Much of what is there is alike, as in life.
    shared = draw(st.booleans())
    if shared:
        live = {number: _valid(schema[number], backup[number][:4] + rows) for number, rows in live.items()}
        live = _without_orphans(schema, live)
    return schema, backup, live, draw(st.sampled_from(POLICIES))


def _without_orphans(schema: list[Table], state: State) -> State:
    return {
        number: [
            row[:5]
            + tuple(
                value if value in {each[0] for each in state[target]} else None
                for value, target in zip(row[5:], schema[number].refers, strict=True)
            )
            for row in rows
        ]
        for number, rows in state.items()
    }


def oracle(schema: list[Table], backup: State, live: State, policy: str) -> dict[int, Planned]:
    plans = {number: _decide(table, backup[number], live[number], policy) for number, table in enumerate(schema)}
    blocked: dict[int, set[int]] = {number: set() for number in plans}
    while True:
        found = {number: _refused(schema, live, plans, blocked, number) for number in plans}
        if not any(found.values()):
            found = {number: _circling(schema[number], plan, blocked[number]) for number, plan in plans.items()}
        if not any(found.values()):
            break
        for number, more in found.items():
            blocked[number] |= more
    for number, plan in plans.items():
        rows = _incoming(plan)
        free = [at for at in range(len(rows)) if at not in blocked[number]]
        plan.blocked = len(blocked[number])
        plan.inserts = [rows[at][1] for at in free if rows[at][0] is None]
        plan.updates = [(was, row) for at in free for was, row in [rows[at]] if was is not None]
    return plans


def _decide(table: Table, backup: list[Row], live: list[Row], policy: str) -> Planned:
    plan = Planned()
    if not table.keys:
        missing = Counter(backup) - Counter(live)
        plan.inserts = list(missing.elements())
        plan.unchanged = len(backup) - len(plan.inserts)
        return plan
    there = {table.key(row): row for row in live}
    for row in backup:
        was = there.get(table.key(row))
        if was is None:
            plan.inserts.append(row)
        elif was == row:
            plan.unchanged += 1
        else:
            plan.differing += 1
            newer = row[4] is not None and (was[4] is None or row[4] > was[4])
            if policy == "take-backup" or (policy.startswith("newest") and newer):
                plan.updates.append((was, row))
            else:
                plan.kept += 1
    return plan


def _incoming(plan: Planned) -> list[tuple[Row | None, Row]]:
    return [(None, row) for row in plan.inserts] + list(plan.updates)


def _refused(
    schema: list[Table], live: State, plans: dict[int, Planned], blocked: dict[int, set[int]], number: int
) -> set[int]:
    table, rows = schema[number], _incoming(plans[number])
    found = set()
    for at, (was, row) in enumerate(rows):
        if at in blocked[number]:
            continue
        leaving = [old for no, (old, new) in enumerate(rows) if no not in blocked[number] and old and old[2] != new[2]]
        staying = [each for each in live[number] if each != was and each not in leaving]
        coming = [new for no, (_, new) in enumerate(rows) if no != at]
        taken = table.unique and row[2] is not None and any(each[2] == row[2] for each in staying + coming)
        orphan = any(
            value is not None and value not in _parents(live, plans, blocked, target)
            for value, target in zip(row[5:], table.refers, strict=True)
        )
        if taken or orphan:
            found.add(at)
    return found


def _circling(table: Table, plan: Planned, blocked: set[int]) -> set[int]:
    """Updates that pass a unique value on in a circle, and all that hang together with them."""
    rows = _incoming(plan)
    free = [at for at, (was, _) in enumerate(rows) if was is not None and at not in blocked]
    passes = {
        (taker, giver)
        for taker in free
        for giver in free
        if table.unique and taker != giver and rows[taker][1][2] is not None and rows[taker][1][2] == rows[giver][0][2]  # type: ignore[index]
    }
    left = set(free)
    while last := {at for at in left if not any((at, giver) in passes for giver in left)}:
        left -= last
    while more := {at for pair in passes for at in pair if left & set(pair)} - left:
        left |= more
    return left


def _parents(live: State, plans: dict[int, Planned], blocked: dict[int, set[int]], target: int) -> set[int | None]:
    coming = {row[0] for at, (_, row) in enumerate(_incoming(plans[target])) if at not in blocked[target]}
    return {row[0] for row in live[target]} | coming


def outcome(live: State, plans: dict[int, Planned]) -> dict[int, Counter[Row]]:
    after = {number: Counter(rows) for number, rows in live.items()}
    for number, plan in plans.items():
        for was, row in plan.updates:
            after[number][was] -= 1
            after[number][row] += 1
        after[number].update(plan.inserts)
        after[number] = +after[number]
    return after


def build(connection: psycopg.Connection, schema: list[Table]) -> None:
    connection.execute("DROP SCHEMA IF EXISTS g CASCADE; CREATE SCHEMA g")
    for number, table in enumerate(schema):
        columns = ", ".join(f"{name} int" for name in table.columns)
        key = f", PRIMARY KEY ({', '.join(['k1', 'k2'][: table.keys])})" if table.keys else ""
        unique = ", UNIQUE (u)" if table.unique else ""
        connection.execute(f"CREATE TABLE g.t{number} ({columns}{key}{unique})".encode())
    for number, table in enumerate(schema):
        for at, target in enumerate(table.refers):
            refers = f"FOREIGN KEY (r{at}) REFERENCES g.t{target} (k1) ON DELETE CASCADE"
            connection.execute(f"ALTER TABLE g.t{number} ADD {refers}".encode())


def fill(connection: psycopg.Connection, state: State) -> None:
    connection.execute("SET session_replication_role = replica")
    for number, rows in state.items():
        connection.execute(f"DELETE FROM g.t{number}".encode())
        for row in rows:
            marks = ", ".join(["%s"] * len(row))
            connection.execute(f"INSERT INTO g.t{number} VALUES ({marks})".encode(), row)


def content(connection: psycopg.Connection, schema: list[Table]) -> dict[int, Counter[Row]]:
    return {
        number: Counter(connection.execute(f"SELECT * FROM g.t{number}".encode()).fetchall())
        for number in range(len(schema))
    }


@pytest.fixture(scope="module")
def arena(postgres_server: object) -> object:
    with scratch_database(postgres_server) as database:  # type: ignore[arg-type]
        yield database


@pytest.mark.timeout(2000)
@settings(
    max_examples=times(8, 150),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
@given(case=cases())
def test_a_merge_is_what_the_oracle_says(arena: TestDatabase, case: tuple[list[Table], State, State, str]) -> None:
    schema, backup, live, policy = case
    with psycopg.connect(arena.url, autocommit=True) as connection:
        build(connection, schema)
        fill(connection, backup)
        archive = archive_of(arena)
        fill(connection, live)
        plans = oracle(schema, backup, live, policy)
        expected = tuple(_changes(number, plan, live) for number, plan in plans.items())
        before = content(connection, schema)
        with beside(arena, archive, request(policy)) as found:
            preview = found.preview()
        assert preview.tables == expected
        assert content(connection, schema) == before
        if policy == "fail" and any(each.conflicting or each.blocked for each in expected):
            with pytest.raises(MergeConflictError):
                merge(arena, archive, request(policy))
            assert content(connection, schema) == before
            return
        done, inverse = merge(arena, archive, request(policy))
        assert done == preview
        assert content(connection, schema) == outcome(live, plans)
        again, _ = merge(arena, archive, request(policy))
        assert sum(each.changed for each in again.tables) == 0
        undo(arena, inverse)
        assert content(connection, schema) == before


def _changes(number: int, plan: Planned, live: State) -> TableChanges:
    blocked_or_kept = plan.blocked + plan.kept
    known = plan.unchanged + plan.differing
    assert blocked_or_kept >= 0
    return TableChanges(
        table=f"g.t{number}",
        inserted=len(plan.inserts),
        updated=len(plan.updates),
        unchanged=plan.unchanged,
        conflicting=plan.differing,
        blocked=plan.blocked,
        live_only=len(live[number]) - known,
    )
