"""Sample rows of a plan, for the operator: by key, with the values that matter and the row that stands in the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Self

from app.domain.changes import MOST_SAMPLES, SHOWN_CHARACTERS, Sample, SampleKind, TableChanges, Values
from app.domain.readable import shortened, shortened_pair
from app.postgres.merge.obstacles import Blocked, Obstacles
from app.postgres.merge.plan import Planner
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import DIFFERS, TEXT, row_of, same_place
from app.postgres.merge.staged import UNFIT, StagedTable
from app.postgres.merge.texts import Texts
from app.postgres.quoting import SAME, literal

_ACTIONS = {"i": SampleKind.INSERTED, "u": SampleKind.UPDATED, "d": SampleKind.DELETED, "k": SampleKind.DIFFERS}
_ORDER = "p.s, p.part, p.l"  # by the rows' place, so that a repeated query returns the same rows
_MANY = 10  # with so many tables, a few rows of each are enough
_READ = 2000  # characters of a value, in which the first difference is looked for

_Group = tuple[str, SampleKind, int | None]  # table, kind, number of the reason
_Grouped = tuple[_Group, Sample]


def samples(session: MergeSession, planner: Planner, counts: Sequence[TableChanges]) -> tuple[Sample, ...]:
    """Up to `MOST_SAMPLES` rows: blocked ones, then those that differ, then the others, of all tables in turn.

    At most half of them are blocked, unless there are few others.
    """
    work = [
        (table, number)
        for table, number in zip(planner.staged, counts, strict=True)
        if number.changed or number.blocked or number.conflicting
    ]
    return Sampler(session, len(work)).add(planner, work).samples


class Sampler:
    """Takes samples of some tables after others. It holds no more rows than may be shown.

    Args:
        session: of the tables.
        tables: how many tables will have samples.
    """

    def __init__(self, session: MergeSession, tables: int) -> None:
        self._session = session
        self._most = MOST_SAMPLES if tables < _MANY else MOST_SAMPLES // _MANY
        self._passes = [_InTurn() for _ in _PASSES]

    def add(self, planner: Planner, work: Sequence[tuple[StagedTable, TableChanges]]) -> Self:
        """Take samples of tables, given with their counts."""
        for number, (count, select) in enumerate(_PASSES):
            for table, counts in work:
                if not getattr(counts, count) or self._is_full(number):
                    continue
                rows = list(_rows(self._session, table, select(planner, table), self._most))
                obstacles = Obstacles(self._session, planner, table)
                self._passes[number].add(_samples(planner, table, rows, obstacles))
        return self

    def _is_full(self, number: int) -> bool:
        """Whether further samples of a pass will not be shown: passes before it but the first come first."""
        return sum(len(samples) for samples in self._passes[1:number]) >= MOST_SAMPLES or self._passes[number].is_full

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Those to show."""
        blocked, *rest = (list(samples) for samples in self._passes)
        others = list(chain.from_iterable(rest))
        shown = blocked[: MOST_SAMPLES - min(len(others), MOST_SAMPLES // 2)]
        return (*shown, *others[: MOST_SAMPLES - len(shown)])


class _InTurn:
    """The first `MOST_SAMPLES` samples of groups in turn: the first of each group, then the second of each."""

    def __init__(self) -> None:
        self._groups: dict[_Group, list[Sample]] = {}

    def __len__(self) -> int:
        return min(sum(map(len, self._groups.values())), MOST_SAMPLES)

    def __iter__(self) -> Iterator[Sample]:
        turns = chain.from_iterable(zip_longest(*self._groups.values()))
        return islice((sample for sample in turns if sample is not None), MOST_SAMPLES)

    @property
    def is_full(self) -> bool:
        """Whether the groups so far fill all places with their first samples."""
        return len(self._groups) >= MOST_SAMPLES

    def add(self, grouped: Iterable[_Grouped]) -> None:
        """Take samples; those that will not be shown, whatever follows, are dropped."""
        for group, sample in grouped:
            self._groups.setdefault(group, []).append(sample)
        left = MOST_SAMPLES
        kept: dict[_Group, int] = dict.fromkeys(self._groups, 0)
        for turn in range(max(map(len, self._groups.values()), default=0)):
            for group, samples in self._groups.items():
                if turn < len(samples) and left:
                    kept[group] += 1
                    left -= 1
        for group, number in kept.items():
            del self._groups[group][number:]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a plan.

    Attributes:
        place: its ctid in the backup's rows; None if only the live table has it.
        live: tableoid and ctid of the live row; None if there is none.
        action: see `app.postgres.merge.plan`.
        reason: number of the reason why it is blocked; None if it is not.
        way: the place of the row in the way.
        key: column -> value.
        named: columns that differ, or that refuse a value.
        values: column -> both values; of all columns, if it is blocked.
    """

    place: str | None
    live: tuple[int, str] | None
    action: str
    reason: int | None
    way: str | None
    key: dict[str, str | None]
    named: tuple[str, ...]
    values: dict[str, Values]


@dataclass(frozen=True, slots=True)
class _Selection:
    """Some rows of one table.

    Attributes:
        groups: a condition for each group of rows, of which some are wanted.
        named: for columns whose values are wanted, the condition under which a row names the column.
        all_values: whether rows show the values of columns that they do not name, too.
    """

    groups: Sequence[str]
    named: dict[str, str]
    all_values: bool = False


def _blocked(planner: Planner, table: StagedTable) -> _Selection:
    reasons = planner.reasons.of(table.match.name)
    wanted = {column for reason in reasons.values() for column in reason.columns}
    columns = [column for column in table.match.columns if column in wanted]
    named = {column: _refuses(column) if column in table.refused else "false" for column in columns}
    return _Selection([f"p.blocked {SAME} {number}" for number in reasons], named, all_values=True)


def _conflicting(_: Planner, table: StagedTable) -> _Selection:
    named = {column: f"{row_of('s', [column])} {DIFFERS} {row_of('l', [column])}" for column in table.match.compared}
    named |= {column: f"({named[column]} OR {_refuses(column)})" for column in table.refused if column in named}
    return _Selection([f"p.blocked IS NULL AND p.differs IS TRUE AND {_does(action)}" for action in _ACTIONS], named)


def _changed(_: Planner, __: StagedTable) -> _Selection:
    return _Selection([f"p.blocked IS NULL AND p.differs IS NOT TRUE AND {_does(action)}" for action in _ACTIONS], {})


_PASSES = (("blocked", _blocked), ("conflicting", _conflicting), ("changed", _changed))


def _does(action: str) -> str:
    return f"p.action {SAME} '{action}'"


def _samples(planner: Planner, table: StagedTable, rows: Sequence[_Row], obstacles: Obstacles) -> Iterator[_Grouped]:
    name = str(table.match.name)
    blocked = [row for row in rows if row.reason is not None]
    ways = iter(obstacles.of([Blocked(row.place, row.live, row.way, row.values, row.reason) for row in blocked]))
    for row in rows:
        reason = None if row.reason is None else planner.reasons.known[row.reason]
        kind = reason.kind if reason else _ACTIONS[row.action]
        columns = reason.columns if reason and reason.kind is not SampleKind.UNFIT else row.named
        yield (
            (name, kind, row.reason),
            Sample(
                table=name,
                kind=kind,
                key=row.key,
                columns=columns,
                values={column: row.values[column] for column in columns if column in row.values},
                constraint=reason.constraint if reason else None,
                in_the_way=next(ways) if reason else None,
                keyless=table.match.key is None,
            ),
        )


def _rows(session: MergeSession, table: StagedTable, selection: _Selection, most: int) -> Iterator[_Row]:
    """Up to `most` rows of each group."""
    match, texts = table.match, Texts(session)
    some = " UNION ALL ".join(
        f"(SELECT * FROM {table.plan} p WHERE {condition} ORDER BY {_ORDER} LIMIT {most})"
        for condition in selection.groups
    )
    named = (f"CASE WHEN {names} THEN {literal(column)} END" for column, names in selection.named.items())
    backup, live = (
        [
            f"CASE WHEN {'true' if selection.all_values else names} THEN {texts.of(value(column), _READ)} END"
            for column, names in selection.named.items()
        ]
        for value in (table.backup_text, table.live_text)
    )
    columns = match.key_columns or match.columns
    long = None if match.key else SHOWN_CHARACTERS + 1
    keys = [texts.of(f"coalesce({table.backup_text(column)}, {table.live_text(column)})", long) for column in columns]
    query = (
        f"SELECT p.s::{TEXT}, p.part::pg_catalog.int8, p.l::{TEXT}, p.action, p.blocked, p.way,"
        f" {texts.array(keys)}, ARRAY[{', '.join(named)}]::{TEXT}[], {texts.array(backup)}, {texts.array(live)}"
        f" FROM ({some}) p LEFT JOIN {table.rows} s ON s.ctid {SAME} p.s"
        f" LEFT JOIN {match.live.rows} l ON {same_place('l', 'p')} ORDER BY {_ORDER}"
    )
    rows = session.stream(query, f"samples of {match.name}")
    for place, part, ctid, action, reason, way, key, names, *sides in rows:
        shown = [value if match.key else shortened(value, SHOWN_CHARACTERS) for value in map(texts.read, key)]
        of_backup, of_live = (map(texts.read, side) for side in sides)
        values = zip(selection.named, map(_both, of_backup, of_live), strict=True)
        yield _Row(
            place=place,
            live=None if ctid is None else (part, ctid),
            action=action,
            reason=reason,
            way=way,
            key=dict(zip(columns, shown, strict=True)),
            named=tuple(column for column in names if column is not None),
            values=dict(values),
        )


def _refuses(column: str) -> str:
    return f"pg_catalog.jsonb_exists(s.{UNFIT}, {literal(column)}) IS TRUE"


def _both(backup: str | None, live: str | None) -> Values:
    one, other = shortened_pair(backup, live, SHOWN_CHARACTERS)
    return Values(backup=one, live=other)
