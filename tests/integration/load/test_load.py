"""The parallel load: what psql would make of the file, or one typed error and no success."""

from __future__ import annotations

import _thread
import gzip
import hashlib
import io
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import psycopg
import pytest
import structlog
import zstandard

from app.archive.index import Index, SegmentKind, TableName
from app.archive.reader import Archive, build_index
from app.archive.scanner import Chunk, SegmentHeader, scan
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres, binaries
from app.embedded.server import environment
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
from app.ports.target import Loaded
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from app.postgres.load import batches as load_batches
from app.postgres.load import data as load_data
from app.postgres.load.archive import load
from app.postgres.load.sql import SqlRunner
from app.postgres.programs import output_of
from app.postgres.session import Session
from tests.fix_postgres import TestDatabase, copy_of_all_tables, scratch_database
from tests.tiers import pairs, sample_of, times

FOREIGN = {Codec.NONE: bytes, Codec.GZIP: gzip.compress, Codec.ZSTD: zstandard.ZstdCompressor(1).compress}
MANY = """
    CREATE TABLE big (id int PRIMARY KEY, t text, at timestamptz DEFAULT '2025-01-01 00:00+00');
    INSERT INTO big SELECT i, repeat('t', i % 300) FROM generate_series(1, 60000) i;
    CREATE INDEX big_t ON big (t); CREATE INDEX big_lower ON big (lower(t)); COMMENT ON INDEX big_t IS 'c';
    CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2';
    DO $$ BEGIN
      FOR i IN 0..39 LOOP
        EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, big int REFERENCES big, next int, u int UNIQUE)', i);
        EXECUTE format('INSERT INTO t%s SELECT j, j, j, -j FROM generate_series(1, 200) j', i);
        EXECUTE format('CREATE INDEX ON t%s (next)', i);
      END LOOP;
      FOR i IN 0..39 LOOP
        EXECUTE format('ALTER TABLE t%s ADD FOREIGN KEY (next) REFERENCES t%s', i, (i + 1) % 40);
        EXECUTE format('ALTER TABLE t%s ADD FOREIGN KEY (next) REFERENCES t%s', (i + 1) % 40, i);
      END LOOP; END $$;
    SELECT lo_from_bytea(0, 'large object');"""


@pytest.fixture(scope="module")
def source(postgres_server: EmbeddedPostgres) -> Iterator[TestDatabase]:
    with scratch_database(postgres_server) as database:
        database.execute(MANY)
        yield database


@pytest.fixture(scope="module")
def stock(source: TestDatabase) -> bytes:
    """What pg_dump says of the source."""
    return output_of([str(binaries() / "pg_dump"), "-d", source.url], environment()).encode()


@pytest.fixture(scope="module")
def ours(source: TestDatabase) -> tuple[bytes, Index]:
    """Our archive of it, with zstd."""
    out = io.BytesIO()
    with PostgresSource(Database.from_url(source.url), 2).snapshot() as snapshot:
        writer = ArchiveWriter(out, Codec.ZSTD)
        snapshot.dump_into(writer)
        index = writer.finish()
    return out.getvalue(), index


def archive(data: bytes, codec: Codec = Codec.NONE, index: Index | None = None) -> Archive:
    return Archive(lambda: io.BytesIO(data), codec, index or build_index(io.BytesIO(data), codec))


def load_into(database: TestDatabase, source: Archive, jobs: int = 2) -> Loaded:
    return load(Database.from_url(database.url), source, jobs)


def schema(database: TestDatabase) -> list[str]:
    text = output_of([str(binaries() / "pg_dump"), "--schema-only", "-d", database.url], environment())
    return [line for line in text.splitlines() if not line.startswith("\\")]


@pytest.mark.parametrize(("codec", "jobs"), sample_of(pairs(list(FOREIGN), [1, 3]), [1, 2]))
def test_a_dump_of_pg_dump_is_loaded_whatever_compressed_it(
    source: TestDatabase,
    empty_database: TestDatabase,
    stock: bytes,
    codec: Codec,
    jobs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(load_batches, "_WHOLE_BYTES", 1 << 20)
    monkeypatch.setattr(load_batches, "_BATCH_BYTES", 300_000)
    loaded = load_into(empty_database, archive(FOREIGN[codec](stock), codec), jobs)
    assert copy_of_all_tables(empty_database.url) == copy_of_all_tables(source.url)
    assert schema(empty_database) == schema(source)
    assert loaded.rows[TableName("public", "big")] == 60000
    assert empty_database.query("SELECT count(*) FROM pg_largeobject") == [(1,)]


@pytest.mark.parametrize("jobs", sample_of([1, 2, 6], [0, 2]))
def test_our_archive_is_loaded_on_any_number_of_connections(
    source: TestDatabase, empty_database: TestDatabase, ours: tuple[bytes, Index], jobs: int
) -> None:
    data, index = ours
    load_into(empty_database, archive(data, Codec.ZSTD, index), jobs)
    assert copy_of_all_tables(empty_database.url) == copy_of_all_tables(source.url)
    assert schema(empty_database) == schema(source)
    analyzed = "SELECT count(*) FROM pg_class WHERE relname ~ '^(big|t[0-9]+)$' AND reltuples > 0"
    assert empty_database.query(analyzed) == [(41,)]


def test_a_line_longer_than_a_batch_streams_through(
    empty_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_batches, "_WHOLE_BYTES", 1000)
    monkeypatch.setattr(load_batches, "_BATCH_BYTES", 2000)
    rows = b"".join(b"%d\t%s\n" % (i, b"v" * (5_000_000 if i == 5 else i * 100)) for i in range(40))
    text = (
        b"CREATE TABLE public.long (i int, v text);\nCOPY public.long (i, v) FROM stdin;\n" + rows + b"\\.\n"
        b"--\n-- PostgreSQL database dump complete\n--\n\n"
    )
    load_into(empty_database, archive(text), 3)
    assert empty_database.query("SELECT count(*), sum(length(v)) FROM long") == [(40, 5_000_000 + 100 * (780 - 5))]


def test_rows_are_written_frozen_where_a_connection_has_the_table_to_itself(
    empty_database: TestDatabase, ours: tuple[bytes, Index]
) -> None:
    data, index = ours
    load_into(empty_database, archive(data, Codec.ZSTD, index), 1)
    empty_database.execute("CREATE EXTENSION pg_visibility")
    # A page that a second batch of rows went on filling may lack the mark.
    ((frozen, pages),) = empty_database.query(
        "SELECT count(*) FILTER (WHERE all_frozen), count(*) FROM pg_visibility('big')"
    )
    assert frozen > 0.9 * pages


# Faults: (what is wrong, the error, what it says)

LAST = b"--\n-- PostgreSQL database dump complete\n"
FAULTS: dict[str, tuple[Callable[[bytes], bytes], type[ResidencyBackupError], str]] = {
    "a duplicate key": (
        lambda text: text.replace(b"\n59999\t", b"\n60000\t", 1), RestoreDataError, "big_pkey: could not create"
    ),
    "a value of the wrong type": (
        lambda text: text.replace(b"\n59999\t", b"\nsecret\t", 1), RestoreDataError,
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
    assert loaded.rows[TableName("public", "big")] == 60000
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
    step = len(stock) // times(60, 200)
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
    with pytest.raises(RestoreValidationError, match="something else than one COPY block"):
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
    empty = replace(first, bytes=0, raw_bytes=0, rows=0, sha256=hashlib.sha256().hexdigest())
    segments = (*whole.segments[:number], empty, *whole.segments[number:])
    with pytest.raises(RestoreValidationError, match="something else than one COPY block"):
        load_into(empty_database, archive(stock, Codec.NONE, replace(whole, segments=segments)))


def test_a_deadlock_repeats_only_the_statement_that_it_ended(empty_database: TestDatabase) -> None:
    class Once(Session):
        """A session whose second statement loses a deadlock, the first time."""

        lost = False

        def run(self, statement: bytes, what: str) -> None:
            if b"a_two" in statement and not Once.lost:
                Once.lost = True
                raise RestoreError("deadlock detected") from psycopg.errors.DeadlockDetected()
            super().run(statement, what)

    head = b"-- Name: %s; Type: INDEX; Schema: public; Owner: -\n"
    text = (
        b"CREATE TABLE public.a (x int);\nCREATE TABLE public.b (x int);\n"
        + head % b"a_one" + b"CREATE INDEX a_one ON public.a (x);\nCREATE INDEX a_two ON public.a (x);\n"
        + head % b"b_one" + b"CREATE INDEX b_one ON public.b (x);\n"
    )  # fmt: skip
    with empty_database.connect() as one, empty_database.connect() as two:
        SqlRunner([Once(one, "a"), Once(two, "a")]).run(scan([text]))
    assert Once.lost
    assert empty_database.query("SELECT count(*) FROM pg_index WHERE indrelid::regclass::text ~ '^[ab]$'") == [(3,)]


def assert_nobody_is_left(database: TestDatabase) -> None:
    assert not [each for each in threading.enumerate() if each.name.startswith("load-")]
    left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    for _ in range(50):
        if database.query(left) == [(0,)]:
            return
        database.query("SELECT pg_sleep(0.1)")
    pytest.fail("connections of the load are still open")


# What psql does with hand-made files, and so must we.

TABLES = b"CREATE TABLE public.a (x text);\nCREATE TABLE public.b (x text);\n"
ROWS = b"COPY public.a (x) FROM stdin;\n1\n\\.\n"
END = LAST + b"--\n\n"


TWICE = {
    "inserted before": (b"INSERT INTO public.a VALUES ('0');\n" + ROWS, ["0", "1"]),
    "in two blocks": (ROWS + ROWS.replace(b"1", b"2"), ["1", "2"]),
    "in two equal blocks": (ROWS + ROWS, ["1", "1"]),
    "in two runs": (ROWS + b"ALTER TABLE public.a OWNER TO postgres;\n" + ROWS.replace(b"1", b"2"), ["1", "2"]),
    "in two equal runs": (ROWS + b"ALTER TABLE public.a OWNER TO postgres;\n" + ROWS, ["1", "1"]),
    "under two names": (b"SET search_path = public;\n" + ROWS + b"COPY a (x) FROM stdin;\n2\n\\.\n", ["1", "2"]),
}


@pytest.mark.parametrize("codec", FOREIGN)
@pytest.mark.parametrize("how", TWICE)
def test_no_row_is_lost_that_stands_in_the_file_in_two_places(
    empty_database: TestDatabase, codec: Codec, how: str
) -> None:
    text, rows = TWICE[how]
    load_into(empty_database, archive(FOREIGN[codec](TABLES + text + END), codec), 2)
    assert empty_database.query("SELECT x FROM a ORDER BY x") == [(each,) for each in rows]


def test_equally_named_tables_of_two_schemas_get_their_own_rows(empty_database: TestDatabase) -> None:
    """As pg_dump wrote it before 10.3: unqualified, after SET search_path."""
    text = b"CREATE SCHEMA s1;\nCREATE SCHEMA s2;\nCREATE TABLE s1.a (x int);\nCREATE TABLE s2.a (x int);\n"
    for number in b"12":
        text += b"SET search_path = s%c, pg_catalog;\nCOPY a (x) FROM stdin;\n%c\n\\.\n" % (number, number)
    load_into(empty_database, archive(gzip.compress(text + END), Codec.GZIP))
    assert empty_database.query("SELECT s1.a.x, s2.a.x FROM s1.a, s2.a") == [(1, 2)]


def test_a_large_foreign_table_in_another_encoding_is_cut_into_batches(
    empty_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_batches, "_WHOLE_BYTES", 1000)
    monkeypatch.setattr(load_batches, "_BATCH_BYTES", 2000)
    text = "SET client_encoding = 'LATIN1';\nCREATE TABLE public.tür (x int);\nCOPY public.tür (x) FROM stdin;\n"
    load_into(empty_database, archive(text.encode("latin-1") + b"1\n" * 5000 + b"\\.\n" + END))
    assert empty_database.query('SELECT count(*) FROM "tür"') == [(5000,)]


@pytest.mark.parametrize("jobs", sample_of([1, 3], [1]))
def test_a_dump_in_a_single_transaction_is_loaded(
    source: TestDatabase, empty_database: TestDatabase, tmp_path: Path, jobs: int
) -> None:
    file = str(tmp_path / "dump")
    output_of([str(binaries() / "pg_dump"), "-Fc", "-d", source.url, "-f", file], environment())
    text = output_of([str(binaries() / "pg_restore"), "--single-transaction", "-f", "-", file], environment()).encode()
    assert b"\nBEGIN;\n" in text
    unknown = b"BEGIN;\n\nSET unheard_of = 0;\n"  # a newer program's
    loaded = load_into(empty_database, archive(text.replace(b"BEGIN;\n", unknown, 1)), jobs)
    assert loaded.rows[TableName("public", "big")] == 60000
    assert copy_of_all_tables(empty_database.url) == copy_of_all_tables(source.url)
    assert schema(empty_database) == schema(source)


def test_rows_whose_check_needs_those_of_a_later_table_load_in_a_transaction_too(empty_database: TestDatabase) -> None:
    function = b"CREATE FUNCTION public.f(text) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS(SELECT FROM public.b)';\n"
    check = b"ALTER TABLE public.a ADD CONSTRAINT c CHECK (public.f(x));\n"
    later = ROWS.replace(b"public.a", b"public.b")
    text = b"BEGIN;\n" + TABLES + function + check + ROWS * 2 + later + b"COMMIT;\n"
    load_into(empty_database, archive(text + END))
    assert empty_database.query("SELECT x FROM a") == [("1",), ("1",)]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("middle", [b"", b"BEGIN;\n"])
def test_a_transaction_that_the_file_leaves_open_is_no_success(
    empty_database: TestDatabase, jobs: int, middle: bytes
) -> None:
    with pytest.raises(RestoreValidationError, match="begins a transaction and does not end it"):
        load_into(empty_database, archive(b"BEGIN;\n" + TABLES + middle + ROWS + END), jobs)
    assert copy_of_all_tables(empty_database.url) == {}


def test_a_setting_that_is_not_utf_8_and_unknown_is_passed_over(empty_database: TestDatabase) -> None:
    load_into(
        empty_database, archive(b"SET client_encoding = 'LATIN1';\nSET foo_bar /*\xff*/ = 0;\n" + TABLES + ROWS + END)
    )
    assert empty_database.query("SELECT x FROM a") == [("1",)]


LIES = {
    "a comment over two segments": [
        (SegmentKind.BEFORE, TABLES + b"/*"),
        (SegmentKind.BEFORE, b"COMMENT ON TABLE a IS '*/ DO $$BEGIN CREATE TABLE owned(); END$$; --';\n"),
    ],
    "a line over two segments": [
        (SegmentKind.BEFORE, TABLES + b"/* x\n"),
        (SegmentKind.BEFORE, b"-- */ COPY public.a FROM PROGRAM 'touch /tmp/owned';\n"),
    ],
}


@pytest.mark.parametrize("lie", LIES)
def test_segments_that_read_otherwise_when_joined_run_nothing(empty_database: TestDatabase, lie: str) -> None:
    out = io.BytesIO()
    writer = ArchiveWriter(out, Codec.NONE)
    writer.add(Chunk(SegmentHeader(kind), text) for kind, text in LIES[lie])
    index = replace(writer.finish(), complete=True)
    with pytest.raises(RestoreValidationError, match=r"a statement that no dump has|does not take its rows"):
        load_into(empty_database, archive(out.getvalue(), Codec.NONE, index))
    assert '"public"."owned"' not in copy_of_all_tables(empty_database.url)


def test_rows_that_a_manifest_calls_sql_are_not_run(empty_database: TestDatabase) -> None:
    before = TABLES + b"COPY public.a (x) FROM stdin;\n1\n"
    rows = b"DO $$BEGIN CREATE TABLE owned(); END$$;\n"
    text = before + rows + b"\\.\n" + END
    out = io.BytesIO()
    writer = ArchiveWriter(out, Codec.NONE)
    writer.add(
        [
            Chunk(SegmentHeader(SegmentKind.DATA, TableName("public", "zz"), ()), before),
            Chunk(SegmentHeader(SegmentKind.AFTER), rows),
        ]
    )
    index = writer.finish()
    segments = tuple(replace(each, offset=None, bytes=None) for each in index.segments)
    lying = replace(index, segments=segments, tables=(), complete=True)
    with pytest.raises(RestoreValidationError):
        load_into(empty_database, archive(gzip.compress(text), Codec.GZIP, lying))
    assert '"public"."owned"' not in copy_of_all_tables(empty_database.url)


def test_a_byte_order_mark_is_passed_over(empty_database: TestDatabase) -> None:
    load_into(empty_database, archive(b"\xef\xbb\xbf" + TABLES + ROWS + END))
    assert empty_database.query("SELECT x FROM a") == [("1",)]


def test_a_schema_called_like_a_header_is_loaded(empty_database: TestDatabase) -> None:
    name = "q; Type: INDEX; Schema: "
    empty_database.execute(f'CREATE SCHEMA "{name}"; CREATE TABLE "{name}".t (id serial PRIMARY KEY, u int UNIQUE)')
    empty_database.execute(f'INSERT INTO "{name}".t (u) VALUES (1); CREATE INDEX ON "{name}".t (u, id)')
    text = output_of([str(binaries() / "pg_dump"), "-d", empty_database.url], environment()).encode()
    empty_database.execute(f'DROP SCHEMA "{name}" CASCADE')
    load_into(empty_database, archive(text))
    assert empty_database.query(f'SELECT id, u FROM "{name}".t') == [(1, 1)]


def test_what_a_newer_server_noted_for_itself_is_passed_over(empty_database: TestDatabase, stock: bytes) -> None:
    """An older pg_dump writes it down; this server says "unrecognized parameter" to it."""
    table = b"ALTER TABLE public.big OWNER TO "
    note = b"ALTER TABLE ONLY public.big ALTER COLUMN id SET (pg_attver=36092272);\n"
    noted = stock.replace(table, note + table, 1)
    assert noted != stock
    load_into(empty_database, archive(noted))
    assert empty_database.query("SELECT count(*) FROM big") == [(60000,)]
