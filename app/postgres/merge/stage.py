"""Copies a backup's rows into temporary tables beside the live ones.

The temporary tables have the types of the live columns, so that equal values have equal images, and a value that the
live database cannot take is found here, before anything is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import NamedTuple

from app.archive.index import Segment, TableName
from app.archive.reader import Archive
from app.domain.changes import MergeRequest
from app.errors import RestoreDataError, RestoreValidationError
from app.postgres.dump.give_way import retry_while_locked
from app.postgres.load.batches import Batch, batches_of_stream, batches_of_table
from app.postgres.merge.match import MatchResult, TableMatch, primary_keys
from app.postgres.merge.misfits import Column
from app.postgres.merge.schema import ForeignKey, LiveTable
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import TEXT
from app.postgres.merge.table_names import encoding_of
from app.postgres.merge.version_tables import stage_version_tables
from app.postgres.merge.where import keep_only
from app.postgres.quoting import quoted


@dataclass(frozen=True, slots=True)
class StagedTable:
    """A matched table with its temporary tables; `rows` and `plan` are their names as SQL."""

    match: TableMatch
    number: int

    @property
    def rows(self) -> str:
        """The backup's rows."""
        return f"pg_temp.restore_rows_{self.number}"

    @property
    def plan(self) -> str:
        """The plan for these rows."""
        return f"pg_temp.restore_plan_{self.number}"


class CopyTarget(NamedTuple):
    """A table that takes rows of a backup.

    Attributes:
        table: its name as SQL.
        live: the live table, whose columns a dump without column names has.
        sources: data segments.
        takes: the table's column, by the backup's, if it is called otherwise.
    """

    table: str
    live: LiveTable
    sources: Sequence[Segment]
    takes: Mapping[str, str] = {}


def stage(
    session: MergeSession,
    archive: Archive,
    matches: MatchResult,
    request: MergeRequest,
    progress: Callable[[int], None],
) -> list[StagedTable]:
    """Copy the rows of all matches.

    For a whole replace, rows are staged for its preview only. Else a column with values that the live table lacks, and
    a live key that is not unique in the backup's rows, are noted as misfits.

    Raises:
        RestoreValidationError: the condition is invalid.
        RestoreDataError: a value does not fit the live column's type.
        BackupReadError, BackupValidationError: the file cannot be read, or differs from its index.
    """
    staged = [StagedTable(match, number) for number, match in enumerate(matches.tables, 1)]
    for table in staged:
        retry_while_locked(session, partial(session.execute, _table_of(table), f"room for {table.match.name}"))
    if request.whole and archive.seekable:
        staged = [table for table in staged if _fits(session, archive, table, matches, progress)]
    else:
        versions = [CopyTarget(*target) for target in stage_version_tables(session, matches.versions)]
        copy_rows(session, archive, [*map(_target, staged), *versions], progress)
    keys = primary_keys(archive)
    if request.where:
        for table in staged:
            if table.match.filtered:
                keep_only(session, table.rows, str(table.match.name), request.where)
        _keep_dependents(session, staged, matches.foreign_keys)
    for table in staged:
        if table.match.key:  # only the join key: statistics of other columns cost more than they help
            session.execute(f"ANALYZE {table.rows} ({_key_of(table)})", f"rows of {table.match.name}")
        if not request.whole:
            matches.misfits.lost += _columns_with_values(session, table)
            if not _was_key(table.match, keys) and _is_shared(session, table):
                matches.misfits.shared[table.match.name] = _key_of(table)
    return staged


def _target(table: StagedTable) -> CopyTarget:
    return CopyTarget(table.rows, table.match.live, table.match.sources, table.match.takes)


def _was_key(match: TableMatch, keys: Mapping[TableName, Sequence[str]]) -> bool:
    """Whether the live key was the primary key in the backup, so that its rows do not share it."""
    of_sources = (keys.get(segment.table, ()) for segment in match.sources if segment.table)
    return all({match.takes.get(name, name) for name in key} == set(match.key_columns) for key in of_sources)


def _fits(
    session: MergeSession, archive: Archive, table: StagedTable, matches: MatchResult, progress: Callable[[int], None]
) -> bool:
    """Copy a table's rows; False if the live table cannot take them."""
    try:
        copy_rows(session, archive, [_target(table)], progress)
        fits = not _is_shared(session, table)
    except (RestoreDataError, RestoreValidationError):
        fits = False
    if not fits:
        matches.unfit.append(table.match)
        matches.schema.append(
            f"column types or keys of {table.match.name} differ, so all of its rows are shown as changed"
        )
    return fits


def _table_of(table: StagedTable) -> str:
    match = table.match
    columns = [quoted(name) for name in match.columns]
    columns += [f"NULL::{TEXT} AS {quoted(name)}" for name in (*match.lost, *match.computed, *match.skipped)]
    return f"CREATE TEMP TABLE {table.rows} AS SELECT {', '.join(columns)} FROM {match.live.sql} WITH NO DATA"


def copy_rows(
    session: MergeSession,
    archive: Archive,
    targets: Sequence[CopyTarget],
    progress: Callable[[int], None],
) -> None:
    """Copy data segments into tables, each with its own columns.

    Args:
        session: of the temporary tables.
        archive: of the rows.
        targets: the tables and their segments.
        progress: called with the number of bytes sent.
    """
    encoding = encoding_of(archive)
    copies: dict[TableName | None, str] = {}
    for target in targets:
        for segment in target.sources:
            names = target.live.settable if segment.columns is None else segment.columns
            columns = ", ".join(quoted(target.takes.get(name, name)) for name in names)
            listed = f"({columns})" if columns else ""
            copies[segment.table] = f"COPY {target.table} {listed} FROM STDIN (ENCODING '{encoding}')"
    for batch in _batches(archive, [target.sources for target in targets]):
        session.copy(copies[batch.table].encode(), _counted(batch.blocks(), progress), f"rows of {batch.table}")


def _batches(archive: Archive, targets: Sequence[Sequence[Segment]]) -> Iterator[Batch]:
    for segments in targets if archive.seekable else ():
        yield from batches_of_table(archive, segments)
    if not archive.seekable and targets:
        yield from batches_of_stream(archive, list(chain.from_iterable(targets)))


def _counted(blocks: Iterable[bytes], progress: Callable[[int], None]) -> Iterator[bytes]:
    for block in blocks:
        yield block
        progress(len(block))


def _keep_dependents(session: MergeSession, staged: Sequence[StagedTable], foreign_keys: Sequence[ForeignKey]) -> None:
    """Delete rows of dependent tables that refer to no row that was kept, table by table."""
    kept = {table.match.name: table for table in staged if table.match.filtered}
    pending = {table.match.name: table for table in staged if not table.match.filtered}
    while keys := [key for key in foreign_keys if key.child in pending and key.parent in kept]:
        child = pending.pop(keys[0].child)
        conditions = [
            f"EXISTS (SELECT FROM {kept[key.parent].rows} p WHERE {key.same('p', 'c')})"
            for key in keys
            if key.child == child.match.name and _is_staged(key, child, kept[key.parent])
        ]
        refers = " OR ".join(conditions) or "false"
        session.execute(f"DELETE FROM {child.rows} c WHERE NOT ({refers})", f"rows of {child.match.name}")
        kept[child.match.name] = child


def _is_staged(key: ForeignKey, child: StagedTable, parent: StagedTable) -> bool:
    """Whether the rows of the backup have all columns of a foreign key; without them no row refers to another."""
    return set(key.columns) <= set(child.match.columns) and set(key.referenced) <= set(parent.match.columns)


def _columns_with_values(session: MergeSession, table: StagedTable) -> Iterator[Column]:
    """The columns with values that the live table lacks."""
    match = table.match
    for name in match.lost:
        holds = f"SELECT EXISTS (SELECT FROM {table.rows} WHERE {quoted(name)} IS NOT NULL)"
        if session.query(holds, f"rows of {match.name}")[0][0]:
            yield match.name, name


def _is_shared(session: MergeSession, table: StagedTable) -> bool:
    """Whether the live key is not unique in the backup's rows."""
    groups = f"SELECT FROM {table.rows} GROUP BY {_key_of(table)}"
    duplicates = f"SELECT EXISTS ({groups} HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1)"
    return bool(table.match.key and session.query(duplicates, f"rows of {table.match.name}")[0][0])


def _key_of(table: StagedTable) -> str:
    return ", ".join(map(quoted, table.match.key_columns))
