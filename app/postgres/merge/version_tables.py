"""Tables of migration tools in a merge: left alone, and told of, with what they say on both sides.

See `app.domain.version_tables` for which they are, and why.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.archive.index import Segment, TableName
from app.archive.reader import Archive
from app.domain.changes import MergeRequest
from app.domain.version_tables import OTHER, VersionTable, version_table
from app.errors import RestoreValidationError
from app.postgres.merge.schema import LiveSchema, LiveTable
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import TEXT
from app.postgres.quoting import quoted

_SHOWN = 3  # of the revisions that only one side has


@dataclass(frozen=True, slots=True)
class BackupVersionTable:
    """A version table of the backup.

    Attributes:
        kind: what keeps it.
        live: the same in the live database; None if there is none.
        sources: the backup's segments of its rows.
    """

    name: TableName
    kind: VersionTable
    live: LiveTable | None
    sources: tuple[Segment, ...]

    @property
    def columns(self) -> Sequence[str]:
        """Those that the backup has; the live table's if the dump does not name them."""
        given = next((segment.columns for segment in self.sources if segment.columns is not None), None)
        return given or (self.live.settable if self.live else ())

    @property
    def tells(self) -> str | None:
        """The column that names revisions, if both sides have it."""
        wanted = (name for name in self.columns if name.casefold() == self.kind.tells)
        return next((name for name in wanted if self.live and name in self.live.columns), None)


def version_tables(
    archive: Archive, live_names: Mapping[TableName, TableName | None], live: LiveSchema, request: MergeRequest
) -> dict[TableName, BackupVersionTable]:
    """The backup's version tables, by the name that a request calls them; none for a replace of the whole database."""
    found: dict[TableName, BackupVersionTable] = {}
    for table, live_name in live_names.items() if not request.whole else ():
        name = live_name or table
        there = live.tables.get(name)
        sources = tuple(archive.segments_of(table))
        given = {column for segment in sources for column in segment.columns or ()}
        for columns in (given, set(there.columns) if there else set()):
            if kind := version_table(*name, columns, request.version_tables):
                found[name] = BackupVersionTable(name, kind, there, sources)
                break
    return found


def require_none_named(named: Sequence[TableName], versions: Mapping[TableName, BackupVersionTable]) -> None:
    """Refuse to bring rows into a version table, also if it is asked for by name.

    Raises:
        RestoreValidationError: it is.
    """
    if wrong := [versions[name] for name in named if name in versions]:
        told = ", ".join(f"{each.name} ({each.kind.tool})" for each in wrong)
        message = f"{told} says which migrations the live schema has seen: no rows of a backup are brought into it"
        hint = (
            "let the migration tool set it ('alembic stamp REVISION' and its like); a replace of everything brings it"
        )
        raise RestoreValidationError(message, f"{hint} along with its schema")


def stage_version_tables(
    session: MergeSession, versions: Sequence[BackupVersionTable]
) -> list[tuple[str, LiveTable, Sequence[Segment]]]:
    """Make temporary tables for the backup's rows, and say what is to be copied where."""
    live_names: list[tuple[str, LiveTable, Sequence[Segment]]] = []
    for number, each in enumerate(versions):
        if each.live is None or each.tells is None:
            continue
        columns = ", ".join(f"{quoted(name)} {TEXT}" for name in each.columns)
        session.execute(f"CREATE TEMP TABLE {_room(number)} ({columns})", f"room for {each.name}")
        live_names.append((f"pg_temp.{_room(number)}", each.live, each.sources))
    return live_names


def notes_on_versions(session: MergeSession, versions: Sequence[BackupVersionTable]) -> Iterator[str]:
    """What is left alone, and which revisions only one side has."""
    for number, each in enumerate(versions):
        told = f"{each.name} ({each.kind.tool}) is left alone: it says which migrations the live schema has seen"
        if each.live is None:
            yield f"{told}; the live database has no such table"
            continue
        sides = _sides(session, number, each) if each.tells else ()
        yield "; ".join((told, *sides))


def unknown_names(
    request: MergeRequest, versions: Mapping[TableName, BackupVersionTable], live: LiveSchema
) -> Iterator[str]:
    """Names in the setting that no table has: whoever mistyped one believes it to be left alone."""
    known = {text for name in (*versions, *live.tables) for text in (name.name, str(name))}
    for name in request.version_tables:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            yield f"{OTHER} names {name}, which is a table of neither the backup nor the live database{meant}"


def _sides(session: MergeSession, number: int, each: BackupVersionTable) -> Iterator[str]:
    value = f'{quoted(each.tells or "")}::{TEXT} COLLATE pg_catalog."C"'
    backup = f"SELECT {value} FROM pg_temp.{_room(number)}"
    live = f"SELECT {value} FROM {quoted(*each.name)}"
    for side, one, other in (("the backup", backup, live), ("the live database", live, backup)):
        query = f"SELECT * FROM ({one} EXCEPT {other}) x ORDER BY 1"
        names = [str(name) for (name,) in session.query(query, f"revisions of {each.name}")]
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield f"only {side} has {', '.join(names[-_SHOWN:])}{more}"


def _room(number: int) -> str:
    return f"restore_versions_{number}"
