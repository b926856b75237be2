"""Tables of migration tools in a merge: they are not changed; a note shows the revisions of both sides.

See `app.domain.version_tables` for which tables these are, and why.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from app.archive.index import Segment, TableName
from app.archive.reader import Archive
from app.domain.changes import MergeRequest
from app.domain.listed import listed
from app.domain.version_tables import OTHER, VersionTable, version_table
from app.errors import RestoreValidationError
from app.postgres.merge.schema import LiveSchema, LiveTable
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import TEXT
from app.postgres.quoting import quoted

_SHOWN = 3  # of the revisions that only one side has: the last ones


@dataclass(frozen=True, slots=True)
class BackupVersionTable:
    """A version table in the backup.

    Attributes:
        kind: of its migration tool.
        live: the table in the live database; None if there is none.
        sources: its segments in the backup.
    """

    name: TableName
    kind: VersionTable
    live: LiveTable | None
    sources: tuple[Segment, ...]

    @property
    def columns(self) -> Sequence[str]:
        """Columns in the backup; the live table's if the dump names none."""
        given = next((segment.columns for segment in self.sources if segment.columns is not None), None)
        return given or (self.live.settable if self.live else ())

    @property
    def tells(self) -> str | None:
        """The column with the revisions, if both sides have it."""
        wanted = (name for name in self.columns if name.casefold() == self.kind.tells)
        return next((name for name in wanted if self.live and name in self.live.columns), None)


def version_tables(
    archive: Archive, live_names: Mapping[TableName, TableName | None], live: LiveSchema, request: MergeRequest
) -> dict[TableName, BackupVersionTable]:
    """The backup's version tables, by the names that a request uses; none for a replace of the whole database."""
    versions: dict[TableName, BackupVersionTable] = {}
    for table, live_name in live_names.items() if not request.whole else ():
        name = live_name or table
        live_table = live.tables.get(name)
        sources = tuple(archive.segments_of(table))
        given = {column for segment in sources for column in segment.columns or ()}
        for columns in (given, set(live_table.columns) if live_table else set()):
            kinds = (version_table(*known, columns, request.version_tables) for known in (name, table))
            if kind := next(filter(None, kinds), None):
                versions[name] = BackupVersionTable(name, kind, live_table, sources)
                break
    return versions


def require_none_named(named: Sequence[TableName], versions: Mapping[TableName, BackupVersionTable]) -> None:
    """Make sure that a request names no version table.

    Raises:
        RestoreValidationError: it names one.
    """
    if wrong := [versions[name] for name in named if name in versions]:
        tables = ", ".join(f"{table.name} ({table.kind.tool})" for table in wrong)
        message = f"{tables} says which migrations the live schema has: a merge does not change it"
        hint = "let the migration tool set it (alembic stamp REVISION); a replace of the whole database restores it"
        raise RestoreValidationError(message, f"{hint} together with the schema")


def stage_version_tables(
    session: MergeSession, versions: Sequence[BackupVersionTable]
) -> list[tuple[str, LiveTable, Sequence[Segment]]]:
    """Create temporary tables for the backup's version tables; returns the targets for `copy_rows`."""
    targets: list[tuple[str, LiveTable, Sequence[Segment]]] = []
    for number, table in enumerate(versions):
        if table.live is None or table.tells is None:
            continue
        columns = ", ".join(f"{quoted(name)} {TEXT}" for name in table.columns)
        session.execute(f"CREATE TEMP TABLE {_table_name(number)} ({columns})", f"room for {table.name}")
        targets.append((f"pg_temp.{_table_name(number)}", table.live, table.sources))
    return targets


def notes_on_versions(session: MergeSession, versions: Sequence[BackupVersionTable]) -> Iterator[str]:
    """A note on each version table, with the revisions that only one side has."""
    for number, table in enumerate(versions):
        note = f"{table.name} ({table.kind.tool}) is not changed: it says which migrations the live schema has"
        if table.live is None:
            yield f"{note}; the live database has no such table"
            continue
        sides = _revisions_by_side(session, number, table) if table.tells else ()
        yield "; ".join((note, *sides))


def unknown_names(
    request: MergeRequest, versions: Mapping[TableName, BackupVersionTable], live: LiveSchema
) -> Iterator[str]:
    """Warnings about names in the setting that no table has: a mistyped one does not protect its table."""
    known = {text for name in (*versions, *live.tables) for text in (name.name, str(name))}
    for name in request.version_tables:
        if name not in known:
            close_names = difflib.get_close_matches(name, sorted(known), n=1)
            suggestion = f"; did you mean {close_names[0]}?" if close_names else ""
            yield f"{OTHER} names {name}, which is a table of neither the backup nor the live database{suggestion}"


def _revisions_by_side(session: MergeSession, number: int, table: BackupVersionTable) -> Iterator[str]:
    value = f'{quoted(table.tells or "")}::{TEXT} COLLATE pg_catalog."C"'
    backup = f"SELECT {value} FROM pg_temp.{_table_name(number)}"
    live = f"SELECT {value} FROM {quoted(*table.name)}"
    for side, one, other in (("the backup", backup, live), ("the live database", live, backup)):
        query = f"SELECT * FROM ({one} EXCEPT {other}) x ORDER BY 1"
        names = [str(name) for (name,) in session.query(query, f"revisions of {table.name}")]
        if names:
            yield f"only {side} has {listed([*names[-_SHOWN:], *names[:-_SHOWN]], _SHOWN)}"


def _table_name(number: int) -> str:
    return f"restore_versions_{number}"
