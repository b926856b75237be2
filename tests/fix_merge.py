"""Merges on a real server: an archive of a database as it is now, and a merge of it later."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.archive.reader import Archive
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.domain.changes import Changes, MergeRequest
from app.domain.restore import OnConflict
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from app.postgres.merge.merger import LiveMerge, merging
from app.postgres.merge.script import run_script
from tests.fix_postgres import TestDatabase, copy_of_all_tables


def archive_of(database: TestDatabase, codec: Codec = Codec.NONE) -> Archive:
    """A backup of the database as it is now."""
    out = io.BytesIO()
    with PostgresSource(Database.from_url(database.url), 1).snapshot() as snapshot:
        writer = ArchiveWriter(out, codec)
        snapshot.dump_into(writer)
        index = writer.finish()
    content = out.getvalue()
    return Archive(lambda: io.BytesIO(content), codec, index)


def request(policy: str = "take-backup", **options: object) -> MergeRequest:
    """A request with that policy."""
    return MergeRequest(on_conflict=OnConflict.parse(policy), **options)  # type: ignore[arg-type]


@contextmanager
def beside(database: TestDatabase, archive: Archive, wanted: MergeRequest) -> Iterator[LiveMerge]:
    """The archive's rows beside the live ones."""
    with merging(Database.from_url(database.url), archive, wanted, lambda _: None) as found:
        yield found


def merge(
    database: TestDatabase,
    archive: Archive,
    wanted: MergeRequest,
    on_commit: Callable[[str], None] = lambda _: None,
) -> tuple[Changes, bytes]:
    """Merge, and return what was done and the script that undoes it."""
    inverse = io.BytesIO()
    with beside(database, archive, wanted) as found:
        return found.apply(inverse, on_commit), inverse.getvalue()


def undo(database: TestDatabase, script: bytes) -> None:
    """Run the inverse of a merge."""
    run_script(Database.from_url(database.url), io.BytesIO(script), lambda _: None)


def done_as_previewed(
    database: TestDatabase, change: str, meanwhile: Callable[[], None] = lambda: None, **wanted: object
) -> Changes:
    """What a merge did after a change, which its preview said and its undo took back; `meanwhile` looks at it."""
    archive = archive_of(database)
    database.execute(change)
    before = copy_of_all_tables(database.url)
    with beside(database, archive, request(**wanted)) as found:  # type: ignore[arg-type]
        preview = found.preview()
    done, inverse = merge(database, archive, request(**wanted))  # type: ignore[arg-type]
    assert (preview.tables, preview.notes) == (done.tables, done.notes)
    meanwhile()
    again, _ = merge(database, archive, request(**wanted))  # type: ignore[arg-type]
    assert not any(each.changed for each in again.tables)
    undo(database, inverse)
    assert copy_of_all_tables(database.url) == before
    return done
