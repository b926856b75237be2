"""Matches tables and columns of the backup with those of the live database; refuses those without a match."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from app.archive.index import Segment, SegmentKind, TableName
from app.archive.inspect.column_types import column_types
from app.archive.pg_dump import IDENTIFIER, NAME, python_encoding, unquoted
from app.archive.reader import Archive
from app.domain.changes import ColumnChanges, MergeRequest
from app.domain.psql import shell_word
from app.errors import RestoreValidationError
from app.postgres.merge.column_changes import column_changes
from app.postgres.merge.column_names import ColumnOptions, column_names, column_options
from app.postgres.merge.misfits import Misfits, require_this_database
from app.postgres.merge.schema import ForeignKey, LiveSchema, LiveTable, UniqueKey
from app.postgres.merge.sql import equal
from app.postgres.merge.table_names import TableNames, chosen, encoding_of, partitions, statements, table_names
from app.postgres.merge.version_tables import BackupVersionTable, require_none_named, unknown_names, version_tables
from app.postgres.quoting import SAME, unquoted_name

_PRIMARY = re.compile(
    rb"ALTER TABLE (?:ONLY )?(%(name)s)\.(%(name)s)\s+ADD CONSTRAINT %(name)s PRIMARY KEY"
    rb" \((%(name)s(?:, %(name)s)*)\)" % {b"name": IDENTIFIER}
)


@dataclass(slots=True)
class TableMatch:
    """A live table with its segments of the backup.

    Attributes:
        sources: the backup's data segments; for a partitioned table those of all partitions.
        columns: those that both have, or that are filled, and that can be set, in the live table's order.
        key: by which rows are compared; None if whole rows are compared.
        key_columns: columns of the key, in the table's order.
        other_keys: other unique keys, which may block rows.
        filtered: whether the request's condition applies to it.
        referred: whether it only brings the rows that chosen ones refer to.
        extra: the live table's columns that the backup lacks.
        lost, computed: the backup's columns that the live table lacks, and those that it generates now.
        new_rows_only: columns whose values are for new rows alone: a live row keeps its own, and they are not compared.
        fills: SQL expressions for some of these, by column.
        skipped: staged columns that are left out.
        takes: by column of the backup, the staged column that takes its values.
    """

    live: LiveTable
    sources: list[Segment]
    columns: tuple[str, ...]
    key: UniqueKey | None
    key_columns: tuple[str, ...]
    other_keys: list[UniqueKey]
    filtered: bool = False
    extra: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()
    new_rows_only: frozenset[str] = frozenset()
    fills: Mapping[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    takes: Mapping[str, str] = field(default_factory=dict)
    referred: bool = False

    @property
    def name(self) -> TableName:
        """The live table's name."""
        return self.live.name

    def same(self, one: str, other: str) -> str:
        """Condition: two rows, each given by its alias, have the same key."""
        signs = dict(zip(map(unquoted_name, self.key.parts), self.key.equals, strict=True)) if self.key else {}
        return equal(
            one, self.key_columns, other, self.key_columns, [signs.get(name, SAME) for name in self.key_columns]
        )

    @property
    def compared(self) -> tuple[str, ...]:
        """Columns that are compared and updated."""
        return tuple(column for column in self.columns if column not in self.new_rows_only)

    @property
    def values(self) -> tuple[str, ...]:
        """Compared columns that are no part of the key."""
        return tuple(column for column in self.compared if column not in self.key_columns)


@dataclass(slots=True)
class MatchResult:
    """All matches, and what has no match.

    Attributes:
        gone: tables of the backup that are not in the live database, with their number of rows; `new`: the reverse.
        schema: differences of the schemas, in words.
        columns: tables whose columns differ.
        foreign_keys: of the live database.
        versions: tables of migration tools, which a merge does not change.
        warnings: for the operator.
        names: of the backup's tables, with the live tables that take their rows.
        misfits: what has no place in the live database.
        notes: what options leave out or map.
        primary_keys: of the backup's tables.
    """

    tables: list[TableMatch] = field(default_factory=list)
    gone: dict[TableName, int] = field(default_factory=dict)
    new: list[LiveTable] = field(default_factory=list)
    schema: list[str] = field(default_factory=list)
    columns: list[ColumnChanges] = field(default_factory=list)
    foreign_keys: Sequence[ForeignKey] = ()
    versions: list[BackupVersionTable] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    names: TableNames = field(default_factory=TableNames)
    misfits: Misfits = field(default_factory=Misfits)
    notes: list[str] = field(default_factory=list)
    primary_keys: Mapping[TableName, Sequence[str]] = field(default_factory=dict)


def match(archive: Archive, live: LiveSchema, request: MergeRequest, database: str) -> MatchResult:
    """Match the tables of a request with those of a database.

    Raises:
        RestoreValidationError: the request names a table or column that is not there, or a table that a merge does not
            change, or hardly any table of the backup is in the live database.
    """
    _require_rows(archive, request)
    names = table_names(archive, live, request)
    versions = version_tables(archive, names.live, live, request)
    selection = chosen(request, names, live)
    require_none_named(sorted(selection.named) if request.tables else sorted(names.mapped), versions)
    keys = primary_keys(archive)
    matches = MatchResult(foreign_keys=live.foreign_keys, names=names, notes=[*names.notes], primary_keys=keys)
    matches.versions = [versions[name] for name in sorted(versions) if name in selection.all or not request.tables]
    matches.warnings += unknown_names(request, versions, live)
    live_names = {table: live_name for table, live_name in names.live.items() if (live_name or table) not in versions}
    _note_missing_tables(matches, archive, live_names, None if not request.tables else selection.named)
    sources = _segments_by_live_table(archive, live_names, selection.all)
    options = column_options(request.adaptation, names, sources)
    types = column_types(archive)
    for name, segments in sorted(sources.items()):
        filtered = bool(request.where) and name in selection.named
        table = _match(live.tables[name], segments, options[name], filtered=filtered)
        table.referred = bool(request.where) and name in selection.parents
        matches.tables.append(table)
        matches.notes += _notes_on_columns(name, options[name])
        in_backup = [types[segment.table] for segment in segments if segment.table in types]
        if different := _column_changes(table, in_backup):
            matches.columns.append(different)
    if request.whole:
        matches.new = [live_table for name, live_table in sorted(live.tables.items()) if name not in sources]
        matches.schema += [f"table {live_table.name} is not in the backup" for live_table in matches.new]
        return matches
    absent = [table for table, live_name in live_names.items() if live_name is None]
    lacking = [table for table, rows in matches.gone.items() if rows]
    matches.misfits.tables = list(dict.fromkeys(names.tops[table] for table in lacking))
    matches.misfits.parts = list(dict.fromkeys([*matches.misfits.tables, *lacking]))
    if lacking:
        matches.misfits.parts += _other_partitions(archive, matches.misfits.parts)
    require_this_database(matches.misfits, len(absent), len(live_names), request, database)
    return matches


def _other_partitions(archive: Archive, tables: Sequence[TableName]) -> list[TableName]:
    """The partitions, at any depth, of some tables that are not among them: they have no rows, or not as their own."""
    parents, found = partitions(archive), list(tables)
    for table in found:  # it grows meanwhile
        found += [part for part, parent in parents.items() if parent == table and part not in found]
    return found[len(tables) :]


def _column_changes(match: TableMatch, types: Sequence[Mapping[str, str]]) -> ColumnChanges:
    """How a table's columns differ. Columns that options rename count by their new names."""
    live_types = {column.name: column.type for column in match.live.columns.values()}
    in_backup = [{match.takes.get(name, name): kind for name, kind in part.items()} for part in types]
    lacking = (name for name in (*match.lost, *match.skipped) if name in match.takes)
    return column_changes(match.name, in_backup, live_types, (tuple(lacking), (*match.extra, *sorted(match.fills))))


def _notes_on_columns(table: TableName, options: ColumnOptions) -> Iterator[str]:
    for name in sorted(options.skipped):
        yield f"column {table}.{name} of the backup is left out (--skip-column)"
    for old, new in sorted(options.renamed.items()):
        yield f"column {table}.{old} of the backup goes into {new} (--map-column)"


def _note_missing_tables(
    matches: MatchResult,
    archive: Archive,
    live_names: dict[TableName, TableName | None],
    named: set[TableName] | None,
) -> None:
    """Note the tables of the backup that are not in the live database; only the named ones, unless None."""
    rows = {digest.table: digest.rows for digest in archive.index.tables}
    for table, live_name in sorted(live_names.items()):
        if live_name is None and (named is None or table in named):
            matches.gone[table] = rows.get(table, 0)
            matches.schema.append(f"table {table} is not in the live database")


def _segments_by_live_table(
    archive: Archive, live_names: dict[TableName, TableName | None], selected: set[TableName]
) -> dict[TableName, list[Segment]]:
    """The data segments of the selected live tables."""
    segments: defaultdict[TableName, list[Segment]] = defaultdict(list)
    for segment in archive.index.segments:
        if segment.kind is SegmentKind.DATA and segment.table in live_names:
            live_name = live_names[segment.table]
            if live_name is not None and live_name in selected:
                segments[live_name].append(segment)
    return segments


def _require_rows(archive: Archive, request: MergeRequest) -> None:
    """Make sure that the dump has its rows as COPY blocks; a whole replace runs the file as it is and needs none."""
    texts = (text for kind in (SegmentKind.BEFORE, SegmentKind.AFTER) for text in statements(archive, kind))
    if not request.whole and any(text.startswith(b"INSERT INTO ") for text in texts):
        message = "the dump has its rows as INSERT statements, which cannot be merged"
        raise RestoreValidationError(message, _by_copy(request))


def _by_copy(request: MergeRequest) -> str:
    """How a dump with INSERT statements becomes one with COPY blocks."""
    file = shell_word(request.backup or "FILE")
    steps = (
        f"residency-backup restore {file} --mode replace --into staging --confirm staging",
        "pg_dump --dbname=staging --file=dump.sql",
        "residency-backup restore dump.sql --mode merge --dry-run",
    )
    return f"restore it into another database, and merge a dump of that: {'; '.join(steps)}"


def primary_keys(archive: Archive) -> dict[TableName, tuple[str, ...]]:
    """Columns of the primary keys of a backup's tables."""
    columns_by_table: dict[TableName, tuple[str, ...]] = {}
    encoding = python_encoding(encoding_of(archive))
    for statement in statements(archive, SegmentKind.AFTER):
        if key := _PRIMARY.match(statement):
            schema, name, *columns = (unquoted(part, encoding) for part in (key[1], key[2], *NAME.findall(key[3])))
            columns_by_table[TableName(schema, name)] = tuple(columns)
    return columns_by_table


def _match(live: LiveTable, sources: list[Segment], options: ColumnOptions, *, filtered: bool) -> TableMatch:
    listed = (live.settable if segment.columns is None else segment.columns for segment in sources)
    names = column_names(live, list(dict.fromkeys(chain.from_iterable(listed))), options)
    columns, new_rows_only = names.columns, names.new_rows_only
    usable = [unique for unique in live.keys if unique.columns <= set(columns)]
    keys = (unique for unique in usable if unique.plain and unique.not_null and not unique.columns & new_rows_only)
    key = next(keys, None)
    key_columns = () if key is None else _columns_of(key, columns)
    # A key WITHOUT OVERLAPS excludes more than equal keys, so it is checked like the others.
    others = [unique for unique in usable if unique is not key or unique.operators]
    if options.new_rows_only and key is not None:
        new_rows_only = frozenset(columns) - set(key_columns)
    return TableMatch(
        live=live,
        sources=sources,
        columns=columns,
        key=key,
        key_columns=key_columns,
        other_keys=others,
        filtered=filtered,
        extra=names.extra,
        lost=names.lost,
        computed=names.computed,
        new_rows_only=new_rows_only,
        fills=options.fills,
        skipped=names.skipped,
        takes=names.takes,
    )


def _columns_of(key: UniqueKey, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(column for column in columns if column in key.columns)
