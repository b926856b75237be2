"""The parallel dump on a real server: one file, the same whatever the number of jobs, and never half of one."""

from __future__ import annotations

import io
import re
import threading
from pathlib import Path

import pytest

from app.archive.index import SegmentKind, TableName
from app.archive.reader import build_index
from app.archive.verify import verify
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres
from app.postgres.database import Database
from app.postgres.digest import table_digest, use_read_settings
from app.postgres.dump import ranges
from app.postgres.dump.source import PostgresSource
from tests.fix_parallel_dumps import dumped
from tests.fix_postgres import TestDatabase, copy_of_all_tables, psql, scratch_database
from tests.tiers import pairs, sample_of, times

pytestmark = pytest.mark.usefixtures("small_ranges")

TOKEN = re.compile(rb"^\\(un)?restrict .*$", re.MULTILINE)


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
        assert [each.xxh128 for each in index.segments][1:-1] == [each.xxh128 for each in first[1].segments][1:-1]
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
    assert [(s.kind, s.table, s.columns, s.offset, s.bytes, s.xxh128) for s in found.segments] == [
        (s.kind, s.table, s.columns, s.offset, s.bytes, s.xxh128) for s in index.segments
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
    seen, rounds = set(), times(4, 50)
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
