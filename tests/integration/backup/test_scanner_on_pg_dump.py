"""The scanner on what the real pg_dump writes of a nasty database: it finds the tables, and exactly their rows."""

from __future__ import annotations

import io
import subprocess

import psycopg
import pytest
from psycopg import sql

from app.archive.digest import RowDigest
from app.archive.index import SegmentKind, TableName
from app.archive.reader import build_index
from app.archive.scanner import scan
from app.archive.verify import verify
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.embedded.postgres import binaries
from tests.fix_postgres import TestDatabase

FAKE = "COPY fake (a) FROM stdin;\n1\n\\.\n"
NASTY = [
    "CREATE TABLE plain (id int PRIMARY KEY, t text, b bytea, a text[])",
    r"""INSERT INTO plain VALUES
        (1, E'\\.', '\x5c2e0a', ARRAY[E'\\.', 'a,b']),
        (2, E'\n\\.\n', '\x00', '{}'),
        (3, E'tab\there\r\n', NULL, NULL),
        (4, E'COPY fake (a) FROM stdin;\n1\n\\.\n', '', ARRAY['it''s']),
        (5, '', '\x', ARRAY[NULL, 'NULL']),
        (6, repeat('a long line ', 300000), NULL, NULL)""",
    "CREATE TABLE empty (a int)",
    "CREATE TABLE no_columns ()",
    "INSERT INTO no_columns DEFAULT VALUES",
    "INSERT INTO no_columns DEFAULT VALUES",
    'CREATE SCHEMA "Odd; schema"',
    'CREATE TABLE "Odd; schema"."new\nline ""quoted"" $$ it\'s" ("a,b" int, "c)d" text, "größe" text)',
    'INSERT INTO "Odd; schema"."new\nline ""quoted"" $$ it\'s" VALUES (1, $$\\.$$, \'ü\')',
    'CREATE TABLE "FROM stdin;" ("COPY x FROM stdin;" serial, g int GENERATED ALWAYS AS (1) STORED)',
    'INSERT INTO "FROM stdin;" DEFAULT VALUES',
    f"COMMENT ON TABLE plain IS $c$it's\n{FAKE}-- Name: x; Type: SEQUENCE SET; Schema: public; Owner: -\n\\$c$",
    f"CREATE VIEW v AS SELECT E'{FAKE}\\\\ \\'' AS a, $$--$$::text AS b",
    f"CREATE FUNCTION dollars(int) RETURNS text LANGUAGE sql AS $$ SELECT $_$\n{FAKE}$_$ || $1 $$",
    f"CREATE FUNCTION plain_body() RETURNS text LANGUAGE plpgsql AS 'BEGIN /* '' */ RETURN ''\n{FAKE}''; END'",
    "CREATE FUNCTION atomic(a int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT length(';') + a; END",
    "CREATE RULE r AS ON INSERT TO empty DO ALSO (SELECT 1; SELECT ';')",
    "CREATE FUNCTION op(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OPERATOR -|/ (FUNCTION = op, LEFTARG = int, RIGHTARG = int)",
    "CREATE TABLE parted (a int, b text) PARTITION BY LIST (a)",
    "CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1)",
    "INSERT INTO parted VALUES (1, 'x'), (1, 'y')",
    "CREATE MATERIALIZED VIEW m AS SELECT 1 AS a",
    "CREATE INDEX i ON plain (id) WHERE t <> E';\\''",
    "SELECT lo_create(424242)",
    "COMMENT ON LARGE OBJECT 424242 IS 'a large; object'",
    "GRANT SELECT ON LARGE OBJECT 424242 TO PUBLIC",
    "SELECT lo_from_bytea(0, convert_to(E'\\n\\\\.\\nCOPY x FROM stdin;\\n', 'UTF8'))",
]


@pytest.fixture
def nasty_database(empty_database: TestDatabase) -> TestDatabase:
    for statement in NASTY:
        empty_database.execute(statement)
    return empty_database


def pg_dump(url: str, *options: str) -> bytes:
    return subprocess.run([binaries() / "pg_dump", *options, url], capture_output=True, check=True).stdout


def rows_on_the_server(url: str, table: TableName, columns: tuple[str, ...] | None) -> tuple[int, str]:
    digest = RowDigest()
    with psycopg.connect(url, client_encoding="utf8") as connection:
        named = sql.SQL(", ").join(map(sql.Identifier, columns or ()))
        listed = sql.SQL("({})").format(named) if columns else sql.SQL("")
        name = sql.Identifier(*table)
        with connection.cursor().copy(sql.SQL("COPY {} {} TO STDOUT").format(name, listed)) as copy:
            for block in copy:
                digest.feed(bytes(block))
    return digest.rows, digest.hexdigest()


def test_the_index_of_a_dump_is_what_the_server_holds(nasty_database: TestDatabase) -> None:
    dump = pg_dump(nasty_database.url)
    index = build_index(io.BytesIO(dump), Codec.NONE)
    assert index.complete
    columns = {each.table: each.columns for each in index.segments if each.table}
    expected = {
        TableName("public", "plain"),
        TableName("public", "empty"),
        TableName("public", "no_columns"),
        TableName("public", "parted_1"),
        TableName("public", "FROM stdin;"),
        TableName("Odd; schema", 'new\nline "quoted" $$ it\'s'),
    }
    assert set(columns) == expected
    for each in index.tables:
        assert (each.rows, each.digest) == rows_on_the_server(nasty_database.url, each.table, columns[each.table])


def test_the_kinds_of_segments_stand_in_their_order(nasty_database: TestDatabase) -> None:
    index = build_index(io.BytesIO(pg_dump(nasty_database.url)), Codec.NONE)
    kinds = [each.kind for each in index.segments]
    assert sorted(kinds, key=list(SegmentKind).index) == kinds
    assert set(kinds) == set(SegmentKind)


@pytest.mark.parametrize(
    "options", [["--clean", "--if-exists"], ["--inserts"], ["--disable-triggers"], ["--no-comments"]]
)
def test_other_kinds_of_dumps_come_through_whole(nasty_database: TestDatabase, options: list[str]) -> None:
    dump = pg_dump(nasty_database.url, *options)
    for size in (977, 65536, len(dump)):
        text = b"".join(chunk.data for chunk in scan(dump[at : at + size] for at in range(0, len(dump), size)))
        assert text == dump
    index = build_index(io.BytesIO(dump), Codec.NONE)
    assert len(index.tables) == (0 if "--inserts" in options else 6)


def test_a_dump_in_latin1_has_the_same_names(nasty_database: TestDatabase) -> None:
    found = build_index(io.BytesIO(pg_dump(nasty_database.url, "--encoding=LATIN1")), Codec.NONE)
    assert ("a,b", "c)d", "größe") in {each.columns for each in found.segments}


@pytest.mark.parametrize("codec", Codec)
def test_an_archive_of_it_is_indexed_alike_by_writer_and_reader(nasty_database: TestDatabase, codec: Codec) -> None:
    dump = pg_dump(nasty_database.url)
    out = io.BytesIO()
    archive = ArchiveWriter(out, codec)
    archive.add(scan([dump]))
    index = archive.finish()
    out.seek(0)
    verify(out, index, codec)
    out.seek(0)
    assert build_index(out, codec) == index
