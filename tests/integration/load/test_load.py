"""The parallel load makes of a file what psql would, on any number of connections."""

from __future__ import annotations

import psycopg
import pytest

from app.archive.index import Index, TableName
from app.archive.scanner import scan
from app.domain.backup import Codec
from app.errors import (
    RestoreError,
)
from app.postgres.load import batches as load_batches
from app.postgres.load.statements import SqlRunner
from app.postgres.session import RestoreSession
from tests.fix_loads import FOREIGN, archive, load_into, schema
from tests.fix_postgres import TestDatabase, copy_of_all_tables
from tests.tiers import pairs, sample_of


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
    assert loaded.rows[TableName("public", "big")] == 20000
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
    assert empty_database.query(analyzed) == [(21,)]


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


def test_a_deadlock_repeats_only_the_statement_that_it_ended(empty_database: TestDatabase) -> None:
    class Once(RestoreSession):
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
