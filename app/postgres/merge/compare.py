"""Compares two archives row by row: both are copied into temporary tables, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from app.archive.index import Segment, TableDigest, TableName
from app.archive.inspect.column_types import differing_types
from app.archive.inspect.lint import require_whole
from app.archive.reader import Archive
from app.domain.changes import Changes, ColumnChanges, MergeRequest, Sample, TableChanges
from app.errors import RestoreValidationError
from app.postgres.database import Database
from app.postgres.merge.column_changes import column_changes
from app.postgres.merge.counts import counted
from app.postgres.merge.match import MatchResult, TableMatch, primary_keys
from app.postgres.merge.plan import Planner
from app.postgres.merge.samples import Sampler
from app.postgres.merge.schema import Column, LiveSchema, LiveTable, UniqueKey
from app.postgres.merge.session import MergeSession, merge_session
from app.postgres.merge.sql import TEXT
from app.postgres.merge.stage import CopyTarget, copy_rows, stage
from app.postgres.quoting import SAME, quoted

_AT_ONCE = 50  # tables: each takes the server three temporary ones


def compare(database: Database, one: Archive, other: Archive, progress: Callable[[int], None]) -> Changes:
    """Compare two archives; see the port. Tables whose digests are equal are not read, and no statement is run."""
    for archive in (one, other):
        require_whole(archive)
    first, second = ({digest.table: digest for digest in archive.index.tables} for archive in (one, other))
    common = sorted(first.keys() & second.keys())
    alike = {table for table in common if _alike(one, other, first[table], second[table])}
    differing = [table for table in common if table not in alike]
    changes, shown = _compare_rows(database, one, other, differing, progress)
    changes += [TableChanges(table=str(table), unchanged=first[table].rows) for table in alike]
    changes += [TableChanges(table=str(table), inserted=first[table].rows) for table in first.keys() - second.keys()]
    changes += [TableChanges(table=str(table), deleted=second[table].rows) for table in second.keys() - first.keys()]
    tables = tuple(sorted(changes, key=lambda change: change.table))
    columns = tuple(filter(None, _column_changes(one, other, common)))
    lines = [f"table {table} is only in the first" for table in sorted(first.keys() - second.keys())]
    lines += [f"table {table} is only in the second" for table in sorted(second.keys() - first.keys())]
    lines += [line for table in columns for line in table.lines(two_backups=True)]
    return Changes(tables=tables, samples=shown, schema=tuple(lines), columns=columns)


def _compare_rows(
    database: Database, one: Archive, other: Archive, tables: Sequence[TableName], progress: Callable[[int], None]
) -> tuple[list[TableChanges], tuple[Sample, ...]]:
    """Counts and samples of tables that both archives have, of some tables at a time."""
    if not tables:
        return [], ()
    keys = primary_keys(one)
    # What can only be read from its start is read once.
    size = _AT_ONCE if one.seekable and other.seekable else len(tables)
    counts: list[TableChanges] = []
    with merge_session(database) as session:
        sampler = Sampler(session, len(tables))
        for at in range(0, len(tables), size):
            matches = MatchResult(primary_keys=keys)
            for number, table in enumerate(tables[at : at + size], at):
                matches.tables.append(_beside(session, number, table, (one, other), keys.get(table, ())))
            targets = [CopyTarget(quoted(*m.name), m.live, other.segments_of(_table_of(m))) for m in matches.tables]
            copy_rows(session, other, targets, progress)
            planner = Planner(
                session,
                stage(session, one, matches, MergeRequest(exact=True), progress),
                LiveSchema({}, {}, []),
                MergeRequest(exact=True),
            )
            planner.plan()
            planned = [counted(session, staged_table, exact=True) for staged_table in planner.staged]
            sampler.add(planner, list(zip(planner.staged, planned, strict=True)))
            counts += planned
            session.execute("DISCARD TEMP", "temporary tables")
    names = {str(_place(number)): str(table) for number, table in enumerate(tables)}
    changes = [replace(change, table=names[change.table]) for change in counts]
    return changes, tuple(replace(sample, table=names[sample.table]) for sample in sampler.samples)


def _table_of(match: TableMatch) -> TableName:
    return match.sources[0].table or match.name


def _place(number: int) -> TableName:
    """The temporary table with the second archive's rows."""
    return TableName("pg_temp", f"restore_other_{number}")


def _alike(one: Archive, other: Archive, left: TableDigest, right: TableDigest) -> bool:
    same = _columns(one, left.table) == _columns(other, right.table)
    return same and (left.rows, left.digest) == (right.rows, right.digest)


def _columns(archive: Archive, table: TableName) -> tuple[str, ...]:
    segment: Segment = archive.segments_of(table)[0]
    if segment.columns is None:
        raise RestoreValidationError(f"the dump does not name the columns of {table}", "compare dumps of pg_dump")
    return segment.columns


def _beside(
    session: MergeSession, number: int, table: TableName, archives: tuple[Archive, Archive], key: tuple[str, ...]
) -> TableMatch:
    """A temporary table with the second archive's columns, in the place of a live table."""
    first_columns, second_columns = (_columns(archive, table) for archive in archives)
    name = _place(number)
    session.execute(
        f"CREATE TEMP TABLE {quoted(*name)} ({', '.join(f'{quoted(column)} {TEXT}' for column in second_columns)})",
        "a temporary table",
    )
    columns = {
        column: Column(column, generated=False, always=False, not_null=False, has_default=True, type="text")
        for column in second_columns
    }
    common = tuple(column for column in second_columns if column in first_columns)
    unique = None
    if key and set(key) <= set(common):
        parts = tuple(map(quoted, key))
        unique = UniqueKey(
            name="key",
            plain=True,
            operators=(),
            parts=parts,
            equals=(SAME,) * len(parts),
            columns=frozenset(key),
            condition=None,
            nulls_equal=False,
            not_null=True,
        )
    return TableMatch(
        LiveTable(name, partitioned=True, owned=False, columns=columns),
        archives[0].segments_of(table),
        common,
        unique,
        key if unique else (),
        [],
        extra=tuple(column for column in second_columns if column not in first_columns),
        lost=tuple(column for column in first_columns if column not in second_columns),
    )


def _column_changes(one: Archive, other: Archive, tables: Sequence[TableName]) -> Iterator[ColumnChanges]:
    types, other_types = differing_types(one, other)
    for table in tables:
        columns, other_columns = _columns(one, table), _columns(other, table)
        only = [name for name in columns if name not in other_columns]
        only_other = [name for name in other_columns if name not in columns]
        yield column_changes(table, [types.get(table, {})], other_types.get(table, {}), (only, only_other))
