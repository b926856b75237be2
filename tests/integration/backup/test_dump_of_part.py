"""A dump of some tables: psql takes it in an empty database, and it holds no other rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.archive.index import TableName
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres
from app.ports.source import Part
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from tests.fix_postgres import TestDatabase, psql, scratch_database

LEAVE, SHIFTS, MOODS = (TableName("public", name) for name in ("Leave \r\n|*", "shifts", "moods"))
FIRST, SECOND = TableName("public", "shifts_1"), TableName("public", "shifts_2")
SCHEMA = r"""
CREATE TABLE people (id int PRIMARY KEY, name text);
INSERT INTO people VALUES (1, 'Ada'), (2, 'Grace');
CREATE TABLE shifts (id int PRIMARY KEY, person int REFERENCES people, before int REFERENCES shifts)
    PARTITION BY RANGE (id);
CREATE TABLE shifts_1 PARTITION OF shifts FOR VALUES FROM (1) TO (10);
CREATE TABLE shifts_2 PARTITION OF shifts FOR VALUES FROM (10) TO (20);
INSERT INTO shifts VALUES (1, 1, NULL), (11, 2, 1);
CREATE TABLE U&"Leave \000D\000A|*" (id serial PRIMARY KEY, person int, shift int REFERENCES shifts,
    CONSTRAINT U&"by \000D\\! echo" FOREIGN KEY (person) REFERENCES people ON DELETE CASCADE);
COMMENT ON CONSTRAINT U&"by \000D\\! echo" ON U&"Leave \000D\000A|*" IS 'whose';
INSERT INTO U&"Leave \000D\000A|*" (person, shift) VALUES (1, 1), (1, 11), (2, 1);
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE moods (id int, mood mood) PARTITION BY HASH (mood);
CREATE TABLE moods_1 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE moods_2 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO moods SELECT i, (ARRAY['good', 'bad']::mood[])[1 + i % 2] FROM generate_series(1, 9) i;
CREATE MATERIALIZED VIEW ratio AS SELECT 100 / (SELECT count(*) FROM people) AS n;
SELECT lo_create(4711);
"""


@pytest.fixture
def full(empty_database: TestDatabase) -> TestDatabase:
    empty_database.execute(SCHEMA)
    return empty_database


def dump(database: TestDatabase, file: Path, *tables: TableName) -> dict[TableName, int]:
    """Dump these tables; the number of rows that the file has of each."""
    part = Part(tables=frozenset(tables), names=tuple(map(str, tables)), size=0)
    source = PostgresSource(Database.from_url(database.url), 2)
    with file.open("wb") as stream, source.snapshot(part) as snapshot:
        writer = ArchiveWriter(stream, Codec.NONE)
        snapshot.dump_into(writer)
        index = writer.finish()
    assert index.complete
    assert snapshot.tables == {digest.table for digest in index.tables}
    return {digest.table: digest.rows for digest in index.tables}


def test_psql_takes_the_dump_of_some_tables_and_finds_no_other_rows(
    full: TestDatabase, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    file = tmp_path / "part.sql"
    rows = dump(full, file, LEAVE, FIRST, SECOND)
    assert rows == {LEAVE: 3, FIRST: 1, SECOND: 1}
    assert file.read_bytes().startswith(b"-- NOT A WHOLE DATABASE.")
    with scratch_database(postgres_server) as other:
        psql(other.url, file)
        (counts,) = other.query(
            'SELECT (SELECT count(*) FROM U&"Leave \\000D\\000A|*"), (SELECT count(*) FROM shifts),'
            " (SELECT count(*) FROM people) + (SELECT count(*) FROM moods),"
            " (SELECT count(*) FROM pg_largeobject_metadata),"
            " (SELECT last_value FROM pg_sequences), (SELECT relispopulated FROM pg_class WHERE relname = 'ratio')"
        )
        keys = other.query(
            "SELECT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND conparentid = 0"
        )
    assert counts == (3, 2, 0, 0, 3, False)
    assert {name for (name,) in keys} == {"shifts"}  # those to people stand in the file as comments
    assert b"-- ALTER TABLE" in file.read_bytes()


def test_rows_that_are_dumped_through_their_root_are_in_it_too(full: TestDatabase, tmp_path: Path) -> None:
    parts = (TableName("public", name) for name in ("moods_1", "moods_2"))
    assert dump(full, tmp_path / "part.sql", *parts) == {MOODS: 9}


def test_large_tables_that_are_not_chosen_are_not_read(full: TestDatabase, tmp_path: Path) -> None:
    for name in ("one", "two"):
        full.execute(f"CREATE TABLE {name} AS SELECT i, repeat(md5(i::text), 30) AS t FROM generate_series(1, 12000) i")
    rows = dump(full, tmp_path / "part.sql", TableName("public", "one"))
    assert rows == {TableName("public", "one"): 12000}
    assert b"COPY public.two" not in (tmp_path / "part.sql").read_bytes()
