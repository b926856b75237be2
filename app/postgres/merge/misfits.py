"""Tables and columns of a backup that have no place in the live database, and the options that fit them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.archive.index import TableName
from app.domain.adaptation import Adaptation, ColumnMapping, ColumnRef, Fill, TableMapping, TableRef
from app.domain.changes import MergeRequest
from app.domain.psql import shell_word
from app.errors import RestoreMisfitError, RestoreValidationError
from app.postgres.quoting import readable

_MOST = 0.5  # of the backup's tables; with more missing, it is another database, or one that lost everything
Column = tuple[TableName, str]


@dataclass(slots=True)
class Misfits:
    """What has no place.

    Attributes:
        tables: of the backup, with rows, that the live database lacks; a partitioned table once.
        parts: these, and their partitions.
        lost: columns of the backup, with values, that the live table lacks.
        shared: live tables whose key is not unique in the backup's rows, with the key's columns.
        unfilled: columns in which new rows need a value, which the backup does not have.
    """

    tables: list[TableName] = field(default_factory=list)
    parts: list[TableName] = field(default_factory=list)
    lost: list[Column] = field(default_factory=list)
    shared: dict[TableName, str] = field(default_factory=dict)
    unfilled: dict[TableName, list[str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.tables or self.lost or self.shared or self.unfilled)

    def sentences(self) -> Iterator[str]:
        """What has no place, in words."""
        if self.tables:
            yield f"these tables of the backup are not in the live database: {', '.join(map(str, self.tables))}"
        for table, name in self.lost:
            yield f"column {table}.{name} is not in the live database, and the backup has values in it"
        for table, key in self.shared.items():
            yield f"the live key ({key}) of {table} is not unique in the backup's rows"
        for table, names in self.unfilled.items():
            lacking = f"NOT NULL columns without a default that the backup does not have: {', '.join(names)}"
            yield f"{table} has {lacking}"


@dataclass(frozen=True, slots=True)
class Guesses:
    """What may help: names that tables and columns have now, and values for new columns.

    Attributes:
        tables, columns: the live name, by the backup's.
        values: SQL expressions, by table and column.
    """

    tables: Mapping[TableName, TableName]
    columns: Mapping[Column, str]
    values: Mapping[Column, str]


def require_this_database(misfits: Misfits, absent: int, of: int, request: MergeRequest, database: str) -> None:
    """Make sure that the live database is the backup's: most of the tables are there.

    Args:
        misfits: what has no place.
        absent: number of tables that are missing, with and without rows.
        of: number of tables in the backup.
        request: the merge.
        database: name of the live one.

    Raises:
        RestoreValidationError: it lacks most of them.
    """
    if not misfits.tables or absent <= _MOST * of:
        return
    check = "is --into right?" if request.into else "is DATABASE_URL right?"
    into = f" --into {shell_word(request.into)}" if request.into else ""
    question = f"{database} lacks {absent} of the backup's {of} tables: {check} If it is: "
    restore = f"{_replace(request)}{into} --confirm {shell_word(database)}"
    raise RestoreValidationError(next(misfits.sentences()), f"{question}{restore}")


def refusal(misfits: Misfits, guesses: Guesses, request: MergeRequest, database: str) -> RestoreMisfitError:
    """The error about everything that has no place; its hint has whole commands that are not refused."""
    ways = []
    if (narrower := _narrowed(request, misfits)) is not None:
        leave_out = _adaptation(misfits, Guesses({}, {}, guesses.values), narrower)
        ways.append(f"to leave that out: {replace(narrower, adaptation=leave_out).command(database)}")
    if guesses.tables or guesses.columns:
        renamed = [f"{old} is called {new} now" for old, new in guesses.tables.items()]
        renamed += [f"{table}.{old} is called {new} now" for (table, old), new in guesses.columns.items()]
        rest = replace(misfits, tables=[table for table in misfits.tables if table not in guesses.tables])
        if (wider := _narrowed(request, rest)) is not None:
            wider = replace(wider, adaptation=_adaptation(rest, guesses, wider))
            ways.append(f"if {' and '.join(renamed)}: {wider.command(database)}")
    if misfits.tables:
        ways.append(_way_to_tables(misfits.parts, request, database))
    if not ways:
        ways.append(f"restore into another database, and compare: {_replace(request)} --into staging --confirm staging")
    return RestoreMisfitError("; ".join(misfits.sentences()), "; or, ".join(ways))


def _narrowed(request: MergeRequest, misfits: Misfits) -> MergeRequest | None:
    """The request without tables that it names and that cannot take part; None if it names no others."""
    if not request.tables:
        return request
    out = {*misfits.tables, *misfits.shared}
    tables = [text for text in request.tables if not any(text in (str(table), table.name) for table in out)]
    return replace(request, tables=tables) if tables else None


def _adaptation(misfits: Misfits, guesses: Guesses, request: MergeRequest) -> Adaptation:
    """The request's options, and those with which it is not refused."""
    named = bool(request.tables)
    out = [] if named else [table for table in misfits.tables if table not in guesses.tables]
    out += [table for table in misfits.shared if not named or request.dependents or request.parents]
    renamed = {(table, new) for (table, _), new in guesses.columns.items()}
    unfilled = [(table, name) for table, names in misfits.unfilled.items() for name in names]
    return request.adaptation + Adaptation(
        skip_tables=tuple(TableRef(*table) for table in out),
        skip_columns=tuple(
            column_ref(*column)
            for column in misfits.lost
            if column not in guesses.columns and column[0] not in misfits.shared
        ),
        map_tables=tuple(TableMapping(TableRef(*old), TableRef(*new)) for old, new in guesses.tables.items()),
        map_columns=tuple(ColumnMapping(column_ref(*old), new) for old, new in guesses.columns.items()),
        fills=tuple(
            Fill(column_ref(*column), guesses.values[column])
            for column in unfilled
            if column not in renamed and column[0] not in misfits.shared
        ),
    )


def column_ref(table: TableName, name: str) -> ColumnRef:
    """A column as an option names it."""
    return ColumnRef(TableRef(*table), name)


def _way_to_tables(lacking: Sequence[TableName], request: MergeRequest, database: str) -> str:
    """A hint: the commands that create empty tables, which the merge then fills."""
    options = " ".join(f"-t {shell_word(readable(*table))}" for table in lacking)
    return (
        f"to have the tables back, create them first (docs/restore.md, 'One table'): {_replace(request)} --into staging"
        f" --confirm staging; pg_dump -s -d staging {options} -f table.sql; "
        f"psql -X -v ON_ERROR_STOP=1 -1 -d {shell_word(database)} -f table.sql; then merge again"
    )


def _replace(request: MergeRequest) -> str:
    return f"residency-backup restore {shell_word(request.backup or 'latest')} --mode replace"
