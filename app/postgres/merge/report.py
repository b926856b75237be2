"""Counts and samples of a plan, for the operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from app.domain.changes import MOST_SAMPLES, Sample, SampleKind, TableChanges
from app.postgres.merge.plan import CHECK, PARENT, PARTITION, REFERENCED
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import DIFFERS, TEXT, row_of, same_place
from app.postgres.merge.stage import StagedTable
from app.postgres.merge.unique import UNIQUE
from app.postgres.quoting import SAME, literal, quoted

_BLOCKED = {
    UNIQUE: SampleKind.UNIQUE,
    CHECK: SampleKind.CHECK,
    PARTITION: SampleKind.PARTITION,
    PARENT: SampleKind.PARENT,
    REFERENCED: SampleKind.REFERENCED,
}
_ACTIONS = {"i": SampleKind.INSERTED, "u": SampleKind.UPDATED, "d": SampleKind.DELETED, "k": SampleKind.DIFFERS}
_BYTES = "pg_catalog.bytea"
_BARE = f"pg_catalog.convert_to({{}}::{TEXT}, 'SQL_ASCII')"
_ORDER = "p.s, p.part, p.l"  # by the rows' place, so that a repeated query returns the same rows
_CONFLICT = "(p.blocked IS NOT NULL OR p.differs IS TRUE)"
_COUNT = "SELECT pg_catalog.count(*) FROM"
_C_COLLATION = 950  # oid on every server
_MANY = 10  # with so many tables, a few rows of each are enough


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


def samples(session: MergeSession, staged: Sequence[StagedTable], counts: Sequence[TableChanges]) -> tuple[Sample, ...]:
    """Up to `MOST_SAMPLES` rows: first conflicting, then changed ones, of all tables and kinds in turn."""
    work = [
        (table, counts_of_table)
        for table, counts_of_table in zip(staged, counts, strict=True)
        if counts_of_table.changed or counts_of_table.blocked or counts_of_table.conflicting
    ]
    most = MOST_SAMPLES if len(work) < _MANY else MOST_SAMPLES // _MANY
    samples_of_all: list[Sample] = []
    for conflicts in (True, False):
        kinds: dict[tuple[str, SampleKind], list[Sample]] = {}
        for table, counts_of_table in work if len(samples_of_all) < MOST_SAMPLES else ():
            if counts_of_table.blocked or counts_of_table.conflicting if conflicts else counts_of_table.changed:
                for sample in _samples(session, table, most, conflicts=conflicts):
                    kinds.setdefault((sample.table, sample.kind), []).append(sample)
        samples_of_all += [sample for turn in zip_longest(*kinds.values()) for sample in turn if sample is not None]
    return tuple(samples_of_all[:MOST_SAMPLES])


def _samples(session: MergeSession, table: StagedTable, most: int, *, conflicts: bool) -> Iterator[Sample]:
    """Up to `most` rows of each kind of change, of one table."""
    match = table.match
    key = match.key_columns or match.columns
    # In a database without an encoding (SQL_ASCII) a value may have any bytes, and cannot be read as text.
    bare = session.connection.info.parameter_status("server_encoding") == "SQL_ASCII"
    form, value_type = (_BARE, _BYTES) if bare else (f"{{}}::{TEXT}", TEXT)
    shown = ", ".join(form.format(f"coalesce(s.{quoted(name)}, l.{quoted(name)})") for name in key)
    differing = ", ".join(
        f"CASE WHEN {row_of('s', [name])} {DIFFERS} {row_of('l', [name])} THEN {literal(name)} END"
        for name in match.values
    )
    wanted = f"{'' if conflicts else 'NOT '}{_CONFLICT}"
    kinds = (
        f"(SELECT * FROM {table.plan} p WHERE action {SAME} {literal(action)} AND (blocked IS NOT NULL) IS {stopped}"
        f" AND {wanted} ORDER BY {_ORDER} LIMIT {most})"
        for action in _ACTIONS
        for stopped in ("true", "false")
    )
    query = (
        f"SELECT p.action, p.blocked, p.why, p.differs, ARRAY[{shown}]::{value_type}[], ARRAY[{differing}]::{TEXT}[]"
        f" FROM ({' UNION ALL '.join(kinds)}) p"
        f" LEFT JOIN {table.rows} s ON s.ctid {SAME} p.s"
        f" LEFT JOIN {match.live.rows} l ON {same_place('l', 'p')} ORDER BY {_ORDER}"
    )
    for action, blocked, why, differs, values, columns in session.query(query, f"samples of {match.name}"):
        kind = _BLOCKED[blocked] if blocked else _ACTIONS[action]
        named_columns = tuple(why.split(", ")) if blocked else tuple(filter(None, columns)) if differs else ()
        yield Sample(
            table=str(match.name), kind=kind, key=dict(zip(key, map(_text, values), strict=True)), columns=named_columns
        )


def _text(value: str | bytes | None) -> str | None:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
