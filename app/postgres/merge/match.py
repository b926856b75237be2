"""Which table of the backup is which of the live database, column by column; what has no place is refused by name."""

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
from app.archive.pg_dump import CLIENT_ENCODING, IDENTIFIER, NAME, python_encoding, unquoted
from app.archive.reader import Archive
from app.archive.scanner import scan
from app.domain.changes import MergeRequest
from app.errors import RestoreValidationError
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
    """A live table, and what the backup has for it.

    Attributes:
        sources: the backup's segments of data; a partitioned table has those of all its partitions.
        columns: those that both have and rows can be given, in the live table's order.
        key: what tells rows apart; None where whole rows are compared.
        key_columns: its columns, in the table's order.
        other_keys: unique keys that may stand in the way besides.
        filtered: whether the request's condition applies to it.
        extra: the live table's columns that the backup lacks.
        lost, computed: the backup's that the live table lacks, and that it generates by now.
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
        """That two rows, each given by its alias, have the same key, as SQL."""
        signs = dict(zip(map(unquoted_name, self.key.parts), self.key.equals, strict=True)) if self.key else {}
        return equal(
            one, self.key_columns, other, self.key_columns, [signs.get(name, SAME) for name in self.key_columns]
        )

    @property
    def values(self) -> tuple[str, ...]:
        """Columns beside the key's."""
        return tuple(each for each in self.columns if each not in self.key_columns)


@dataclass(slots=True)
class MatchResult:
    """All of them, and what stands alone.

    Attributes:
        gone: tables of the backup that are not in the live database, with their rows; `new` the other way round.
        schema: what differs, in words.
        unfit: whose rows the live table could not take as it is now; only a replace of all does not mind.
        foreign_keys: of the live database.
        versions: tables of migration tools, which are left alone.
        warnings: what a person must see.
    """

    tables: list[TableMatch] = field(default_factory=list)
    gone: dict[TableName, int] = field(default_factory=dict)
    new: list[LiveTable] = field(default_factory=list)
    schema: list[str] = field(default_factory=list)
    unfit: list[TableMatch] = field(default_factory=list)
    foreign_keys: Sequence[ForeignKey] = ()
    versions: list[BackupVersionTable] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def match(archive: Archive, live: LiveSchema, request: MergeRequest, database: str) -> MatchResult:
    """Match the tables that a request asks for with those of a database.

    Raises:
        RestoreValidationError: a table or column of the backup with something in it has no place in the live database,
            or the request names a table that the backup has not, or that no rows are brought into.
    """
    _require_rows(archive, request)
    live_names = _live_names(archive, live)
    versions = version_tables(archive, live_names, live, request)
    chosen = _chosen(request, live_names, live)
    if request.tables:
        require_none_named(sorted(chosen.named), versions)
    found = MatchResult(foreign_keys=live.foreign_keys)
    found.versions = [each for name, each in sorted(versions.items()) if name in chosen.all or not request.tables]
    found.warnings += unknown_names(request, versions, live)
    live_names = {table: live_name for table, live_name in live_names.items() if (live_name or table) not in versions}
    sources: defaultdict[TableName, list[Segment]] = defaultdict(list)
    for segment in archive.index.segments:
        if segment.kind is SegmentKind.DATA and segment.table in live_names:
            live_name = live_names[segment.table]
            if live_name is not None and live_name in chosen.all:
                sources[live_name].append(segment)
    rows = {each.table: each.rows for each in archive.index.tables}
    for table, live_name in sorted(live_names.items()):
        if live_name is None and (not request.tables or table in chosen.named):
            found.gone[table] = rows.get(table, 0)
            found.schema.append(f"table {table} is not in the live database")
    for name, its in sorted(sources.items()):
        matched = _match(live.tables[name], its, filtered=bool(request.where) and name in chosen.named)
        found.tables.append(matched)
        found.schema += [f"column {name}.{each} is not in the live database" for each in matched.lost]
        found.schema += [f"column {name}.{each} is not in the backup" for each in matched.extra]
    if request.whole:
        found.new = [table for name, table in sorted(live.tables.items()) if name not in sources]
        found.schema += [f"table {each.name} is not in the backup" for each in found.new]
    elif lacking := [table for table, count in found.gone.items() if count]:
        message = f"these tables of the backup are not in the live database: {', '.join(map(str, lacking))}"
        absent = [table for table, live_name in live_names.items() if live_name is None]
        raise RestoreValidationError(message, way_to_tables(lacking, absent, len(live_names), request, database))
    return found


def _require_rows(archive: Archive, request: MergeRequest) -> None:
    """Rows must stand there as COPY blocks; a replace, which runs the file as it is, does not mind."""
    sql = (each for kind in (SegmentKind.BEFORE, SegmentKind.AFTER) for each in _statements(archive, kind))
    if not request.whole and any(each.startswith(b"INSERT INTO ") for each in sql):
        message = "the dump has its rows as INSERT statements, which cannot be merged"
        raise RestoreValidationError(message, "restore it into another database (--into), and merge a backup of that")


@dataclass(slots=True)
class _Chosen:
    """Tables that the request names, and with their dependents; the backup's own name where no live one is there."""

    named: set[TableName]
    all: set[TableName]


def _chosen(request: MergeRequest, live_names: dict[TableName, TableName | None], live: LiveSchema) -> _Chosen:
    if not request.tables:
        if request.where or request.dependents:
            raise RestoreValidationError("a condition, or dependents, of which table?", "name it with --table")
        every = {live_name for live_name in live_names.values() if live_name is not None}
        return _Chosen(every, every)
    if request.where and request.exact:
        message = "--where chooses rows to merge; a replace of tables takes all of their rows"
        raise RestoreValidationError(message, "use --mode merge")
    named = {_resolved(table, live_names, request.backup) for table in request.tables}
    return _Chosen(named, live.dependents(named) if request.dependents else named)


def _resolved(text: str, live_names: dict[TableName, TableName | None], backup: str | None) -> TableName:
    """The table that somebody means, by the name of its root where it is partitioned."""
    known = {live_name or table for table, live_name in live_names.items()} | set(live_names)
    found = [each for each in known if text in (str(each), each.name)]
    if len(found) == 1:
        live_name = live_names.get(found[0]) or found[0]
        if live_name != found[0]:
            raise RestoreValidationError(
                f"{text} is a partition of {live_name}", f"name the whole: --table {live_name}"
            )
        return live_name
    if found:
        listed = ", ".join(sorted(map(str, found)))
        raise RestoreValidationError(f"more than one table is called {text}", f"say which: {listed}")
    near = difflib.get_close_matches(text, [*map(str, known), *(each.name for each in known)], n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    listed = f"residency-backup show {shlex.quote(backup or 'latest')}"
    raise RestoreValidationError(f"the backup has no table {text}", f"{hint}'{listed}' lists them")


def _live_names(archive: Archive, live: LiveSchema) -> dict[TableName, TableName | None]:
    """For every table of the backup the live table that takes its rows; None where there is none."""
    parents: dict[TableName, TableName] | None = None
    live_names: dict[TableName, TableName | None] = {}
    for each in archive.index.tables:
        table: TableName | None = each.table
        if table not in live.roots and parents is None:
            parents = _partitions(archive)
        while table is not None and table not in live.roots:
            table = (parents or {}).get(table)
        live_names[each.table] = None if table is None else live.roots[table]
    return live_names


def encoding_of(archive: Archive) -> str:
    """The encoding that a dump says it is in; UTF8 where it says nothing."""
    for segment in archive.index.segments:
        if segment.kind is SegmentKind.BEFORE:
            for block in archive.text(segment):
                if found := CLIENT_ENCODING.search(block):
                    return found[1].decode()
    return "UTF8"


def primary_keys(archive: Archive) -> dict[TableName, tuple[str, ...]]:
    """The columns of the primary keys that a backup's tables have."""
    found: dict[TableName, tuple[str, ...]] = {}
    encoding = python_encoding(encoding_of(archive))
    for statement in _statements(archive, SegmentKind.AFTER):
        if key := _PRIMARY.match(statement):
            schema, name, *columns = (unquoted(part, encoding) for part in (key[1], key[2], *NAME.findall(key[3])))
            found[TableName(schema, name)] = tuple(columns)
    return found


def _partitions(archive: Archive) -> dict[TableName, TableName]:
    """Which table each partition of the backup belongs to."""
    found: dict[TableName, TableName] = {}
    encoding = python_encoding(encoding_of(archive))
    for statement in _statements(archive, SegmentKind.BEFORE):
        if attach := _ATTACH.match(statement):
            schema, name, *partition = (unquoted(identifier, encoding) for identifier in attach.groups())
            found[TableName(*partition)] = TableName(schema, name)
    return found


def _statements(archive: Archive, kind: SegmentKind) -> Iterator[bytes]:
    """The statements of one kind of segment, without the comments before them."""
    text = (archive.text(each) for each in archive.index.segments if each.kind is kind)
    for chunk in scan(chain.from_iterable(text)):
        if statement := chunk.data[lexer.start_of(chunk.data) :]:
            yield statement


def _match(live: LiveTable, sources: list[Segment], *, filtered: bool) -> TableMatch:
    given = {name for each in sources for name in (live.settable if each.columns is None else each.columns)}
    columns = tuple(name for name in live.settable if name in given)
    computed = tuple(sorted(given & {each.name for each in live.columns.values() if each.generated}))
    lost = tuple(sorted(given - {*columns, *computed}))
    extra = tuple(name for name in live.settable if name not in given)
    usable = [key for key in live.keys if key.columns <= set(columns)]
    key = next((each for each in usable if each.plain and each.not_null), None)
    key_columns = () if key is None else _columns_of(key, columns)
    others = [each for each in usable if each is not key or each.operators]  # a period's key bars more than equals
    return TableMatch(live, sources, columns, key, key_columns, others, filtered, extra, lost, computed)


def _columns_of(key: UniqueKey, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(each for each in columns if each in key.columns)
