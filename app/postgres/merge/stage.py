"""Copies a backup's rows into temporary tables beside the live ones.

The temporary tables have the types of the live columns, so that equal values have equal images, and a value that the
live database cannot take is found here, before anything is changed: see `app.postgres.merge.unfit`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain

from app.archive.index import Segment, TableName
from app.archive.reader import Archive
from app.domain.changes import MergeRequest
from app.errors import RestoreDataError, RestoreValidationError
from app.postgres.dump.give_way import retry_while_locked
from app.postgres.load.batches import Batch, batches_of_stream, batches_of_table
from app.postgres.merge.match import MatchResult, encoding_of, primary_keys
from app.postgres.merge.schema import ForeignKey, LiveTable
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import TEXT
from app.postgres.merge.staged import StagedTable
from app.postgres.merge.unfit import convert, is_refused_value
from app.postgres.merge.version_tables import BackupVersionTable, stage_version_tables
from app.postgres.merge.where import keep_only
from app.postgres.quoting import quoted


def stage(
    session: MergeSession,
    archive: Archive,
    matches: MatchResult,
    request: MergeRequest,
    progress: Callable[[int], None],
) -> list[StagedTable]:
    """Copy the rows of all matches.

    For a whole replace, rows are staged for its preview only. A column without a match, or a key that is not unique,
    is no error then, because the replace creates its own tables.

    Raises:
        RestoreValidationError: a column with values is not in the live table, the live key is not unique in the
            backup's rows, or the condition is invalid.
        RestoreDataError: the server refuses the rows for another reason than a value that does not fit.
        BackupReadError, BackupValidationError: the file cannot be read, or differs from its index.
    """
    staged = [StagedTable(match, number) for number, match in enumerate(matches.tables, 1)]
    for table in staged:
        retry_while_locked(session, partial(session.execute, _table_of(table), f"room for {table.match.name}"))
    staged = _copy_all(session, archive, staged, matches.versions, progress)
    keys = primary_keys(archive)
    if request.where:
        for table in staged:
            if table.match.filtered:
                keep_only(session, table.rows, str(table.match.name), request.where)
        _keep_dependents(session, staged, matches.foreign_keys)
    for table in staged:
        if table.match.key:  # only the join key: statistics of other columns cost more than they help
            key = ", ".join(map(quoted, table.match.key_columns))
            session.execute(f"ANALYZE {table.rows} ({key})", f"rows of {table.match.name}")
        if not request.whole:
            _require_columns(session, table)
        sources = {segment.table for segment in table.match.sources}
        if not all(name and set(keys.get(name, ())) == set(table.match.key_columns) for name in sources):
            _require_key(session, table, matches if request.whole else None)
    return staged


def _copy_all(
    session: MergeSession,
    archive: Archive,
    staged: Sequence[StagedTable],
    versions: Sequence[BackupVersionTable],
    progress: Callable[[int], None],
) -> list[StagedTable]:
    """Copy the rows. A table that refuses a value is copied again, row by row."""
    targets = [(table.rows, table.match.live, table.match.sources) for table in staged]
    refusals = copy_rows(session, archive, [*targets, *stage_version_tables(session, versions)], progress)
    return [
        convert(session, table, partial(_copy_again, session, archive, table), refusals[table.rows])
        if table.rows in refusals
        else table
        for table in staged
    ]


def _copy_again(session: MergeSession, archive: Archive, table: StagedTable, name: str) -> None:
    """Copy a table's rows into another temporary table."""
    refusals = copy_rows(session, archive, [(name, table.match.live, table.match.sources)], lambda _: None)
    for error in refusals.values():
        raise error


def _table_of(table: StagedTable) -> str:
    match = table.match
    columns = [quoted(name) for name in match.columns]
    columns += [f"NULL::{TEXT} AS {quoted(name)}" for name in (*match.lost, *match.computed)]
    return f"CREATE TEMP TABLE {table.rows} AS SELECT {', '.join(columns)} FROM {match.live.sql} WITH NO DATA"


def copy_rows(
    session: MergeSession,
    archive: Archive,
    targets: Sequence[tuple[str, LiveTable, Sequence[Segment]]],
    progress: Callable[[int], None],
) -> dict[str, RestoreDataError]:
    """Copy data segments into tables, each with its own columns.

    Args:
        session: of the temporary tables.
        archive: of the rows.
        targets: name as SQL, the live table whose columns a dump without column names has, and segments.
        progress: called with the number of bytes sent.

    Returns:
        The tables that refused a value, with the error. Some of their rows are missing.
    """
    encoding = encoding_of(archive)
    copies: dict[TableName | None, tuple[str, str]] = {}
    for table, live, segments in targets:
        for segment in segments:
            columns = ", ".join(map(quoted, live.settable if segment.columns is None else segment.columns))
            listed = f"({columns})" if columns else ""
            copies[segment.table] = table, f"COPY {table} {listed} FROM STDIN (ENCODING '{encoding}')"
    refusals: dict[str, RestoreDataError] = {}
    for batch in _batches(archive, [segments for _, _, segments in targets]):
        table, copy = copies[batch.table]
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


def _keep_dependents(session: MergeSession, staged: Sequence[StagedTable], foreign_keys: Sequence[ForeignKey]) -> None:
    """Delete rows of dependent tables that refer to no row that was kept, table by table."""
    kept = {table.match.name: table for table in staged if table.match.filtered}
    pending = {table.match.name: table for table in staged if not table.match.filtered}
    while keys := [key for key in foreign_keys if key.child in pending and key.parent in kept]:
        child = pending.pop(keys[0].child)
        conditions = [
            f"EXISTS (SELECT FROM {kept[key.parent].rows} p WHERE {key.same('p', 'c')})"
            for key in keys
            if key.child == child.match.name
        ]
        session.execute(
            f"DELETE FROM {child.rows} c WHERE NOT ({' OR '.join(conditions)})", f"rows of {child.match.name}"
        )
        kept[child.match.name] = child


def _require_columns(session: MergeSession, table: StagedTable) -> None:
    match = table.match
    for name in match.lost:
        holds = f"SELECT EXISTS (SELECT FROM {table.rows} WHERE {quoted(name)} IS NOT NULL)"
        if session.query(holds, f"rows of {match.name}")[0][0]:
            message = f"column {match.name}.{name} is not in the live database, and the backup has values in it"
            hint = "add the column, or restore into another database (--into) and copy what you need by hand"
            raise RestoreValidationError(message, hint)


def _require_key(session: MergeSession, table: StagedTable, comparison: MatchResult | None) -> None:
    """Make sure that the live key is unique in the backup's rows; it is if it was their key in the backup.

    Args:
        session: of the table.
        table: whose key is tried.
        comparison: if rows are compared only, a table without a unique key has none, which is noted here.
    """
    match = table.match
    if match.key is None:
        return
    key = ", ".join(map(quoted, match.key_columns))
    known = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in match.key_columns)
    duplicates = (
        f"SELECT EXISTS (SELECT FROM {table.rows} WHERE {known}"
        f" GROUP BY {key} HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1)"
    )
    if not session.query(duplicates, f"rows of {match.name}")[0][0]:
        return
    message = f"the live key ({key}) of {match.name} is not unique in the backup's rows"
    if comparison is None:
        raise RestoreValidationError(message, "restore into another database (--into), and compare")
    comparison.schema.append(f"{message}: whole rows are compared")
    match.key, match.key_columns = None, ()
