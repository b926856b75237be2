"""Puts a backup's rows into temporary tables beside the live ones.

The temporary tables have the live columns' types, so that equal values are equal bytes, and a value that the live
database could not take is found here, before anything is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from app.archive.index import Segment, TableName
from app.archive.reader import Archive
from app.domain.changes import MergeRequest
from app.errors import RestoreDataError, RestoreValidationError
from app.postgres.dump.give_way import retry_while_locked
from app.postgres.load.batches import Batch, batches_of_stream, batches_of_table
from app.postgres.merge.match import MatchResult, TableMatch, encoding_of, primary_keys
from app.postgres.merge.schema import ForeignKey, LiveTable
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import TEXT
from app.postgres.merge.version_tables import stage_version_tables
from app.postgres.merge.where import keep_only
from app.postgres.quoting import quoted


@dataclass(frozen=True, slots=True)
class StagedTable:
    """A matched table with its rows; `rows` and `plan` are the temporary tables' names as SQL."""

    match: TableMatch
    number: int

    @property
    def rows(self) -> str:
        """The backup's rows."""
        return f"pg_temp.restore_rows_{self.number}"

    @property
    def plan(self) -> str:
        """What is to become of them."""
        return f"pg_temp.restore_plan_{self.number}"


def stage(
    session: MergeSession,
    archive: Archive,
    matched: MatchResult,
    request: MergeRequest,
    progress: Callable[[int], None],
) -> list[StagedTable]:
    """Load the rows of all matches.

    A whole replace is only previewed by rows: there nothing can be lost, since it brings its own tables along.

    Raises:
        RestoreValidationError: a column that has values has no place, rows are not told apart by the live key, or the
            condition cannot be asked.
        RestoreDataError: a value does not fit the live column.
        BackupReadError, BackupValidationError: the file cannot be read, or is not what its index says.
    """
    staged = [StagedTable(match, number) for number, match in enumerate(matched.tables, 1)]
    for each in staged:
        retry_while_locked(session, partial(session.execute, _table_of(each), f"room for {each.match.name}"))
    if request.whole and archive.seekable:
        staged = [each for each in staged if _fits(session, archive, each, matched, progress)]
    else:
        homes = [(each.rows, each.match.live, each.match.sources) for each in staged]
        copy_rows(session, archive, [*homes, *stage_version_tables(session, matched.versions)], progress)
    keys = primary_keys(archive)
    if request.where:
        for each in staged:
            if each.match.filtered:
                keep_only(session, each.rows, str(each.match.name), request.where)
        _keep_dependents(session, staged, matched.foreign_keys)
    for each in staged:
        if each.match.key:  # what is joined by; of wide rows the rest costs more than it tells
            key = ", ".join(map(quoted, each.match.key_columns))
            session.execute(f"ANALYZE {each.rows} ({key})", f"rows of {each.match.name}")
        if not request.whole:
            _require_columns(session, each)
        sources = {segment.table for segment in each.match.sources}
        if not all(table and set(keys.get(table, ())) == set(each.match.key_columns) for table in sources):
            _require_key(session, each)
    return staged


def _fits(
    session: MergeSession, archive: Archive, each: StagedTable, matched: MatchResult, progress: Callable[[int], None]
) -> bool:
    """Load a table's rows; False where they are not what the live table could take."""
    try:
        copy_rows(session, archive, [(each.rows, each.match.live, each.match.sources)], progress)
        _require_key(session, each)
    except (RestoreDataError, RestoreValidationError):
        matched.unfit.append(each.match)
        matched.schema.append(
            f"column types or keys of {each.match.name} are others: all of its rows count as different"
        )
        return False
    return True


def _table_of(each: StagedTable) -> str:
    match = each.match
    columns = [quoted(name) for name in match.columns]
    columns += [f"NULL::{TEXT} AS {quoted(name)}" for name in (*match.lost, *match.computed)]
    return f"CREATE TEMP TABLE {each.rows} AS SELECT {', '.join(columns)} FROM {match.live.sql} WITH NO DATA"


def copy_rows(
    session: MergeSession,
    archive: Archive,
    homes: Sequence[tuple[str, LiveTable, Sequence[Segment]]],
    progress: Callable[[int], None],
) -> None:
    """Copy segments of data into tables, each with the columns that its rows have.

    Args:
        session: where the tables are.
        archive: what the rows come from.
        homes: a table as SQL, the one whose columns are meant where a dump names none, and its segments.
        progress: called with the number of bytes sent.
    """
    encoding = encoding_of(archive)
    copies: dict[TableName | None, str] = {}
    for table, live, segments in homes:
        for segment in segments:
            columns = ", ".join(map(quoted, live.settable if segment.columns is None else segment.columns))
            listed = f"({columns})" if columns else ""
            copies[segment.table] = f"COPY {table} {listed} FROM STDIN (ENCODING '{encoding}')"
    for batch in _batches(archive, [segments for _, _, segments in homes]):
        session.copy(copies[batch.table].encode(), _counted(batch.blocks(), progress), f"rows of {batch.table}")


def _batches(archive: Archive, homes: Sequence[Sequence[Segment]]) -> Iterator[Batch]:
    for segments in homes if archive.seekable else ():
        yield from batches_of_table(archive, segments)
    if not archive.seekable and homes:
        yield from batches_of_stream(archive, list(chain.from_iterable(homes)))


def _counted(blocks: Iterable[bytes], progress: Callable[[int], None]) -> Iterator[bytes]:
    for block in blocks:
        yield block
        progress(len(block))


def _keep_dependents(session: MergeSession, staged: Sequence[StagedTable], foreign_keys: Sequence[ForeignKey]) -> None:
    """Of the tables that come along keep the rows that refer to a row that was kept, table by table."""
    done = {each.match.name: each for each in staged if each.match.filtered}
    left = {each.match.name: each for each in staged if not each.match.filtered}
    while found := [key for key in foreign_keys if key.child in left and key.parent in done]:
        child = left.pop(found[0].child)
        held = [
            f"EXISTS (SELECT FROM {done[key.parent].rows} p WHERE {key.same('p', 'c')})"
            for key in found
            if key.child == child.match.name
        ]
        session.execute(f"DELETE FROM {child.rows} c WHERE NOT ({' OR '.join(held)})", f"rows of {child.match.name}")
        done[child.match.name] = child


def _require_columns(session: MergeSession, each: StagedTable) -> None:
    match = each.match
    for name in match.lost:
        holds = f"SELECT EXISTS (SELECT FROM {each.rows} WHERE {quoted(name)} IS NOT NULL)"
        if session.query(holds, f"rows of {match.name}")[0][0]:
            message = f"column {match.name}.{name} is not in the live database, and the backup has values in it"
            hint = "add the column, or restore into another database (--into) and bring over by hand what is wanted"
            raise RestoreValidationError(message, hint)


def _require_key(session: MergeSession, each: StagedTable) -> None:
    """The live key must tell the backup's rows apart too, which it does where it was their key already."""
    match = each.match
    key = ", ".join(map(quoted, match.key_columns))
    twice = (
        f"SELECT EXISTS (SELECT FROM {each.rows} GROUP BY {key} HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1)"
    )
    if match.key and session.query(twice, f"rows of {match.name}")[0][0]:
        message = f"rows of {match.name} in the backup are not told apart by the live key ({key})"
        raise RestoreValidationError(message, "restore into another database (--into) and look")
