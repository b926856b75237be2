"""Copies a backup's rows into temporary tables beside the live ones.

The temporary tables have the types of the live columns, so that equal values have equal images, and a value that the
live database cannot take is found here, before anything is changed: see `app.postgres.merge.unfit`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

from app.archive.index import Segment, TableName
from app.archive.reader import Archive
from app.domain.changes import MergeRequest
from app.errors import RestoreDataError
from app.postgres.dump.give_way import retry_while_locked
from app.postgres.load.batches import Batch, batches_of_stream, batches_of_table
from app.postgres.merge.chosen_rows import keep_chosen
from app.postgres.merge.match import MatchResult, TableMatch
from app.postgres.merge.misfits import Column
from app.postgres.merge.schema import LiveTable
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import TEXT
from app.postgres.merge.staged import StagedTable
from app.postgres.merge.table_names import encoding_of
from app.postgres.merge.unfit import convert, is_refused_value
from app.postgres.merge.version_tables import BackupVersionTable, stage_version_tables
from app.postgres.quoting import quoted


class CopyTarget(NamedTuple):
    """A table that takes rows of a backup.

    Attributes:
        table: its name as SQL.
        live: the live table, whose columns a dump without column names has.
        sources: data segments.
        takes: the table's column, by the backup's name for it, if the two names differ.
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

    For a whole replace, rows are staged for its preview only. A column without a match, or a key that is not unique,
    is no misfit then, because the replace creates its own tables.

    Raises:
        RestoreValidationError: the condition is invalid.
        RestoreDataError: the server refuses the rows for another reason than a value that does not fit.
        BackupReadError, BackupValidationError: the file cannot be read, or differs from its index.
    """
    staged = [StagedTable(match, number) for number, match in enumerate(matches.tables, 1)]
    for table in staged:
        retry_while_locked(session, partial(session.execute, _table_of(table), f"room for {table.match.name}"))
    staged = _copy_all(session, archive, staged, matches.versions, progress)
    if request.where:
        matches.warnings += keep_chosen(session, staged, matches.foreign_keys, request)
    for table in staged:
        if table.match.key:  # only the join key: statistics of other columns cost more than they help
            session.execute(f"ANALYZE {table.rows} ({_key_of(table)})", f"rows of {table.match.name}")
        if not request.whole:
            matches.misfits.lost += _columns_with_values(session, table)
        if not _was_key(table.match, matches.primary_keys) and _is_shared(session, table):
            _note_shared_key(table, matches, request)
    return staged


def _target(table: StagedTable) -> CopyTarget:
    return CopyTarget(table.rows, table.match.live, table.match.sources, table.match.takes)


def _was_key(match: TableMatch, keys: Mapping[TableName, Sequence[str]]) -> bool:
    """Whether the live key was the primary key in the backup, so that its rows do not share it."""
    of_sources = (keys.get(segment.table, ()) for segment in match.sources if segment.table)
    return all({match.takes.get(name, name) for name in key} == set(match.key_columns) for key in of_sources)


def _note_shared_key(table: StagedTable, matches: MatchResult, request: MergeRequest) -> None:
    """Note a live key that is not unique in the backup's rows. If they are compared only, the table has none then."""
    match, key = table.match, _key_of(table)
    if request.whole:
        sentence = f"the live key ({key}) of {match.name} is not unique in the backup's rows"
        matches.schema.append(f"{sentence}: whole rows are compared")
        match.key, match.key_columns = None, ()
    else:
        matches.misfits.shared[match.name] = key


def _copy_all(
    session: MergeSession,
    archive: Archive,
    staged: Sequence[StagedTable],
    versions: Sequence[BackupVersionTable],
    progress: Callable[[int], None],
) -> list[StagedTable]:
    """Copy the rows. A table that refuses a value is copied again, row by row."""
    of_versions = [CopyTarget(*target) for target in stage_version_tables(session, versions)]
    refusals = copy_rows(session, archive, [*map(_target, staged), *of_versions], progress)
    return [
        convert(session, table, partial(_copy_again, session, archive, table), refusals[table.rows])
        if table.rows in refusals
        else table
        for table in staged
    ]


def _copy_again(session: MergeSession, archive: Archive, table: StagedTable, name: str) -> None:
    """Copy a table's rows into another temporary table."""
    target = _target(table)._replace(table=name)
    for error in copy_rows(session, archive, [target], lambda _: None).values():
        raise error


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
) -> dict[str, RestoreDataError]:
    """Copy data segments into tables, each with its own columns.

    Args:
        session: of the temporary tables.
        archive: of the rows.
        targets: the tables and their segments.
        progress: called with the number of bytes sent.

    Returns:
        The tables that refused a value, with the error. Some of their rows are missing.
    """
    encoding = encoding_of(archive)
    # A partition may have its columns in another order.
    copies: dict[tuple[TableName | None, tuple[str, ...] | None], tuple[str, str]] = {}
    for target in targets:
        for segment in target.sources:
            names = target.live.settable if segment.columns is None else segment.columns
            columns = ", ".join(quoted(target.takes.get(name, name)) for name in names)
            listed = f"({columns})" if columns else ""
            statement = f"COPY {target.table} {listed} FROM STDIN (ENCODING '{encoding}')"
            copies[segment.table, segment.columns] = target.table, statement
    refusals: dict[str, RestoreDataError] = {}
    for batch in _batches(archive, [target.sources for target in targets]):
        table, copy = copies[batch.table, batch.columns]
        blocks = iter(batch.blocks())
        if table not in refusals:
            try:
                session.copy(copy.encode(), _counted(blocks, progress), f"rows of {batch.table}")
            except RestoreDataError as error:
                if not is_refused_value(error):
                    raise
                refusals[table] = error
        if table in refusals and batch.alone:
            deque(blocks, maxlen=0)  # the next batch begins after it
    return refusals


def _batches(archive: Archive, targets: Sequence[Sequence[Segment]]) -> Iterator[Batch]:
    for segments in targets if archive.seekable else ():
        yield from batches_of_table(archive, segments)
    if not archive.seekable and targets:
        yield from batches_of_stream(archive, list(chain.from_iterable(targets)))


def _counted(blocks: Iterable[bytes], progress: Callable[[int], None]) -> Iterator[bytes]:
    for block in blocks:
        yield block
        progress(len(block))


def _columns_with_values(session: MergeSession, table: StagedTable) -> Iterator[Column]:
    """The columns with values that the live table lacks."""
    match = table.match
    for name in match.lost:
        holds = f"SELECT EXISTS (SELECT FROM {table.rows} WHERE {quoted(name)} IS NOT NULL)"
        if session.query(holds, f"rows of {match.name}")[0][0]:
            yield match.name, name


def _is_shared(session: MergeSession, table: StagedTable) -> bool:
    """Whether the live key is not unique in the backup's rows."""
    match = table.match
    if match.key is None:
        return False
    known = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in match.key_columns)
    groups = f"SELECT FROM {table.rows} WHERE {known} GROUP BY {_key_of(table)}"
    duplicates = f"SELECT EXISTS ({groups} HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1)"
    return bool(session.query(duplicates, f"rows of {match.name}")[0][0])


def _key_of(table: StagedTable) -> str:
    return ", ".join(map(quoted, table.match.key_columns))
