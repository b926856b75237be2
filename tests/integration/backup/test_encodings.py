"""Databases that are not UTF-8: names, values and bytes come back as they were."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from app.archive.index import Index, TableName
from app.archive.reader import Archive, build_index
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres
from app.errors import BackupCreationError
from app.postgres.database import Database
from app.postgres.dump import ranges
from app.postgres.dump.source import PostgresSource
from app.postgres.load.loader import load
from tests.fix_postgres import TestDatabase, psql
from tests.tiers import ALL, thorough_at

ENCODINGS = ["LATIN1", "SQL_ASCII", "UTF8"]
# Each way of restoring once with each encoding, and each of these with tables in ranges and in one go.
WAYS = [
    (encoding, in_ranges, by)
    for place, (by, encoding) in enumerate(
        product(["psql", "load", "load of a file without its manifest"], ENCODINGS),
    )
    for in_ranges in ([True, False] if ALL else [bool(place % 2)])
]
# What the bytes of every value are, whatever the client would make of them.
CONTENT = 'SELECT id, encode(convert_to("größe", getdatabaseencoding()), \'hex\') FROM "Ärzte" ORDER BY id'.encode()


def make(server: EmbeddedPostgres, name: str, encoding: str) -> TestDatabase:
    statement = "CREATE DATABASE {} ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Literal(encoding)))
    return TestDatabase(name, server.url(name))


def query(database: TestDatabase, statement: bytes) -> list[tuple[object, ...]]:
    """The rows of a statement in UTF-8, whatever the server would take a client for."""
    with psycopg.connect(database.url, autocommit=True, client_encoding="UTF8") as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture
def encoding(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(encoding: str, postgres_server: EmbeddedPostgres) -> TestDatabase:
    database = make(postgres_server, "encoded", encoding)
    text = """
        CREATE TABLE "Ärzte" (id int PRIMARY KEY, "größe" text);
        INSERT INTO "Ärzte" SELECT i, 'Müller ' || i || repeat('é', i % 60) FROM generate_series(1, 20000) i;
        COMMENT ON TABLE "Ärzte" IS 'für Ärzte'"""
    query(database, text.encode())
    if encoding == "SQL_ASCII":
        with database.connect() as connection:  # as a client that claims no encoding
            connection.execute('INSERT INTO "Ärzte" VALUES (0, \''.encode() + b"\xff\xfe\x80 no UTF-8 \xe4')")
    return database


def dumped(database: TestDatabase, monkeypatch: pytest.MonkeyPatch, *, in_ranges: bool) -> tuple[bytes, Index]:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 256 << 10)
    monkeypatch.setattr(ranges, "LARGE_BYTES", 256 << 10 if in_ranges else 1 << 40)
    monkeypatch.setattr(ranges, "MANY_BYTES", 0)
    out = io.BytesIO()
    with PostgresSource(Database.from_url(database.url), 2).snapshot() as snapshot:
        archive = ArchiveWriter(out, Codec.NONE)
        snapshot.dump_into(archive)
        index = archive.finish()
    assert any(each.pages for each in index.segments) == in_ranges
    return out.getvalue(), index


@pytest.mark.parametrize(("encoding", "in_ranges", "by"), thorough_at(WAYS, *WAYS[1::2]), indirect=["encoding"])
def test_every_byte_comes_back(
    source: TestDatabase,
    encoding: str,
    postgres_server: EmbeddedPostgres,
    *,
    in_ranges: bool,
    by: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, index = dumped(source, monkeypatch, in_ranges=in_ranges)
    restored = make(postgres_server, "encoded_again", encoding)
    if by == "psql":
        file = tmp_path / "backup.sql"
        file.write_bytes(data)
        psql(restored.url, file)
    else:
        known = index if by == "load" else build_index(io.BytesIO(data), Codec.NONE)
        load(Database.from_url(restored.url), Archive(lambda: io.BytesIO(data), Codec.NONE, known), 2)
    assert query(restored, CONTENT) == query(source, CONTENT)
    assert query(restored, "SELECT obj_description('\"Ärzte\"'::regclass)".encode()) == [("für Ärzte",)]
    assert TableName("public", "Ärzte") in {each.table for each in index.tables}


def test_a_latin1_dump_goes_into_a_utf8_database(
    postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make(postgres_server, "encoded", "LATIN1")
    query(source, 'CREATE TABLE "Ärzte" (id int, "größe" text); INSERT INTO "Ärzte" VALUES (1, \'Müßig\')'.encode())
    data, index = dumped(source, monkeypatch, in_ranges=False)
    restored = make(postgres_server, "encoded_again", "UTF8")
    load(Database.from_url(restored.url), Archive(lambda: io.BytesIO(data), Codec.NONE, index), 2)
    assert query(restored, 'SELECT "größe" FROM "Ärzte"'.encode()) == [("Müßig",)]


def test_an_encoding_that_has_no_way_to_utf8_is_no_passing_failure(postgres_server: EmbeddedPostgres) -> None:
    source = make(postgres_server, "encoded", "MULE_INTERNAL")
    with pytest.raises(BackupCreationError, match="MULE_INTERNAL is not supported") as caught:
        PostgresSource(Database.from_url(source.url)).facts()
    assert not caught.value.transient
    assert caught.value.hint
