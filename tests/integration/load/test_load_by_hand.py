"""A load does with files that somebody wrote or changed by hand what psql does."""

from __future__ import annotations

import gzip
import io
from dataclasses import replace
from pathlib import Path

import pytest

from app.archive.index import SegmentKind, TableName
from app.archive.scanner import Chunk, SegmentHeader
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.embedded.postgres import binaries
from app.embedded.server import environment
from app.errors import (
    RestoreValidationError,
)
from app.postgres.load import batches as load_batches
from app.postgres.programs import output_of
from tests.fix_loads import FOREIGN, LAST, archive, load_into, schema
from tests.fix_postgres import TestDatabase, copy_of_all_tables
from tests.tiers import sample_of

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
    assert loaded.rows[TableName("public", "big")] == 20000
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
    assert empty_database.query("SELECT count(*) FROM big") == [(20000,)]
