"""The parallel dump on a real server: one file, the same whatever the number of jobs, and never half of one."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import structlog

from app.archive.index import Index, SegmentKind, TableName
from app.archive.reader import build_index, verify
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres
from app.embedded.server import wait_until
from app.errors import BackupCreationError, ServerUnavailableError
from app.postgres import facts
from app.postgres.database import Database
from app.postgres.digest import table_digest, use_read_settings
from app.postgres.dump import ranges
from app.postgres.dump import workers as crew
from app.postgres.dump.source import PostgresSource
from tests.fix_postgres import TestDatabase, copy_of_all_tables, psql, scratch_database
from tests.tiers import pairs, sample_of, times

TOKEN = re.compile(rb"^\\(un)?restrict .*$", re.MULTILINE)
MIXED = """
    CREATE TABLE "B large" (id bigint PRIMARY KEY, "a column" text, twice bigint GENERATED ALWAYS AS (id * 2) STORED);
    CREATE TABLE a_small (id int PRIMARY KEY);
    CREATE TABLE c_small (id int REFERENCES a_small);
    CREATE TABLE d_large (gone int, id int, t text, b bytea);
    ALTER TABLE d_large DROP COLUMN gone;
    CREATE TABLE e_values (id int, large text);
    ALTER TABLE e_values ALTER large SET STORAGE EXTERNAL;
    CREATE TABLE z_small ();
    CREATE SEQUENCE s;
    INSERT INTO "B large" (id, "a column") SELECT i, repeat('x', i % 200) FROM generate_series(1, 60000) i;
    INSERT INTO a_small SELECT generate_series(1, 3);
    INSERT INTO c_small VALUES (2);
    INSERT INTO d_large
        SELECT i, E'tab\\t line\\n \\\\. ' || i, decode(md5(i::text), 'hex') FROM generate_series(1, 30000) i;
    DELETE FROM d_large WHERE id % 3 = 0;
    UPDATE d_large SET t = NULL WHERE id % 7 = 0;
    INSERT INTO e_values SELECT i, repeat(md5(i::text), 10000) FROM generate_series(1, 20) i;
    SELECT setval('s', 42);"""


@pytest.fixture(autouse=True)
def _small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a table of a megabyte is a large one."""
    monkeypatch.setattr(ranges, "RANGE_BYTES", 256 << 10)
    monkeypatch.setattr(ranges, "LARGE_BYTES", 512 << 10)
    monkeypatch.setattr(ranges, "MANY_BYTES", 1 << 20)


@pytest.fixture(scope="module")
def mixed(postgres_server: EmbeddedPostgres) -> Iterator[TestDatabase]:
    with scratch_database(postgres_server) as database:
        database.execute(MIXED)
        database.execute("VACUUM")
        yield database


def dump(url: str, stream: io.BufferedIOBase, codec: Codec = Codec.NONE, jobs: int = 2) -> Index:
    with PostgresSource(Database.from_url(url), jobs).snapshot() as snapshot:
        archive = ArchiveWriter(stream, codec)
        snapshot.dump_into(archive)
        return archive.finish()


def dumped(url: str, codec: Codec = Codec.NONE, jobs: int = 2) -> tuple[bytes, Index]:
    out = io.BytesIO()
    index = dump(url, out, codec, jobs)
    return out.getvalue(), index


class Interrupted(io.BytesIO):
    """A file during whose first write of table data something happens to the server."""

    def __init__(self, happens: Callable[[], None]) -> None:
        super().__init__()
        self._happens: Callable[[], None] | None = happens

    def write(self, data: object, /) -> int:
        if self._happens and b"FROM stdin;" in bytes(data):  # type: ignore[call-overload]
            happens, self._happens = self._happens, None
            happens()
        return super().write(data)  # type: ignore[arg-type]


# What comes out


@pytest.mark.parametrize(("codec", "jobs"), sample_of(pairs(list(Codec), [1, 2, 5]), [2]))
def test_stock_psql_restores_it_and_every_digest_is_that_of_the_restored_table(
    mixed: TestDatabase, empty_database: TestDatabase, tmp_path: Path, codec: Codec, jobs: int
) -> None:
    data, index = dumped(mixed.url, codec, jobs)
    assert sum(each.pages is not None for each in index.segments) > 12
    file = tmp_path / f"backup.sql{codec.suffix}"
    file.write_bytes(data)
    psql(empty_database.url, file)
    assert copy_of_all_tables(empty_database.url) == copy_of_all_tables(mixed.url)
    settings = PostgresSource(Database.from_url(mixed.url)).facts().read_settings
    with empty_database.connect() as connection:
        use_read_settings(connection, settings)
        for each in index.tables:
            assert table_digest(connection, each.table) == each
    verify(io.BytesIO(data), index, codec)


@pytest.mark.parametrize("codec", sample_of(list(Codec), [2]))
def test_an_unchanged_database_gives_the_same_bytes_whatever_the_jobs(mixed: TestDatabase, codec: Codec) -> None:
    first, *others = (dumped(mixed.url, codec, jobs) for jobs in (1, 2, 2, 5))
    for data, index in others:
        assert [each.sha256 for each in index.segments][1:-1] == [each.sha256 for each in first[1].segments][1:-1]
        assert index.tables == first[1].tables
        if codec is Codec.NONE:
            assert TOKEN.sub(b"", data) == TOKEN.sub(b"", first[0])
        else:
            middle = [(each.bytes, each.raw_bytes, each.pages) for each in index.segments]
            assert middle[1:-1] == [(each.bytes, each.raw_bytes, each.pages) for each in first[1].segments][1:-1]


def test_segments_stand_in_the_order_in_which_pg_dump_gives_the_tables(
    mixed: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = dumped(mixed.url)[1]
    monkeypatch.setattr(ranges, "MANY_BYTES", 1 << 40)
    theirs = dumped(mixed.url)[1]
    assert [each.pages for each in theirs.segments] == [None] * len(theirs.segments)
    assert list(dict.fromkeys((each.kind, each.table) for each in ours.segments)) == [
        (each.kind, each.table) for each in theirs.segments
    ]
    assert sorted(ours.tables, key=str) == sorted(theirs.tables, key=str)


def test_pages_of_a_table_follow_one_another_without_a_gap(mixed: TestDatabase) -> None:
    _, index = dumped(mixed.url)
    for name in ("B large", "d_large", "e_values"):
        pages = [each.pages for each in index.segments if each.table == TableName("public", name) and each.pages]
        (size,) = mixed.query("SELECT pg_relation_size(%s::regclass) / 8192", f'public."{name}"')[0]
        (filenode,) = mixed.query("SELECT pg_relation_filenode(%s::regclass)", f'public."{name}"')[0]
        assert {each.relfilenode for each in pages} == {filenode}
        assert [each.first for each in pages] == [0, *(each.last + 1 for each in pages[:-1])]
        assert pages[-1].last == size - 1


@pytest.mark.parametrize("codec", Codec)
def test_a_scan_of_the_file_finds_the_same_segments_and_digests(mixed: TestDatabase, codec: Codec) -> None:
    data, index = dumped(mixed.url, codec)
    found = build_index(io.BytesIO(data), codec)
    assert found.tables == index.tables
    assert [(s.kind, s.table, s.columns, s.offset, s.bytes, s.sha256) for s in found.segments] == [
        (s.kind, s.table, s.columns, s.offset, s.bytes, s.sha256) for s in index.segments
    ]


def test_a_database_of_large_tables_alone_keeps_its_data_before_its_indexes(
    empty_database: TestDatabase, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    empty_database.execute("CREATE TABLE only_one AS SELECT i, repeat('y', 100) AS t FROM generate_series(1, 20000) i")
    for post_data in ("SELECT 1", "ALTER TABLE only_one ADD PRIMARY KEY (i)", "GRANT SELECT ON only_one TO PUBLIC"):
        empty_database.execute(post_data)
        data, index = dumped(empty_database.url)
        kinds = list(dict.fromkeys(each.kind for each in index.segments))
        assert kinds == [SegmentKind.BEFORE, SegmentKind.DATA, SegmentKind.AFTER]
        assert index.complete
        file = tmp_path / "backup.sql"
        file.write_bytes(data)
        with scratch_database(postgres_server) as restored:
            psql(restored.url, file)
            assert copy_of_all_tables(restored.url) == copy_of_all_tables(empty_database.url)


def test_the_wal_position_is_not_behind_what_the_snapshot_misses(empty_database: TestDatabase) -> None:
    source = PostgresSource(Database.from_url(empty_database.url))
    with source.snapshot() as snapshot:
        quiet = snapshot.wal_position
    (now,) = empty_database.query("SELECT pg_current_wal_insert_lsn()")[0]
    assert quiet is not None
    assert empty_database.query("SELECT %s::pg_lsn <= %s::pg_lsn", quiet, now) == [(True,)]
    empty_database.execute("CHECKPOINT")  # who writes is younger than it
    with empty_database.connect() as busy, busy.transaction():
        busy.execute("CREATE TABLE not_seen ()")
        (wrote,) = busy.execute("SELECT pg_current_wal_insert_lsn()").fetchone()  # type: ignore[misc]
        with source.snapshot() as snapshot:
            position = snapshot.wal_position
    assert position is not None
    assert empty_database.query("SELECT %s::pg_lsn < %s::pg_lsn", position, wrote) == [(True,)]


# Under fire


@pytest.mark.timeout(300)
def test_every_dump_restores_in_balance_while_a_writer_moves_amounts(
    empty_database: TestDatabase, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    empty_database.execute("""
        CREATE TABLE debit (id int PRIMARY KEY, amount bigint, filler text);
        CREATE TABLE kredit (id int PRIMARY KEY, amount bigint, filler text);
        INSERT INTO debit SELECT i, 1000, repeat('f', 400) FROM generate_series(1, 3000) i;
        INSERT INTO kredit SELECT i, 1000, repeat('f', 400) FROM generate_series(1, 3000) i""")
    stop, moved = threading.Event(), 0

    def write() -> None:
        nonlocal moved
        with empty_database.connect() as connection:
            while not stop.is_set():
                with connection.transaction():
                    sign = 1 if moved % 2 else -1
                    connection.execute("UPDATE debit SET amount = amount - %s WHERE id = %s", (sign, moved % 3000 + 1))
                    connection.execute(
                        "UPDATE kredit SET amount = amount + %s WHERE id = %s", (sign, moved * 7 % 3000 + 1)
                    )
                    if moved % 50 == 0:
                        connection.execute("DELETE FROM debit WHERE id = 3000 RETURNING amount")
                        connection.execute(
                            "INSERT INTO debit SELECT 3000, 6000000 - (SELECT sum(amount) FROM debit)"
                            " - (SELECT sum(amount) FROM kredit), repeat('g', 400)"
                        )
                moved += 1

    writer = threading.Thread(target=write)
    writer.start()
    seen, rounds = set(), times(8, 50)
    try:
        for number in range(rounds):
            before = moved
            data, index = dumped(empty_database.url, Codec.NONE, jobs=2 + number % 2)
            assert moved > before
            assert sum(each.pages is not None for each in index.segments) >= 8
            file = tmp_path / "backup.sql"
            file.write_bytes(data)
            with scratch_database(postgres_server) as restored:
                psql(restored.url, file)
                ((debit, kredit),) = restored.query(
                    "SELECT (SELECT sum(amount) FROM debit), (SELECT sum(amount) FROM kredit)"
                )
            assert debit + kredit == 6_000_000
            seen.add((index.tables[0].digest, debit))
    finally:
        stop.set()
        writer.join()
    assert len(seen) == rounds  # the writer was at it all the time


# Faults


def test_a_connection_lost_in_one_range_stops_all(mixed: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "WAITING_BYTES", 64 << 10)

    def kill() -> None:
        ended = mixed.query(
            "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'psql' LIMIT 1) x"
        )
        assert ended == [(1,)]

    with pytest.raises(ServerUnavailableError, match="lost during the dump"):
        dump(mixed.url, Interrupted(kill), Codec.NONE, 3)
    assert not [each for each in threading.enumerate() if each.name.startswith("range-reader")]
    left = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name IN ('psql', 'pg_dump')"
    )
    assert wait_until(lambda: mixed.query(left) == [(0,)], 10)


@pytest.mark.parametrize(
    "change",
    ["DROP TABLE e_values", "ALTER TABLE d_large ALTER id TYPE bigint", "TRUNCATE d_large", "VACUUM FULL e_values"],
)
def test_no_table_changes_its_form_before_its_range_is_read(
    mixed: TestDatabase, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "WAITING_BYTES", 64 << 10)
    before = dumped(mixed.url)[1]

    def alter() -> None:
        with mixed.connect() as connection:
            connection.execute("SET lock_timeout = '200ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                connection.execute(change.encode())

    assert dump(mixed.url, Interrupted(alter)).tables == before.tables


@pytest.mark.parametrize("change", ["DROP TABLE z_large", "TRUNCATE z_large"])
def test_a_lost_snapshot_is_an_error_even_where_a_table_was_emptied_meanwhile(
    empty_database: TestDatabase, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "WAITING_BYTES", 64 << 10)
    for name in ("a_large", "z_large"):
        empty_database.execute(f"CREATE TABLE {name} AS SELECT i, repeat('z', 200) t FROM generate_series(1, 20000) i")

    def lose() -> None:
        empty_database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name IN ('residency-backup', 'pg_dump')"
        )
        with empty_database.connect() as connection:
            connection.execute("SET lock_timeout = '5s'")
            connection.execute(change.encode())

    with pytest.raises(BackupCreationError):
        dump(empty_database.url, Interrupted(lose))


def test_a_table_dropped_before_its_range_is_asked_for_fails_the_dump_by_name(
    mixed: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ranges.TableRange.query.fget  # type: ignore[attr-defined]
    missing = property(lambda self: real(self).replace(b"public.d_large", b"public.d_gone"))
    monkeypatch.setattr(ranges.TableRange, "query", missing)
    with pytest.raises(BackupCreationError, match=r"public\.d_gone.* does not exist"):
        dumped(mixed.url)


@pytest.mark.parametrize("too_many", [0, 3])  # others may take what the server said is free
@pytest.mark.parametrize(("limit", "used"), [(5, 3), (3, 1), (2, 0)])
def test_fewer_connections_than_wanted_are_used_and_said(
    mixed: TestDatabase, limit: int, used: int, too_many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = facts.free_connections
    monkeypatch.setattr(facts, "free_connections", lambda connection: real(connection) + too_many)
    role = f"limited_{limit}"
    mixed.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' CONNECTION LIMIT {limit} IN ROLE pg_read_all_data")
    try:
        url = re.sub(r"//[^@]*@", f"//{role}:secret@", mixed.url)
        with structlog.testing.capture_logs() as logs:
            _, index = dumped(url, jobs=8)
    finally:
        mixed.execute(f"DROP ROLE {role}")
    assert index.complete
    assert any(each.pages for each in index.segments) == bool(used)
    (warning,) = (each for each in logs if each["log_level"] == "warning")
    assert (warning["event"], warning["used"], warning["wanted"]) == (
        "backup uses fewer connections than wanted",
        used,
        8,
    )


def test_a_range_is_read_by_a_tid_range_scan(mixed: TestDatabase) -> None:
    with mixed.connect() as connection:
        table = next(each for each in ranges.large_tables(connection) if each.table.name == "d_large")
        second = list(ranges.ranges_of(table, 140000))[1]
        query = second.query.removeprefix(b"COPY (").removesuffix(b") TO STDOUT;")
        plan = connection.execute(b"EXPLAIN " + query).fetchall()
    assert "Tid Range Scan" in plan[0][0]


@pytest.mark.parametrize("of", ["schema", "owner"])
def test_a_name_that_reads_like_a_header_does_not_move_rows_before_their_table(
    postgres_server: EmbeddedPostgres, tmp_path: Path, of: str
) -> None:
    name = "q; Type: INDEX; Schema: "
    with scratch_database(postgres_server) as database, scratch_database(postgres_server) as restored:
        database.execute("CREATE TABLE t AS SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i")
        if of == "schema":
            database.execute(f'CREATE SCHEMA "{name}"; ALTER TABLE t SET SCHEMA "{name}"')
        else:
            database.execute(f'CREATE ROLE "{name}"; ALTER TABLE t OWNER TO "{name}"')
        try:
            file = tmp_path / "backup.sql"
            file.write_bytes(dumped(database.url)[0])
            psql(restored.url, file)
            assert copy_of_all_tables(restored.url) == copy_of_all_tables(database.url)
        finally:
            if of == "owner":
                for each in (restored, database):
                    each.execute(f'DROP OWNED BY "{name}"')
                database.execute(f'DROP ROLE "{name}"')


def test_a_schema_that_is_named_like_a_header_spoils_no_dump(empty_database: TestDatabase, tmp_path: Path) -> None:
    name = '"q; Type: INDEX; Schema: "'
    rows = "SELECT i, repeat(md5(i::text), 30) AS f FROM generate_series(1, 30000) i"
    empty_database.execute(f"CREATE SCHEMA {name}; CREATE TABLE {name}.t AS {rows}")
    file = tmp_path / "dump.sql"
    content, index = dumped(empty_database.url)
    file.write_bytes(content)
    assert not [each for each in index.segments if each.pages]
    before = copy_of_all_tables(empty_database.url)
    empty_database.execute(f"DROP SCHEMA {name} CASCADE")
    psql(empty_database.url, file)
    assert copy_of_all_tables(empty_database.url) == before
