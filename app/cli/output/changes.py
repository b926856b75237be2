"""What the command line prints of a plan of rows, or of its outcome: counts, then what is blocked, then other rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from app.cli.output.table import Table, print_table
from app.cli.output.text import say
from app.domain.changes import BlockedRows, Changes, Obstacle, Sample, SampleKind, Values
from app.domain.readable import on_one_line, shortened, shortened_pair
from app.operations.restore.methods import COUNTS

_SHOWN = 20  # rows that are blocked, and as many others
_COUNTS = (*COUNTS, "live_only")
_VALUE, _ROW = 40, 120  # characters


def show_changes(changes: Changes, words: tuple[str, str, str], sides: tuple[str, str] = ("backup", "live")) -> None:
    """A table of counts, differences of the schema, then sample rows.

    Args:
        changes: the plan or outcome.
        words: what becomes of rows that are inserted, updated and deleted.
        sides: names of the two sides of a value.
    """
    shown = [counted for counted in changes.tables if counted.changed or counted.conflicting or counted.blocked]
    counts = [name for name in _COUNTS if changes.total(name)]
    heads = dict(zip(("inserted", "updated", "deleted"), words, strict=True))
    columns = [heads.get(name, name.replace("_", " ")) for name in counts]
    table = Table(heads=("table", *columns), numbers=range(1, len(counts) + 1))
    for counted in shown:
        table.add(counted.table, *(f"{getattr(counted, name):,}" for name in counts))
    if shown:
        print_table(table)
    else:
        count = len(changes.tables)
        say(f"no row differs in {count} table{'' if count == 1 else 's'}")
    for line in changes.schema:
        say(f"schema: {line}")
    named = {_reason(rows) for rows in changes.blocked}
    blocked = [sample for sample in changes.samples if _reason(sample) in named]
    others = [sample for sample in changes.samples if _reason(sample) not in named]
    _blocked(changes.blocked, blocked[:_SHOWN])
    _samples(others[:_SHOWN], heads, sides)
    if more := sum(max(len(samples) - _SHOWN, 0) for samples in (blocked, others)):
        say(f"  … and {more} more samples: --json shows them")


_Reason = tuple[str, SampleKind, str | None, tuple[str, ...]]


def _reason(rows: BlockedRows | Sample) -> _Reason:
    columns = () if rows.kind is SampleKind.UNFIT else rows.columns
    return rows.table, rows.kind, rows.constraint, columns


def _blocked(groups: Sequence[BlockedRows], samples: Sequence[Sample]) -> None:
    """The blocked rows, by reason."""
    left = list(samples)
    for group in groups:
        say(f"blocked: {group.kind}: {_group(group)}", colour="yellow")
        ours = [
            sample
            for sample in left
            if _reason(sample) == _reason(group)
            and (sample.kind is not SampleKind.UNFIT or sample.columns[:1] == group.columns)
        ]
        for sample in ours:
            left.remove(sample)
            say(f"  {_key(sample)}{_refused(sample)}{_in_the_way(sample)}")
        if group.hint:
            say(f"  what helps: {group.hint}")


def _group(group: BlockedRows) -> str:
    rows = f"{group.rows:,} row{'' if group.rows == 1 else 's'}"
    refused = [*group.columns, *([group.constraint] if group.constraint else [])]
    return f"{rows} of {group.table} ({', '.join(refused)})"


def _refused(sample: Sample) -> str:
    """The values that are refused: those of the backup, or of a live row that would go."""
    gone = sample.kind is SampleKind.REFERENCED
    values = [
        f"{name} {_quoted(shortened(both.live if gone else both.backup, _VALUE))}"
        for name, both in sample.values.items()
        if name not in sample.key
    ]
    return f": {', '.join(values)}" if values else ""


def _in_the_way(sample: Sample) -> str:
    row = sample.in_the_way
    if row is None:
        return ""
    named = f"{row.table} {_listed(row.key)}"
    if sample.kind is SampleKind.REFERENCED:
        return f"; {named}{_of_backup(row)} refers to it"
    if sample.kind is SampleKind.PARENT:
        return f"; {named} is blocked too" if row.side else f"; there is no {named}"
    return f"; {named}{_of_backup(row)} has it"


def _of_backup(row: Obstacle) -> str:
    return " of the backup" if row.side == "backup" else ""


def _samples(samples: Sequence[Sample], words: Mapping[str, str], sides: tuple[str, str]) -> None:
    """Some rows; `words` say what becomes of them. The first of all tables and kinds, each then by itself."""
    order = list(dict.fromkeys((sample.kind, sample.table) for sample in samples))
    for sample in sorted(samples, key=lambda sample: order.index((sample.kind, sample.table))):
        values = "; ".join(_differences(sample, sides))
        say(f"  {words.get(sample.kind, sample.kind)}: {sample.table} {_key(sample)}{': ' if values else ''}{values}")


def _differences(sample: Sample, sides: tuple[str, str]) -> Iterator[str]:
    """Both values of each column that differs."""
    for name in sample.columns:
        both = sample.values.get(name, Values(backup=None, live=None))
        one, other = shortened_pair(both.backup, both.live, _VALUE)
        yield f"{name} {sides[0]} {_quoted(one)}, {sides[1]} {_quoted(other)}"


def _key(sample: Sample) -> str:
    return on_one_line(shortened(_listed(sample.key), _ROW) or "")


def _listed(key: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name}={'NULL' if value is None else shortened(value, _VALUE)}" for name, value in key.items())


def _quoted(value: str | None) -> str:
    return "NULL" if value is None else f"'{on_one_line(value)}'"
