"""Files that nobody should have made: what they lack is told, what they hide does not run, and no row is lost."""

from __future__ import annotations

import gzip
import io
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from app.archive.index import Index, SegmentKind, TableName
from app.archive.reader import Archive, build_index
from app.archive.scanner import Chunk, SegmentHeader
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.errors import RestoreDataError, RestoreValidationError
from app.postgres.database import Database
from app.postgres.load.entries import Entry
from app.postgres.load.loader import load
from app.postgres.load.statements import SqlRunner
from app.postgres.session import RestoreSession
from tests.fix_postgres import TestDatabase, copy_of_all_tables, psql

LAST = b"\n--\n-- PostgreSQL database dump complete\n--\n\n"
TABLE = b"CREATE TABLE public.a (x text);\n"
ROW = b"COPY public.a (x) FROM stdin;\n1\n\\.\n"


def archive(data: bytes, codec: Codec = Codec.NONE, index: Index | None = None) -> Archive:
    return Archive(lambda: io.BytesIO(data), codec, index or build_index(io.BytesIO(data), codec))


def load_into(database: TestDatabase, source: Archive, jobs: int = 2) -> int:
    return load(Database.from_url(database.url), source, jobs).rows.get(TableName("public", "a"), 0)


@pytest.mark.parametrize(
    "text",
    [
        TABLE + b"INSERT INTO public.a VALUES ('0');\n" + ROW,
        TABLE + ROW + b"ALTER TABLE public.a OWNER TO postgres;\n" + ROW,
        TABLE + b"SET search_path = public;\n" + ROW + b"COPY a (x) FROM stdin;\n2\n\\.\n",
    ],
)
@pytest.mark.parametrize("codec", [Codec.NONE, Codec.GZIP])
@pytest.mark.parametrize("jobs", [1, 2])
def test_rows_that_are_there_already_stay(
    empty_database: TestDatabase, text: bytes, codec: Codec, jobs: int, tmp_path: Path
) -> None:
    data = text + LAST
    packed = gzip.compress(data) if codec is Codec.GZIP else data
    load_into(empty_database, archive(packed, codec), jobs)
    rows = empty_database.query("SELECT x FROM public.a ORDER BY x")
    empty_database.execute("DROP TABLE public.a")
    file = tmp_path / "dump.sql"
    file.write_bytes(data)
    psql(empty_database.url, file)
    assert rows == empty_database.query("SELECT x FROM public.a ORDER BY x")
    assert len(rows) == 2


@pytest.mark.parametrize("where", [b"PROGRAM 'touch /tmp/owned-by-a-dump'", b"'/etc/passwd'"])
@pytest.mark.parametrize("codec", [Codec.NONE, Codec.GZIP])
def test_a_name_that_hides_where_a_copy_reads_from_runs_nothing(
    empty_database: TestDatabase, where: bytes, codec: Codec
) -> None:
    data = TABLE + b'COPY public.a (x/*,"*/) FROM ' + where + b'--") FROM stdin\n;\n1\n\\.\n' + LAST
    with pytest.raises(RestoreValidationError):
        load_into(empty_database, archive(gzip.compress(data) if codec is Codec.GZIP else data, codec))
    assert not Path("/tmp/owned-by-a-dump").exists()
    assert copy_of_all_tables(empty_database.url) == {}


def segments(*texts: bytes) -> tuple[bytes, Index]:
    """A file whose manifest cuts its SQL in these places."""
    out = io.BytesIO()
    writer = ArchiveWriter(out, Codec.NONE)
    writer.add(Chunk(SegmentHeader(SegmentKind.BEFORE), text) for text in texts)
    index = replace(writer.finish(), complete=True)
    return out.getvalue(), index


@pytest.mark.parametrize(
    "texts",
    [
        (TABLE + b"/*\n", b"COMMENT ON TABLE public.a IS '*/ DO $$BEGIN CREATE TABLE owned(); END$$; --';\n"),
        (TABLE + b"/* x\n", b"-- */ COPY public.a FROM PROGRAM 'touch /tmp/owned-by-a-dump';\n"),
    ],
)
def test_a_manifest_that_cuts_in_the_middle_of_a_comment_hides_nothing(
    empty_database: TestDatabase, texts: tuple[bytes, ...]
) -> None:
    data, index = segments(*texts[:-1], texts[-1] + LAST)
    with pytest.raises(RestoreValidationError):
        load_into(empty_database, archive(data, Codec.NONE, index))
    assert '"public"."owned"' not in copy_of_all_tables(empty_database.url)
    assert not Path("/tmp/owned-by-a-dump").exists()


def test_an_empty_segment_of_data_is_a_typed_error(empty_database: TestDatabase) -> None:
    out = io.BytesIO()
    writer = ArchiveWriter(out, Codec.NONE)
    header = SegmentHeader(SegmentKind.DATA, TableName("public", "a"), ("x",))
    writer.add(
        [
            Chunk(SegmentHeader(SegmentKind.BEFORE), TABLE),
            Chunk(header, b""),
            Chunk(SegmentHeader(SegmentKind.AFTER), LAST),
        ]
    )
    index = replace(writer.finish(), complete=True)
    with pytest.raises(RestoreValidationError, match="is not one COPY block"):
        load_into(empty_database, archive(out.getvalue(), Codec.NONE, index))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_transaction_over_the_data_hangs_nobody(empty_database: TestDatabase, jobs: int) -> None:
    data = TABLE + b"BEGIN;\nCOMMENT ON TABLE public.a IS 'locked';\n" + ROW
    with pytest.raises(RestoreValidationError, match="transaction"):
        load_into(empty_database, archive(data + LAST), jobs)
    empty_database.execute("DROP TABLE public.a")
    assert load_into(empty_database, archive(data + b"COMMIT;\n" + LAST), jobs) == 1


def test_two_runs_of_data_with_tables_of_one_name_are_told_apart(empty_database: TestDatabase) -> None:
    tables = b"CREATE SCHEMA s1; CREATE SCHEMA s2; CREATE TABLE s1.a (x int); CREATE TABLE s2.a (x int);\n"
    block = b"SET search_path = s%d;\nCOPY a (x) FROM stdin;\n%d\n\\.\n"
    data = tables + block % (1, 1) + block % (2, 2)
    load(Database.from_url(empty_database.url), archive(gzip.compress(data + LAST), Codec.GZIP), 2)
    assert empty_database.query("SELECT x FROM s1.a") == [(1,)]
    assert empty_database.query("SELECT x FROM s2.a") == [(2,)]


def test_a_byte_order_mark_is_passed_over(empty_database: TestDatabase) -> None:
    assert load_into(empty_database, archive(b"\xef\xbb\xbf" + TABLE + ROW + LAST)) == 1


@pytest.mark.parametrize("encoding", [b"hex", b"zlib", b"undefined", b"idna"])
def test_an_encoding_that_only_python_knows_is_the_servers_to_refuse(
    empty_database: TestDatabase, encoding: bytes
) -> None:
    with pytest.raises(RestoreDataError, match="client_encoding"):
        load_into(empty_database, archive(b"SET client_encoding = '" + encoding + b"';\n" + TABLE + ROW + LAST))


def test_rows_that_refer_to_later_ones_end_the_load_before_they_fill_the_memory(
    empty_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.postgres.load.batches._BATCH_BYTES", 100)
    monkeypatch.setattr("app.postgres.load.batches._WHOLE_BYTES", 100)
    function = (
        b"SET check_function_bodies = off;\n"
        b"CREATE FUNCTION public.there() RETURNS boolean LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.b)';\n"
        b"CREATE TABLE public.b (x int);\nCREATE TABLE public.a (x text CHECK (public.there()));\n"
    )
    rows = b"COPY public.a (x) FROM stdin;\n" + b"row\n" * 500 + b"\\.\nCOPY public.b (x) FROM stdin;\n1\n\\.\n"
    data = gzip.compress(function + rows + LAST)
    assert load_into(empty_database, archive(data, Codec.GZIP), 1) == 500
    empty_database.execute("DROP TABLE public.a, public.b; DROP FUNCTION public.there")
    monkeypatch.setattr("app.postgres.load.data._HELD_BYTES", 1000)
    with pytest.raises(RestoreDataError, match="check constraint"):
        load_into(empty_database, archive(data, Codec.GZIP), 1)


class Deadlocked(RestoreSession):
    """A session whose second statement deadlocks once."""

    def __init__(self, connection: psycopg.Connection, database: str) -> None:
        super().__init__(connection, database)
        self.left = 2

    def run(self, statement: bytes, what: str) -> None:
        if statement.startswith(b"ALTER TABLE a CLUSTER"):
            self.left -= 1
            if self.left == 1:
                with self.translated(what):
                    raise psycopg.errors.DeadlockDetected("deadlock detected")
        super().run(statement, what)


def test_an_entry_that_deadlocks_goes_on_where_it_was(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE a (x int); CREATE TABLE b (x int)")
    sql = (
        "-- Name: i1; Type: INDEX; Schema: public; Owner: -\n\nCREATE INDEX i1 ON a (x);\n"
        "ALTER TABLE a CLUSTER ON i1;\n\n"
        "-- Name: i2; Type: INDEX; Schema: public; Owner: -\n\nCREATE INDEX i2 ON b (x);\n\n"
    )
    with empty_database.connect() as one, empty_database.connect() as other:
        sessions = [Deadlocked(each, "a") for each in (one, other)]
        header = SegmentHeader(SegmentKind.AFTER)
        runner = SqlRunner(sessions)
        runner.run(Chunk(header, text.encode()) for text in _statements(sql))
    assert [each.left for each in sessions].count(2) <= 1
    clustered = "SELECT relname FROM pg_index JOIN pg_class ON oid = indexrelid WHERE indisclustered"
    assert empty_database.query(clustered) == [("i1",)]


def _statements(sql: str) -> list[str]:
    return [f"{part};\n" for part in sql.split(";\n") if part.strip()]


def test_entries_know_what_is_left_of_them() -> None:
    entry = Entry(b"INDEX", "index i", {}, [b"CREATE INDEX i ON a (x);"])
    assert entry.locks is not None
    assert entry.locks.shared == {b"a"}


@pytest.mark.parametrize(
    ("type_", "value"), [("int", b'top "secret"x'), ("int", b"98765432101"), ("date", b"secret"), ("int[]", b"{secret")]
)
def test_no_value_of_a_row_is_told(empty_database: TestDatabase, type_: str, value: bytes) -> None:
    table = f"CREATE TABLE public.a (x {type_});\n".encode()
    with pytest.raises(RestoreDataError) as caught:
        load_into(empty_database, archive(table + b"COPY public.a (x) FROM stdin;\n" + value + b"\n\\.\n" + LAST))
    assert "secret" not in caught.value.message
    assert "98765432101" not in caught.value.message
    assert "line 1 of its rows, column x" in caught.value.message
