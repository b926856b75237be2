"""Which live table takes the rows of each table of a backup, and which of them a request chooses."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain

from app.archive import lexer
from app.archive.index import SegmentKind, TableName
from app.archive.pg_dump import CLIENT_ENCODING, IDENTIFIER, python_encoding, unquoted
from app.archive.reader import Archive
from app.archive.scanner import scan
from app.domain.adaptation import Adaptation, TableMapping, TableRef
from app.domain.changes import MergeRequest
from app.errors import RestoreValidationError
from app.postgres.merge.schema import LiveSchema

_ATTACH = re.compile(
    rb"ALTER TABLE (?:ONLY )?(%(name)s)\.(%(name)s)\s+ATTACH PARTITION (%(name)s)\.(%(name)s)\s"
    % {b"name": IDENTIFIER},
    re.IGNORECASE,
)


@dataclass(slots=True)
class TableNames:
    """The tables of a backup and the live tables that take their rows.

    Attributes:
        live: by each table of the backup that takes part; None if the live database has none for it.
        aliases: other names that the backup has for a live table: of partitioned tables, and of mapped ones.
        tops: by each table of the backup, the partitioned table that it belongs to, or itself.
        mapped: live tables that options name.
        skipped: tables of the backup that take no part, with the live tables that would take their rows.
        notes: what the options did.
        backup: name of the backup, for hints.
    """

    live: dict[TableName, TableName | None] = field(default_factory=dict)
    aliases: dict[TableName, TableName] = field(default_factory=dict)
    tops: dict[TableName, TableName] = field(default_factory=dict)
    mapped: set[TableName] = field(default_factory=set)
    skipped: dict[TableName, TableName | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    backup: str = "latest"

    @property
    def left_out(self) -> set[TableName]:
        """Live tables that take no part, because options leave out their tables of the backup."""
        taking = set(self.live.values())
        return {live for live in self.skipped.values() if live is not None and live not in taking}

    def meant(self, table: TableRef, option: str, *, live_first: bool = False) -> TableName:
        """The live table that an option about a column names, by its name in the backup or in the live database.

        Raises:
            RestoreValidationError: it is none that takes part.
        """
        in_backup = {name: live for name, live in self.live.items() if live is not None} | self.aliases
        in_live = {live: live for live in in_backup.values()}
        for names in (in_live, in_backup) if live_first else (in_backup, in_live):
            if found := {live for name, live in names.items() if table.names(*name)}:
                return _only(found, table, option)
        raise self.unknown(f"{option}: no table {table} takes part", table, in_backup | in_live)

    def unknown(self, message: str, table: TableRef, known: Iterable[object]) -> RestoreValidationError:
        """The error about a name that hits nothing."""
        hint = f"'residency-backup show {shlex.quote(self.backup)}' lists the backup's tables"
        return RestoreValidationError(message, f"{near(str(table), known)}{hint}")


@dataclass(slots=True)
class Selection:
    """The tables of a request, by their live names if they have one.

    Attributes:
        named: those that it names.
        all: these with their dependents and parents.
        parents: those that only others refer to.
    """

    named: set[TableName]
    all: set[TableName]
    parents: set[TableName]


def near(text: str, known: Iterable[object]) -> str:
    """The start of a hint: the name that was perhaps meant, with or without its schema."""
    names = list(dict.fromkeys(map(str, known)))
    by_name = {name.rpartition(".")[2]: name for name in names} | {name: name for name in names}
    close_names = difflib.get_close_matches(text, by_name, n=1)
    return f"did you mean {by_name[close_names[0]]}? " if close_names else ""


def table_names(archive: Archive, live: LiveSchema, request: MergeRequest) -> TableNames:
    """For each table of the backup, the live table that takes its rows.

    Raises:
        RestoreValidationError: an option names no table, or more than one, or tables that cannot take each other's
            rows.
    """
    adaptation = request.adaptation
    tables = [digest.table for digest in archive.index.tables]
    # Partitions are looked for only if something hangs on them: it takes a look at the whole schema.
    asked = adaptation.skip_tables or adaptation.map_tables or adaptation.skip_columns or adaptation.map_columns
    parents = partitions(archive) if asked or any(table not in live.roots for table in tables) else {}
    lines = {table: [table, *_ancestors(table, parents)] for table in tables}
    names = TableNames(backup=request.backup or "latest", tops={table: line[-1] for table, line in lines.items()})
    mapped = _mapped(names, adaptation, lines, live)
    own = {table: _live_name(line, mapped, live) for table, line in lines.items()}
    skipped = _skipped(names, adaptation, lines, own)
    for table, line in lines.items():
        if skipped.intersection(line):
            names.skipped[table] = own[table]
            continue
        names.live[table] = target = own[table]
        if target is not None:
            names.aliases |= dict.fromkeys(line[1:], target)
            names.aliases |= {name: target for name in line if name in mapped}
    names.mapped = set(mapped.values())
    _require_one_source(names, mapped, lines)
    return names


def _ancestors(table: TableName, parents: Mapping[TableName, TableName]) -> Iterator[TableName]:
    parent = parents.get(table)
    while parent is not None:
        yield parent
        parent = parents.get(parent)


def _live_name(line: Iterable[TableName], mapped: Mapping[TableName, TableName], live: LiveSchema) -> TableName | None:
    """The live table for a table of the backup, given with those that it is a partition of."""
    line = list(line)
    given = (mapped[name] for name in line if name in mapped)
    return next(chain(given, (live.roots[name] for name in line if name in live.roots)), None)


def _mapped(
    names: TableNames, adaptation: Adaptation, lines: Mapping[TableName, list[TableName]], live: LiveSchema
) -> dict[TableName, TableName]:
    """The live tables that options name, by the backup's names."""
    mapped: dict[TableName, TableName] = {}
    in_backup = dict.fromkeys(chain.from_iterable(lines.values()))
    for mapping in dict.fromkeys(adaptation.map_tables):
        option = f"--map-table {mapping}"
        old = _found(names, mapping.old, option, "the backup has no table", in_backup)
        new = _found(names, mapping.new, option, "the live database has no table", live.roots)
        if live.roots[new] != new:
            message = f"{option}: {new} is a partition of {live.roots[new]}"
            root = TableMapping(TableRef(*old), TableRef(*live.roots[new]))
            raise RestoreValidationError(message, f"name the root: {' '.join(Adaptation(map_tables=(root,)).words)}")
        if mapped.setdefault(old, new) != new:
            raise RestoreValidationError(f"{option}: {old} goes into {mapped[old]} already", "say it once")
        names.notes.append(f"table {old} of the backup goes into {new} (--map-table)")
    return mapped


def _skipped(
    names: TableNames,
    adaptation: Adaptation,
    lines: Mapping[TableName, list[TableName]],
    own: Mapping[TableName, TableName | None],
) -> set[TableName]:
    """The backup's tables that options leave out."""
    skipped: set[TableName] = set()
    in_backup = dict.fromkeys(chain.from_iterable(lines.values()))
    taking = {live: table for table, live in own.items() if live is not None and live not in in_backup}
    for ref in dict.fromkeys(adaptation.skip_tables):
        found = _found(names, ref, f"--skip-table {ref}", "the backup has no table", [*in_backup, *taking])
        skipped |= {table for table, live in own.items() if live == found} if found in taking else {found}
        names.notes.append(f"table {found} of the backup is left out (--skip-table)")
    return skipped


def _found(
    names: TableNames, ref: TableRef, option: str, what: str, known: Collection[TableName] | Mapping[TableName, object]
) -> TableName:
    candidates = {table for table in known if ref.names(*table)}
    if not candidates:
        raise names.unknown(f"{option}: {what} {ref}", ref, known)
    return _only(candidates, ref, option)


def _only(candidates: Collection[TableName], ref: TableRef, option: str) -> TableName:
    if len(candidates) > 1:
        listed = ", ".join(sorted(map(str, candidates)))
        raise RestoreValidationError(f"{option}: more than one table is called {ref}", f"say which: {listed}")
    return next(iter(candidates))


def _require_one_source(
    names: TableNames, mapped: Mapping[TableName, TableName], lines: Mapping[TableName, list[TableName]]
) -> None:
    """Make sure that no mapped table goes where another table of the backup goes."""
    sources: dict[TableName, TableName] = {}
    for table, target in names.live.items():
        top = next((name for name in lines[table] if name in mapped), lines[table][-1])
        if target is None or target not in mapped.values():
            continue
        if sources.setdefault(target, top) != top:
            listed = " and ".join(map(str, sorted((top, sources[target]))))
            skipping = " ".join(Adaptation(skip_tables=(TableRef(*target),)).words)
            hint = f"leave one of them out, for example {skipping}"
            raise RestoreValidationError(f"{listed} of the backup would both go into {target}", hint)


def chosen(request: MergeRequest, names: TableNames, live: LiveSchema) -> Selection:
    """The tables that a request chooses.

    Raises:
        RestoreValidationError: it names none, or one that does not take part.
    """
    if not request.tables:
        if request.where or request.dependents or request.parents:
            raise RestoreValidationError("--where, --dependents and --parents need a table", "name it with --table")
        every = {live_name for live_name in names.live.values() if live_name is not None}
        return Selection(every, every, set())
    if request.where and request.exact:
        message = "--where chooses rows to merge; a replace of tables takes all of their rows"
        raise RestoreValidationError(message, "use --mode merge")
    named = {_resolved(table, names) for table in request.tables}
    referring = live.dependents(named) if request.dependents else named
    parents = live.parents(referring) - referring if request.parents else set[TableName]()
    selection = Selection(named, referring | parents, parents)
    for table, target in names.skipped.items():
        if target not in selection.all:
            message = f"--skip-table {table}: it takes no part anyway, because tables are named with --table"
            raise RestoreValidationError(message, "leave --skip-table away")
    return selection


def _resolved(text: str, names: TableNames) -> TableName:
    """The table that a name of the request means; partitions are an error, which names the root."""
    targets = {live_name for live_name in names.live.values() if live_name is not None}
    known = targets | set(names.live) | set(names.aliases)
    candidates = {
        table if table in targets else names.aliases.get(table, table)
        for table in known
        if text in (str(table), table.name)
    }
    if len(candidates) == 1:
        (candidate,) = candidates
        live_name = names.live.get(candidate) or candidate
        if live_name != candidate:
            hint = f"name the root: --table {shlex.quote(str(live_name))}"
            raise RestoreValidationError(f"{text} is a partition of {live_name}", hint)
        return live_name
    if candidates:
        listed = ", ".join(sorted(map(str, candidates)))
        raise RestoreValidationError(f"more than one table is called {text}", f"say which: {listed}")
    if any(text in (str(table), table.name) for table in (*names.skipped, *names.skipped.values()) if table):
        message = f"{text} is both chosen and left out"
        raise RestoreValidationError(message, f"leave --table {text} or --skip-table {text} away")
    close_names = difflib.get_close_matches(text, [*map(str, known), *(table.name for table in known)], n=1)
    hint = f"did you mean {close_names[0]}? " if close_names else ""
    listed = f"residency-backup show {shlex.quote(names.backup)}"
    raise RestoreValidationError(f"the backup has no table {text}", f"{hint}to list them: {listed}")


def encoding_of(archive: Archive) -> str:
    """The client_encoding that a dump sets; UTF8 if it sets none."""
    for segment in archive.index.segments:
        if segment.kind is SegmentKind.BEFORE:
            for block in archive.text(segment):
                if match := CLIENT_ENCODING.search(block):
                    return match[1].decode()
    return "UTF8"


def partitions(archive: Archive) -> dict[TableName, TableName]:
    """The parent table of each partition in the backup."""
    parents: dict[TableName, TableName] = {}
    encoding = python_encoding(encoding_of(archive))
    for statement in statements(archive, SegmentKind.BEFORE):
        if attach := _ATTACH.match(statement):
            schema, name, *partition = (unquoted(identifier, encoding) for identifier in attach.groups())
            parents[TableName(*partition)] = TableName(schema, name)
    return parents


def statements(archive: Archive, kind: SegmentKind) -> Iterator[bytes]:
    """Statements of one kind of segment, without the comments before them."""
    text = (archive.text(segment) for segment in archive.index.segments if segment.kind is kind)
    for chunk in scan(chain.from_iterable(text)):
        if statement := chunk.data[lexer.start_of(chunk.data) :]:
            yield statement
