"""What differs between two archives, row by row: both are put side by side in temporary tables, as text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from app.archive.index import Segment, TableDigest, TableName
from app.archive.inspect.lint import lint
from app.archive.reader import Archive
from app.domain.changes import Changes, MergeRequest, TableChanges
from app.errors import RestoreValidationError
from app.postgres.database import Database
from app.postgres.merge.match import MatchResult, TableMatch, primary_keys
from app.postgres.merge.plan import Planner
from app.postgres.merge.report import counted, samples
from app.postgres.merge.schema import Column, LiveSchema, LiveTable, UniqueKey
from app.postgres.merge.session import MergeSession, merge_session
from app.postgres.merge.sql import TEXT
from app.postgres.merge.stage import copy_rows, stage
from app.postgres.quoting import SAME, quoted


def compare(database: Database, one: Archive, other: Archive, progress: Callable[[int], None]) -> Changes:
    """Compare two archives; see the port. Tables whose digests are equal are not read."""
    for archive in (one, other):
        lint(archive)
    left, right = ({each.table: each for each in archive.index.tables} for archive in (one, other))
    common = sorted(left.keys() & right.keys())
    alike = [table for table in common if _alike(one, other, left[table], right[table])]
    keys = primary_keys(one)
    differing = [table for table in common if table not in alike]
    with merge_session(database) as session:
        matches = [
            _beside(session, number, table, (one, other), keys.get(table, ()))
            for number, table in enumerate(differing, 1)
        ]
        for each in matches:
            segments = other.segments_of(differing[int(each.name.name.rpartition("_")[2]) - 1])
            copy_rows(session, other, [(quoted(*each.name), each.live, segments)], progress)
        staged = stage(session, one, MatchResult(tables=matches), MergeRequest(exact=True), progress)
        planner = Planner(session, staged, LiveSchema({}, {}, []), MergeRequest(exact=True))
        planner.plan()
        names = {str(each.name): str(table) for each, table in zip(matches, differing, strict=True)}
        counts = [counted(session, each, exact=True) for each in staged]
        found = [replace(each, table=names[each.table]) for each in counts]
        shown = tuple(replace(each, table=names[each.table]) for each in samples(session, staged, counts))
    found += [TableChanges(table=str(table), unchanged=left[table].rows) for table in alike]
    found += [TableChanges(table=str(table), inserted=left[table].rows) for table in left.keys() - right.keys()]
    found += [TableChanges(table=str(table), deleted=right[table].rows) for table in right.keys() - left.keys()]
    return Changes(tables=tuple(sorted(found, key=lambda each: each.table)), samples=shown, schema=_schema(one, other))


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
    """A table of the second archive as if it were a live one."""
    its, others = (_columns(archive, table) for archive in archives)
    name = TableName("pg_temp", f"restore_other_{number}")
    session.execute(
        f"CREATE TEMP TABLE {quoted(*name)} ({', '.join(f'{quoted(each)} {TEXT}' for each in others)})", "room"
    )
    columns = {each: Column(each, generated=False, always=False, not_null=False, has_default=True) for each in others}
    common = tuple(each for each in others if each in its)
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
        extra=tuple(each for each in others if each not in its),
        lost=tuple(each for each in its if each not in others),
    )


def _schema(one: Archive, other: Archive) -> tuple[str, ...]:
    left, right = ({each.table for each in archive.index.tables} for archive in (one, other))
    said = [f"table {table} is only in the first" for table in sorted(left - right)]
    said += [f"table {table} is only in the second" for table in sorted(right - left)]
    for table in sorted(left & right):
        its, others = set(_columns(one, table)), set(_columns(other, table))
        said += [f"column {table}.{each} is only in the first" for each in sorted(its - others)]
        said += [f"column {table}.{each} is only in the second" for each in sorted(others - its)]
    return tuple(said)
