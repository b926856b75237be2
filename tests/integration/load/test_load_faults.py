"""Files and servers that fail a load: one typed error, no success, and no connection left."""

from __future__ import annotations

import _thread
import gzip
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import BinaryIO

import pytest
import structlog

from app.archive.digest import xxh128
from app.archive.index import Index, SegmentKind, TableName
from app.archive.reader import Archive, build_index
from app.archive.scanner import Chunk, SegmentHeader
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres
from app.errors import (
    BackupError,
    BackupReadError,
    ResidencyBackupError,
    RestoreDataError,
    RestoreError,
    RestorePermissionError,
    RestoreValidationError,
    TargetUnavailableError,
)
from app.postgres.database import Database
from app.postgres.load import batches as load_batches
from app.postgres.load import data as load_data
from app.postgres.load.loader import load
from tests.fix_loads import LAST, archive, assert_nobody_is_left, load_into
from tests.fix_postgres import TestDatabase, copy_of_all_tables, scratch_database
from tests.tiers import times

FAULTS: dict[str, tuple[Callable[[bytes], bytes], type[ResidencyBackupError], str]] = {
    "a duplicate key": (
        lambda text: text.replace(b"\n19999\t", b"\n20000\t", 1), RestoreDataError, "big_pkey: could not create"
    ),
    "a value of the wrong type": (
        lambda text: text.replace(b"\n19999\t", b"\nsecret\t", 1), RestoreDataError,
        r"line \d+ of its rows, column id\)"
    ),
    "a missing column": (
        lambda text: text.replace(b"(id, t, at)", b"(id, tt, at)"), RestoreDataError, 'column "tt"'
    ),
    "a missing role": (
        lambda text: text.replace(b"OWNER TO postgres", b"OWNER TO nobody_here", 1), RestoreDataError, "nobody_here"
    ),
    "a missing extension": (
        lambda text: text.replace(LAST, b"CREATE EXTENSION none_such;\n" + LAST), RestoreDataError, "none_such"
    ),
    "a broken foreign key": (
        lambda text: text.replace(b"\n200\t200\t200\t-200\n", b"\n200\t99999999\t200\t-200\n", 1), RestoreDataError,
        "violates foreign key",
    ),
    "a syntax error": (
        lambda text: text.replace(LAST, b"CREATE TABLE x NONSENSE;\n" + LAST), RestoreDataError, "syntax error"
    ),
    "a command": (lambda text: text.replace(LAST, b"\\! id\n" + LAST), RestoreValidationError, "line .*psql command"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_one_typed_error_says_what_does_not_load(empty_database: TestDatabase, stock: bytes, fault: str) -> None:
    spoil, error, message = FAULTS[fault]
    spoiled = spoil(stock)
    assert spoiled != stock
    with pytest.raises(error, match=message) as caught:
        load_into(empty_database, archive(spoiled), 3)
    assert caught.value.hint
    assert "secret" not in str(caught.value)
    assert_nobody_is_left(empty_database)


def test_a_database_that_is_not_empty_is_refused_and_not_touched(empty_database: TestDatabase, stock: bytes) -> None:
    empty_database.execute("CREATE TABLE precious AS SELECT 1 AS a")
    with pytest.raises(RestoreValidationError, match=r"not empty: it has public\.precious"):
        load_into(empty_database, archive(stock))
    assert list(copy_of_all_tables(empty_database.url)) == ['"public"."precious"']


def test_a_role_without_rights_is_told_so(empty_database: TestDatabase, stock: bytes) -> None:
    empty_database.execute("CREATE ROLE may_not LOGIN PASSWORD 'secret'")
    try:
        url = empty_database.url.replace(empty_database.url.split("//")[1].split("@")[0], "may_not:secret")
        with pytest.raises(RestorePermissionError, match=r"permission denied|must be"):
            load(Database.from_url(url), archive(stock), 2)
    finally:
        empty_database.execute("DROP ROLE may_not")


def test_fewer_connections_than_wanted_load_and_it_is_said(
    source: TestDatabase, empty_database: TestDatabase, ours: tuple[bytes, Index]
) -> None:
    data, index = ours
    empty_database.execute("CREATE ROLE few LOGIN SUPERUSER PASSWORD 'secret'")
    empty_database.execute(f"ALTER DATABASE {empty_database.name} CONNECTION LIMIT 2")
    empty_database.execute("ALTER ROLE few NOSUPERUSER CONNECTION LIMIT 2")
    empty_database.execute(f"GRANT ALL ON DATABASE {empty_database.name} TO few; GRANT ALL ON SCHEMA public TO few")
    empty_database.execute("GRANT postgres TO few")
    try:
        url = empty_database.url.replace(empty_database.url.split("//")[1].split("@")[0], "few:secret")
        with structlog.testing.capture_logs() as logs:
            loaded = load(Database.from_url(url), archive(data, Codec.ZSTD, index), 5)
    finally:
        empty_database.execute("DROP OWNED BY few; DROP ROLE few")
    assert loaded.rows[TableName("public", "big")] == 20000
    (warning,) = (each for each in logs if each["log_level"] == "warning")
    assert (warning["event"], warning["used"], warning["wanted"]) == (
        "restore uses fewer connections than wanted",
        2,
        5,
    )


@pytest.mark.parametrize(("held", "loads"), [(1 << 20, True), (3000, False)])
def test_rows_that_came_before_what_they_refer_to_wait_but_not_without_bound(
    empty_database: TestDatabase, monkeypatch: pytest.MonkeyPatch, held: int, *, loads: bool
) -> None:
    monkeypatch.setattr(load_batches, "_BATCH_BYTES", 2000)
    monkeypatch.setattr(load_data, "_HELD_BYTES", held)
    rows = b"".join(b"%d\n" % i for i in range(10_000))
    text = (
        b"CREATE TABLE public.parent (x int PRIMARY KEY);\nCREATE TABLE public.child (x int REFERENCES parent);\n"
        b"COPY public.child (x) FROM stdin;\n" + rows + b"\\.\n"
        b"COPY public.parent (x) FROM stdin;\n" + rows + b"\\.\n" + LAST + b"--\n\n"
    )
    read_through = archive(gzip.compress(text), Codec.GZIP)
    if loads:
        assert load_into(empty_database, read_through, 1).rows[TableName("public", "child")] == 10_000
    else:
        with pytest.raises(RestoreDataError, match="violates foreign key"):
            load_into(empty_database, read_through, 1)


def test_a_lost_connection_is_a_passing_failure_and_stops_the_others(
    empty_database: TestDatabase, ours: tuple[bytes, Index]
) -> None:
    data, index = ours
    killed = threading.Event()

    def kill(sent: int) -> None:
        if sent and not killed.is_set():
            killed.set()
            empty_database.query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query LIKE '%FROM stdin%' AND pid <> pg_backend_pid() LIMIT 1"
            )

    with pytest.raises(TargetUnavailableError, match="was lost") as caught:
        load(Database.from_url(empty_database.url), archive(data, Codec.ZSTD, index), 2, kill)
    assert caught.value.transient
    assert_nobody_is_left(empty_database)


def test_ctrl_c_stops_every_connection(empty_database: TestDatabase, ours: tuple[bytes, Index]) -> None:
    data, index = ours

    class Interrupting(Archive):
        """Interrupts whoever waits for the load, as the first rows are read."""

        begun = False

        def text(self, segment: object) -> Iterator[bytes]:
            if threading.current_thread() is not threading.main_thread() and not Interrupting.begun:
                Interrupting.begun = True
                _thread.interrupt_main()
            yield from super().text(segment)  # type: ignore[arg-type]

    opener: Callable[[], BinaryIO] = lambda: io.BytesIO(data)  # noqa: E731
    with pytest.raises(KeyboardInterrupt):
        load(Database.from_url(empty_database.url), Interrupting(opener, Codec.ZSTD, index), 2)
    assert_nobody_is_left(empty_database)


def test_a_file_that_is_cut_off_anywhere_never_loads(empty_database: TestDatabase, stock: bytes) -> None:
    step = len(stock) // times(30, 200)
    for cut in range(0, len(stock) - 200, step):
        with pytest.raises((BackupError, RestoreError)):
            load_into(empty_database, archive(stock[:cut]))
    assert copy_of_all_tables(empty_database.url) == {}  # none got as far as the server


def test_a_flipped_bit_in_our_archive_never_loads(ours: tuple[bytes, Index], postgres_server: EmbeddedPostgres) -> None:
    data, index = ours
    for at in range(5, len(data), len(data) // 12):
        broken = bytearray(data)
        broken[at] ^= 4
        with scratch_database(postgres_server) as database, pytest.raises(BackupError, match=r"segment \d+ of "):
            load_into(database, archive(bytes(broken), Codec.ZSTD, index))


def test_a_manifest_that_lies_gets_nothing_past_the_lint(empty_database: TestDatabase) -> None:
    data = b"COPY public.a (x) FROM stdin;\n1\n\\.\nCREATE TABLE owned ();\n" + LAST + b"--\n\n"
    out = io.BytesIO()
    writer = ArchiveWriter(out, Codec.NONE)
    head = SegmentHeader(SegmentKind.DATA, TableName("public", "a"), ("x",))
    writer.add([Chunk(SegmentHeader(SegmentKind.BEFORE), b"CREATE TABLE public.a (x int);\n"), Chunk(head, data)])
    index = replace(writer.finish(), complete=True)
    with pytest.raises(RestoreValidationError, match="is not one COPY block"):
        load_into(empty_database, archive(out.getvalue(), Codec.NONE, index))
    assert list(copy_of_all_tables(empty_database.url)) == ['"public"."a"']


SPLIT = {
    "a comment that ends in the next segment": (b"/* x\n", b"-- */ COPY public.a FROM PROGRAM 'touch /tmp/owned';\n"),
    "a string that ends in the next segment": (
        b"SET lock_timeout = 'x\n",
        b"-- '; ALTER SYSTEM SET archive_command = 'owned';\n",
    ),
}


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize("halves", SPLIT)
def test_a_statement_that_begins_in_one_segment_and_ends_in_another_gets_nothing_past_the_lint(
    empty_database: TestDatabase, halves: str, *, seekable: bool
) -> None:
    out = io.BytesIO()
    writer = ArchiveWriter(out, Codec.NONE)
    writer.add([Chunk(SegmentHeader(SegmentKind.BEFORE), half) for half in SPLIT[halves]])
    writer.add([Chunk(SegmentHeader(SegmentKind.AFTER), LAST + b"--\n\n")])
    index = writer.finish()
    if not seekable:
        index = replace(index, segments=tuple(replace(each, offset=None, bytes=None) for each in index.segments))
    with pytest.raises(RestoreValidationError, match=r"does not take its rows|whole server|not a whole"):
        load_into(empty_database, archive(out.getvalue(), Codec.NONE, index))


def test_a_row_that_an_index_calls_sql_is_refused_before_it_is_run(empty_database: TestDatabase) -> None:
    """A file that can only be read through is linted as it stands, and each part of it is what its index says."""
    out = io.BytesIO()
    writer = ArchiveWriter(out, Codec.NONE)
    writer.add([Chunk(SegmentHeader(SegmentKind.BEFORE), b"CREATE TABLE public.a (x text);\n")])
    writer.add(
        [Chunk(SegmentHeader(SegmentKind.DATA, TableName("public", "a"), ("x",)), b"COPY public.a (x) FROM stdin;\n")]
    )
    writer.add([Chunk(SegmentHeader(SegmentKind.AFTER), b"COPY public.a FROM PROGRAM 'touch /tmp/owned';\n")])
    writer.add([Chunk(SegmentHeader(SegmentKind.AFTER), b"\\.\n" + LAST + b"--\n\n")])
    index = writer.finish()
    segments = tuple(replace(each, offset=None, bytes=None) for each in index.segments)
    index = replace(index, segments=segments, complete=True)
    with pytest.raises(BackupReadError, match="ends within the data of table public"):
        load_into(empty_database, archive(out.getvalue(), Codec.NONE, index))


def test_a_segment_of_data_that_is_empty_is_a_typed_error(empty_database: TestDatabase, stock: bytes) -> None:
    whole = build_index(io.BytesIO(stock), Codec.NONE)
    number, first = next((n, each) for n, each in enumerate(whole.segments) if each.kind is SegmentKind.DATA)
    empty = replace(first, bytes=0, raw_bytes=0, rows=0, xxh128=xxh128().hexdigest())
    segments = (*whole.segments[:number], empty, *whole.segments[number:])
    with pytest.raises(RestoreValidationError, match="is not one COPY block"):
        load_into(empty_database, archive(stock, Codec.NONE, replace(whole, segments=segments)))
