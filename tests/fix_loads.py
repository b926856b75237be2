"""Archives of a database with many tables, and a way to load one."""

from __future__ import annotations

import gzip
import io
import threading
from collections.abc import Iterator

import pytest
import zstandard

from app.archive.index import Index
from app.archive.reader import Archive, build_index
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres, binaries
from app.embedded.server import environment
from app.ports.target import LoadResult
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from app.postgres.load.loader import load
from app.postgres.programs import output_of
from tests.fix_postgres import TestDatabase, scratch_database

FOREIGN = {Codec.NONE: bytes, Codec.GZIP: gzip.compress, Codec.ZSTD: zstandard.ZstdCompressor(1).compress}
MANY = """
    CREATE TABLE big (id int PRIMARY KEY, t text, at timestamptz DEFAULT '2025-01-01 00:00+00');
    INSERT INTO big SELECT i, repeat('t', i % 300) FROM generate_series(1, 20000) i;
    CREATE INDEX big_t ON big (t); CREATE INDEX big_lower ON big (lower(t)); COMMENT ON INDEX big_t IS 'c';
    CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2';
    DO $$ BEGIN
      FOR i IN 0..19 LOOP
        EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, big int REFERENCES big, next int, u int UNIQUE)', i);
        EXECUTE format('INSERT INTO t%s SELECT j, j, j, -j FROM generate_series(1, 200) j', i);
        EXECUTE format('CREATE INDEX ON t%s (next)', i);
      END LOOP;
      FOR i IN 0..19 LOOP
        EXECUTE format('ALTER TABLE t%s ADD FOREIGN KEY (next) REFERENCES t%s', i, (i + 1) % 20);
        EXECUTE format('ALTER TABLE t%s ADD FOREIGN KEY (next) REFERENCES t%s', (i + 1) % 20, i);
      END LOOP; END $$;
    SELECT lo_from_bytea(0, 'large object');"""


@pytest.fixture(scope="session")
def source(postgres_server: EmbeddedPostgres) -> Iterator[TestDatabase]:
    with scratch_database(postgres_server) as database:
        database.execute(MANY)
        yield database


@pytest.fixture(scope="session")
def stock(source: TestDatabase) -> bytes:
    """What pg_dump says of the source."""
    return output_of([str(binaries() / "pg_dump"), "-d", source.url], environment()).encode()


@pytest.fixture(scope="session")
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


def load_into(database: TestDatabase, source: Archive, jobs: int = 2) -> LoadResult:
    return load(Database.from_url(database.url), source, jobs)


def schema(database: TestDatabase) -> list[str]:
    text = output_of([str(binaries() / "pg_dump"), "--schema-only", "-d", database.url], environment())
    return [line for line in text.splitlines() if not line.startswith("\\")]


LAST = b"--\n-- PostgreSQL database dump complete\n"


def assert_nobody_is_left(database: TestDatabase) -> None:
    assert not [each for each in threading.enumerate() if each.name.startswith("load-")]
    left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    for _ in range(50):
        if database.query(left) == [(0,)]:
            return
        database.query("SELECT pg_sleep(0.1)")
    pytest.fail("connections of the load are still open")
