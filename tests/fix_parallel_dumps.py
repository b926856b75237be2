"""A database of large and small tables, dumps of it in many ranges, and files whose writing something interrupts."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest

from app.archive.index import Index
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres
from app.postgres.database import Database
from app.postgres.dump import ranges
from app.postgres.dump.source import PostgresSource
from tests.fix_postgres import TestDatabase, scratch_database

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


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a table of a megabyte is a large one."""
    monkeypatch.setattr(ranges, "RANGE_BYTES", 256 << 10)
    monkeypatch.setattr(ranges, "LARGE_BYTES", 512 << 10)
    monkeypatch.setattr(ranges, "MANY_BYTES", 1 << 20)


@pytest.fixture(scope="session")
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
