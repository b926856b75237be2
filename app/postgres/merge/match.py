"""Matches tables and columns of the backup with those of the live database; refuses those without a match."""

from __future__ import annotations

import difflib
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from app.archive import lexer
from app.archive.index import Segment, SegmentKind, TableName
from app.archive.inspect.column_types import column_types
from app.archive.pg_dump import CLIENT_ENCODING, IDENTIFIER, NAME, python_encoding, unquoted
from app.archive.reader import Archive
from app.archive.scanner import scan
from app.domain.changes import ColumnChanges, MergeRequest
from app.errors import RestoreValidationError
from app.postgres.merge.column_changes import column_changes
from app.postgres.merge.missing_tables import way_to_tables
from app.postgres.merge.schema import ForeignKey, LiveSchema, LiveTable, UniqueKey
from app.postgres.merge.sql import equal
from app.postgres.merge.version_tables import BackupVersionTable, require_none_named, unknown_names, version_tables
from app.postgres.quoting import SAME, unquoted_name

_ATTACH = re.compile(
    rb"ALTER TABLE (?:ONLY )?(%(name)s)\.(%(name)s)\s+ATTACH PARTITION (%(name)s)\.(%(name)s)\s"
    % {b"name": IDENTIFIER},
    re.IGNORECASE,
)
_PRIMARY = re.compile(
    rb"ALTER TABLE (?:ONLY )?(%(name)s)\.(%(name)s)\s+ADD CONSTRAINT %(name)s PRIMARY KEY"
    rb" \((%(name)s(?:, %(name)s)*)\)" % {b"name": IDENTIFIER}
)


@dataclass(slots=True)
class TableMatch:
    """A live table with its segments of the backup.

    Attributes:
        sources: the backup's data segments; for a partitioned table those of all partitions.
        columns: those that both have and that can be set, in the live table's order.
        key: by which rows are compared; None if whole rows are compared.
        key_columns: columns of the key, in the table's order.
        other_keys: other unique keys, which may block rows.
        filtered: whether the request's condition applies to it.
        extra: the live table's columns that the backup lacks.
        lost, computed: the backup's columns that the live table lacks, and those that it generates now.
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
    def values(self) -> tuple[str, ...]:
        """Columns that are no part of the key."""
        return tuple(column for column in self.columns if column not in self.key_columns)


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
    """

    tables: list[TableMatch] = field(default_factory=list)
    gone: dict[TableName, int] = field(default_factory=dict)
    new: list[LiveTable] = field(default_factory=list)
    schema: list[str] = field(default_factory=list)
    columns: list[ColumnChanges] = field(default_factory=list)
    foreign_keys: Sequence[ForeignKey] = ()
    versions: list[BackupVersionTable] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def match(archive: Archive, live: LiveSchema, request: MergeRequest, database: str) -> MatchResult:
    """Match the tables of a request with those of a database.

    Raises:
        RestoreValidationError: a table of the backup that has rows is not in the live database, or the request names a
            table that the backup does not have, or that a merge does not change.
    """
    _require_rows(archive, request)
    live_names = _live_names(archive, live)
    versions = version_tables(archive, live_names, live, request)
    selection = _chosen(request, live_names, live)
    if request.tables:
        require_none_named(sorted(selection.named), versions)
    matches = MatchResult(foreign_keys=live.foreign_keys)
    matches.versions = [versions[name] for name in sorted(versions) if name in selection.all or not request.tables]
    matches.warnings += unknown_names(request, versions, live)
    live_names = {table: live_name for table, live_name in live_names.items() if (live_name or table) not in versions}
    _note_missing_tables(matches, archive, live_names, None if not request.tables else selection.named)
    sources = _segments_by_live_table(archive, live_names, selection.all)
    types = column_types(archive)
    for name, segments in sorted(sources.items()):
        table = _match(live.tables[name], segments, filtered=bool(request.where) and name in selection.named)
        matches.tables.append(table)
        live_types = {column.name: column.type for column in table.live.columns.values()}
        in_backup = [types[segment.table] for segment in segments if segment.table in types]
        if different := column_changes(name, in_backup, live_types, (table.lost, table.extra)):
            matches.columns.append(different)
    if request.whole:
        matches.new = [live_table for name, live_table in sorted(live.tables.items()) if name not in sources]
        matches.schema += [f"table {live_table.name} is not in the backup" for live_table in matches.new]
    elif lacking := [table for table, count in matches.gone.items() if count]:
        message = f"these tables of the backup are not in the live database: {', '.join(map(str, lacking))}"
        absent = [table for table, live_name in live_names.items() if live_name is None]
        raise RestoreValidationError(message, way_to_tables(lacking, absent, len(live_names), request, database))
    return matches


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
    statements = (
        statement for kind in (SegmentKind.BEFORE, SegmentKind.AFTER) for statement in _statements(archive, kind)
    )
    if not request.whole and any(statement.startswith(b"INSERT INTO ") for statement in statements):
        message = "the dump has its rows as INSERT statements, which cannot be merged"
        raise RestoreValidationError(message, "restore it into another database (--into), and merge a backup of that")


@dataclass(slots=True)
class _Selection:
    """Tables that the request names, and these with their dependents, by their live names if they have one."""

    named: set[TableName]
    all: set[TableName]


def _chosen(request: MergeRequest, live_names: dict[TableName, TableName | None], live: LiveSchema) -> _Selection:
    if not request.tables:
        if request.where or request.dependents:
            raise RestoreValidationError("--where and --dependents need a table", "name it with --table")
        every = {live_name for live_name in live_names.values() if live_name is not None}
        return _Selection(every, every)
    if request.where and request.exact:
        message = "--where chooses rows to merge; a replace of tables takes all of their rows"
        raise RestoreValidationError(message, "use --mode merge")
    named = {_resolved(table, live_names, request.backup) for table in request.tables}
    return _Selection(named, live.dependents(named) if request.dependents else named)


def _resolved(text: str, live_names: dict[TableName, TableName | None], backup: str | None) -> TableName:
    """The table that a name of the request means; partitions are an error, which names the root."""
    known = {live_name or table for table, live_name in live_names.items()} | set(live_names)
    candidates = [table for table in known if text in (str(table), table.name)]
    if len(candidates) == 1:
        live_name = live_names.get(candidates[0]) or candidates[0]
        if live_name != candidates[0]:
            raise RestoreValidationError(f"{text} is a partition of {live_name}", f"name the root: --table {live_name}")
        return live_name
    if candidates:
        listed = ", ".join(sorted(map(str, candidates)))
        raise RestoreValidationError(f"more than one table is called {text}", f"say which: {listed}")
    near = difflib.get_close_matches(text, [*map(str, known), *(table.name for table in known)], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    listed = f"residency-backup show {shlex.quote(backup or 'latest')}"
    raise RestoreValidationError(f"the backup has no table {text}", f"{hint}'{listed}' lists them")


def _live_names(archive: Archive, live: LiveSchema) -> dict[TableName, TableName | None]:
    """For each table of the backup, the live table that takes its rows; None if there is none."""
    parents: dict[TableName, TableName] | None = None
    live_names: dict[TableName, TableName | None] = {}
    for digest in archive.index.tables:
        table: TableName | None = digest.table
        if table not in live.roots and parents is None:
            parents = _partitions(archive)
        while table is not None and table not in live.roots:
            table = (parents or {}).get(table)
        live_names[digest.table] = None if table is None else live.roots[table]
    return live_names


def encoding_of(archive: Archive) -> str:
    """The client_encoding that a dump sets; UTF8 if it sets none."""
    for segment in archive.index.segments:
        if segment.kind is SegmentKind.BEFORE:
            for block in archive.text(segment):
                if match := CLIENT_ENCODING.search(block):
                    return match[1].decode()
    return "UTF8"


def primary_keys(archive: Archive) -> dict[TableName, tuple[str, ...]]:
    """Columns of the primary keys of a backup's tables."""
    columns_by_table: dict[TableName, tuple[str, ...]] = {}
    encoding = python_encoding(encoding_of(archive))
    for statement in _statements(archive, SegmentKind.AFTER):
        if key := _PRIMARY.match(statement):
            schema, name, *columns = (unquoted(part, encoding) for part in (key[1], key[2], *NAME.findall(key[3])))
            columns_by_table[TableName(schema, name)] = tuple(columns)
    return columns_by_table


def _partitions(archive: Archive) -> dict[TableName, TableName]:
    """The parent table of each partition in the backup."""
    parents: dict[TableName, TableName] = {}
    encoding = python_encoding(encoding_of(archive))
    for statement in _statements(archive, SegmentKind.BEFORE):
        if attach := _ATTACH.match(statement):
            schema, name, *partition = (unquoted(identifier, encoding) for identifier in attach.groups())
            parents[TableName(*partition)] = TableName(schema, name)
    return parents


def _statements(archive: Archive, kind: SegmentKind) -> Iterator[bytes]:
    """Statements of one kind of segment, without the comments before them."""
    text = (archive.text(segment) for segment in archive.index.segments if segment.kind is kind)
    for chunk in scan(chain.from_iterable(text)):
        if statement := chunk.data[lexer.start_of(chunk.data) :]:
            yield statement


def _match(live: LiveTable, sources: list[Segment], *, filtered: bool) -> TableMatch:
    given = {name for segment in sources for name in (live.settable if segment.columns is None else segment.columns)}
    columns = tuple(name for name in live.settable if name in given)
    computed = tuple(sorted(given & {column.name for column in live.columns.values() if column.generated}))
    lost = tuple(sorted(given - {*columns, *computed}))
    extra = tuple(name for name in live.settable if name not in given)
    usable = [unique for unique in live.keys if unique.columns <= set(columns)]
    key = next((unique for unique in usable if unique.plain and unique.not_null), None)
    key_columns = () if key is None else _columns_of(key, columns)
    # A key WITHOUT OVERLAPS excludes more than equal keys, so it is checked like the others.
    others = [unique for unique in usable if unique is not key or unique.operators]
    return TableMatch(live, sources, columns, key, key_columns, others, filtered, extra, lost, computed)


def _columns_of(key: UniqueKey, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(column for column in columns if column in key.columns)
