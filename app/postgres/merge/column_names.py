"""Which live column takes the values of each column of a backup: what a merge's options say about columns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from app.archive.index import TableName
from app.domain.adaptation import Adaptation, ColumnRef, Filled, TableRef
from app.domain.psql import shell_word
from app.errors import RestoreValidationError
from app.postgres.merge.schema import LiveTable
from app.postgres.merge.table_names import TableNames, near


@dataclass(slots=True)
class ColumnOptions:
    """What is asked for the columns of one live table.

    Attributes:
        skipped: columns of the backup that are left out.
        renamed: live columns, by the backup's names.
        fills: SQL expressions, by live column.
        filled: live columns whose values in the backup are for new rows only.
        new_rows_only: whether all columns but the key's are such.
    """

    skipped: set[str] = field(default_factory=set)
    renamed: dict[str, str] = field(default_factory=dict)
    fills: dict[str, str] = field(default_factory=dict)
    filled: set[str] = field(default_factory=set)
    new_rows_only: bool = False

    @property
    def asked(self) -> bool:
        """Whether an option names a column of the table."""
        return bool(self.skipped or self.renamed or self.fills)


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """The columns of a backup's table beside those of the live table.

    Attributes:
        takes: by column of the backup, the column of the staged rows that takes its values.
        columns: live columns that the backup or an option gives a value, in the live table's order.
        new_rows_only: those of them that are neither compared nor updated.
        extra: the other live columns that can be set.
        lost, skipped: staged columns without a live one: that the backup brings, and that are left out.
        computed: columns of the backup that the live table generates.
    """

    takes: Mapping[str, str]
    columns: tuple[str, ...]
    new_rows_only: frozenset[str]
    extra: tuple[str, ...]
    lost: tuple[str, ...]
    skipped: tuple[str, ...]
    computed: tuple[str, ...]


def column_options(
    adaptation: Adaptation, names: TableNames, part: Collection[TableName]
) -> defaultdict[TableName, ColumnOptions]:
    """What is asked for columns, by live table.

    Args:
        adaptation: the options.
        names: of the tables.
        part: the live tables that take part.

    Raises:
        RestoreValidationError: an option names a table that takes no part.
    """
    options: defaultdict[TableName, ColumnOptions] = defaultdict(ColumnOptions)
    for column in adaptation.skip_columns:
        options[names.meant(column.table, f"--skip-column {column}")].skipped.add(column.column)
    for mapping in adaptation.map_columns:
        table = names.meant(mapping.old.table, f"--map-column {mapping}")
        if options[table].renamed.setdefault(mapping.old.column, mapping.new) != mapping.new:
            raise RestoreValidationError(f"--map-column {mapping}: the column has another new name too", "map it once")
    for fill in adaptation.fills:
        table = names.meant(fill.column.table, f"--fill {fill}", live_first=True)
        if options[table].fills.setdefault(fill.column.column, fill.sql) != fill.sql:
            raise RestoreValidationError(f"--fill {fill}: the column has another value too", "give it one value")
    if idle := sorted(table for table in options if table not in part):
        message = f"{idle[0]} takes no part, but an option names a column of it"
        choose = f"--table {shell_word(str(idle[0]))}"
        raise RestoreValidationError(message, f"leave that option away, or choose the table: {choose}")
    _add_filled(options, adaptation.filled, part)
    return options


def _add_filled(options: defaultdict[TableName, ColumnOptions], filled: Filled, part: Collection[TableName]) -> None:
    """Note what a migration has filled of the tables that take part."""
    columns: defaultdict[str, list[ColumnRef]] = defaultdict(list)
    for column in filled.columns:
        columns[column.table.name].append(column)
    tables: defaultdict[str, list[TableRef]] = defaultdict(list)
    for ref in filled.tables:
        tables[ref.name].append(ref)
    for table in part:
        named = {column.column for column in columns[table.name] if column.table.names(*table)}
        new_rows_only = any(ref.names(*table) for ref in tables[table.name])
        if named or new_rows_only:
            options[table].filled, options[table].new_rows_only = named, new_rows_only


def column_names(live: LiveTable, given: Sequence[str], options: ColumnOptions) -> ColumnNames:
    """Match the columns of a backup's table, `given` in its order, with the live ones.

    Raises:
        RestoreValidationError: an option names a column that is not there, or that it cannot be used for.
    """
    if options.asked:
        _require_columns(live, given, options)
    takes = {name: options.renamed.get(name, name) for name in given if name not in options.skipped}
    brought = set(takes.values())
    # A skipped column keeps its name, for expressions of --fill, unless the live table has it too.
    taken = live.columns.keys() | brought
    places = {
        name: f"residency_backup_skipped_{number}" if name in taken else name
        for number, name in enumerate(sorted(options.skipped))
    }
    fillable = set(options.fills)
    return ColumnNames(
        takes=takes | places,
        columns=tuple(name for name in live.settable if name in brought or name in fillable),
        new_rows_only=frozenset(fillable | (options.filled & brought)),
        extra=tuple(name for name in live.settable if name not in brought and name not in fillable),
        lost=tuple(sorted(brought - live.columns.keys())),
        skipped=tuple(sorted(places.values())),
        computed=tuple(sorted(name for name in brought & live.columns.keys() if live.columns[name].generated)),
    )


def _require_columns(live: LiveTable, given: Sequence[str], options: ColumnOptions) -> None:
    """Make sure that the columns of the options exist, and that each live column has one source."""
    sources = [("--skip-column", name) for name in sorted(options.skipped)]
    sources += [("--map-column", name) for name in options.renamed]
    for option, name in sources:
        if name not in given:
            hint = f"{near(name, given)}its columns are {', '.join(given)}"
            raise RestoreValidationError(f"{option}: {live.name} has no column {name} in the backup", hint)
    targets = [("--map-column", name) for name in options.renamed.values()]
    targets += [("--fill", name) for name in options.fills]
    for option, name in targets:
        if name not in live.settable:
            _refuse_live_column(live, option, name)
    if both := sorted(options.skipped & options.renamed.keys()):
        message = f"column {live.name}.{both[0]} is both left out and renamed"
        raise RestoreValidationError(message, "leave --skip-column or --map-column out")
    _require_one_source(live, given, options)


def _require_one_source(live: LiveTable, given: Sequence[str], options: ColumnOptions) -> None:
    sources: dict[str, str] = {}
    for name in given:
        target = options.renamed.get(name, name)
        if name not in options.skipped and sources.setdefault(target, name) != name:
            message = f"columns {sources[target]} and {name} of the backup would both go into {live.name}.{target}"
            raise RestoreValidationError(message, f"leave one out, for example {_skipping(live, target)}")
    if known := sorted(options.fills.keys() & sources.keys()):
        message = f"--fill: the backup has the column {live.name}.{known[0]}"
        hint = f"--fill is for columns that it lacks; to leave its values out: {_skipping(live, known[0])}"
        raise RestoreValidationError(message, hint)


def _refuse_live_column(live: LiveTable, option: str, name: str) -> None:
    if name in live.columns:
        message = f"{option}: the server computes {live.name}.{name}"
        raise RestoreValidationError(message, "leave that option out: a generated column takes no value")
    hint = f"{near(name, live.settable)}its columns are {', '.join(live.settable)}"
    raise RestoreValidationError(f"{option}: {live.name} has no column {name} in the live database", hint)


def _skipping(live: LiveTable, name: str) -> str:
    return " ".join(Adaptation(skip_columns=(ColumnRef(TableRef(*live.name), name),)).words)
