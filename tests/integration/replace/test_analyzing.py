"""Statistics are made beside the proof, unless that could change what is proven."""

from __future__ import annotations

import io

import pytest
from structlog.testing import capture_logs

from app.archive.reader import Archive
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.errors import RestoreDataError
from app.ports.target import LoadOptions
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from app.postgres.load import statistics
from app.postgres.target import PostgresTarget
from tests.fix_postgres import TestDatabase

ROWS = "CREATE TABLE a (i int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 500); CREATE TABLE b (j int);"
INDEX = """
    CREATE FUNCTION half(i int) RETURNS int IMMUTABLE LANGUAGE sql RETURN i / 2;
    CREATE INDEX a_half ON a (half(i));"""
STATISTICS = "SELECT count(*) FROM pg_stats WHERE schemaname = 'public'"


def _archive(database: TestDatabase) -> tuple[Archive, LoadOptions]:
    source, out = PostgresSource(Database.from_url(database.url)), io.BytesIO()
    with source.snapshot() as snapshot:
        writer = ArchiveWriter(out, Codec.NONE)
        snapshot.dump_into(writer)
        index = writer.finish()
    archive = Archive(lambda: io.BytesIO(out.getvalue()), Codec.NONE, index)
    return archive, LoadOptions(facts=source.facts(), proven_next=True)


@pytest.mark.parametrize(("more", "after_load", "after_proof"), [("", 0, 1), (INDEX, 2, 2)])
def test_statistics_are_there_when_a_database_is_proven(
    empty_database: TestDatabase, more: str, after_load: int, after_proof: int
) -> None:
    empty_database.execute(ROWS + more)
    archive, options = _archive(empty_database)
    target, new = PostgresTarget(Database.from_url(empty_database.url)), f"{empty_database.name}_new"
    made = TestDatabase(new, empty_database.url.replace(empty_database.name, new))
    target.create(new, None)
    try:
        target.load(new, archive, options, lambda _: None)
        assert made.query(STATISTICS) == [(after_load,)]
        assert target.prove(new, archive, options, lambda _: None) == []
        assert made.query(STATISTICS) == [(after_proof,)]
        made.execute("DELETE FROM a WHERE i = 7")
        with pytest.raises(RestoreDataError, match=r"table public\.a has 499 rows, not 500"):
            target.prove(new, archive, options, lambda _: None)
    finally:
        target.drop(new)


def test_a_statement_that_somebody_cancels_costs_the_statistics_alone(
    empty_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_database.execute(ROWS)
    archive, options = _archive(empty_database)
    monkeypatch.setattr(statistics, "_TABLES", "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(60)")
    target = PostgresTarget(Database.from_url(empty_database.url))
    with capture_logs() as logs:
        assert target.prove(empty_database.name, archive, options, lambda _: None) == []
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == [
        "restore leaves tables without statistics"
    ]
