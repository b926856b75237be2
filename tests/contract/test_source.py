"""What every source of backups must do, whatever it reads. A new adapter is one more line in SOURCES."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from app.archive.index import Index, TableName
from app.archive.reader import build_index
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.ports.source import Part, Snapshot, Source
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from tests.fakes.source import CannedSource
from tests.fix_postgres import TestDatabase

PEOPLE, SHIFTS = TableName("public", "people"), TableName("public", "shifts")
Change = Callable[[], object]


def canned(_: pytest.FixtureRequest) -> tuple[Source, Change]:
    source = CannedSource()
    return source, source.rows["people"].clear


def real(request: pytest.FixtureRequest) -> tuple[Source, Change]:
    database: TestDatabase = request.getfixturevalue("empty_database")
    for statement in (
        "CREATE TABLE people (a text PRIMARY KEY, b text)",
        "CREATE TABLE shifts (a text PRIMARY KEY, b text)",
        "INSERT INTO people VALUES ('1', 'Ada'), ('2', 'Grace')",
        "INSERT INTO shifts VALUES ('2025-01-15', '1'), ('2025-01-16', '2')",
    ):
        database.execute(statement)
    return PostgresSource(Database.from_url(database.url), 2), lambda: database.execute("DELETE FROM people")


SOURCES = {"canned": canned, "postgres": real}


@pytest.fixture(params=SOURCES)
def made(request: pytest.FixtureRequest) -> Iterator[tuple[Source, Change]]:
    return SOURCES[request.param](request)


@pytest.fixture
def source(made: tuple[Source, Change]) -> Source:
    return made[0]


def dumped(snapshot: Snapshot, codec: Codec = Codec.NONE) -> tuple[bytes, Index]:
    out = io.BytesIO()
    writer = ArchiveWriter(out, codec)
    snapshot.dump_into(writer)
    return out.getvalue(), writer.finish()


def test_a_dump_is_whole_and_carries_every_table_of_its_snapshot(source: Source) -> None:
    with source.snapshot() as snapshot:
        _, index = dumped(snapshot)
    assert index.complete
    assert snapshot.tables == {PEOPLE, SHIFTS}
    assert {digest.table: digest.rows for digest in index.tables} == {PEOPLE: 2, SHIFTS: 2}


def test_a_dump_of_a_part_has_the_rows_of_its_tables_alone(source: Source) -> None:
    part = Part(tables=frozenset({SHIFTS}), names=("public.shifts",), size=1 << 20)
    with source.snapshot(part) as snapshot:
        content, index = dumped(snapshot)
    assert index.complete
    assert snapshot.tables == {SHIFTS}
    assert {digest.table: digest.rows for digest in index.tables} == {SHIFTS: 2}
    assert b"CREATE TABLE public.people" in content
    with source.snapshot() as snapshot:
        assert snapshot.tables == {PEOPLE, SHIFTS}


@pytest.mark.parametrize("codec", Codec)
def test_the_file_alone_gives_the_same_index(source: Source, codec: Codec) -> None:
    with source.snapshot() as snapshot:
        content, index = dumped(snapshot, codec)
    assert build_index(io.BytesIO(content), codec).tables == index.tables


def test_a_snapshot_shows_one_instant_whatever_changes_meanwhile(made: tuple[Source, Change]) -> None:
    source, change = made
    with source.snapshot() as snapshot:
        change()
        _, before = dumped(snapshot)
    with source.snapshot() as snapshot:
        _, after = dumped(snapshot)
    assert (before.rows, after.rows) == (4, 2)


def test_one_content_gives_one_digest_each_time(source: Source) -> None:
    indexes = []
    for _ in range(2):
        with source.snapshot() as snapshot:
            indexes.append(dumped(snapshot)[1])
    assert indexes[0].tables == indexes[1].tables


def test_a_snapshot_says_when_it_was_taken_and_where_the_log_stood(source: Source) -> None:
    with source.snapshot() as snapshot:
        dumped(snapshot)
    assert abs(snapshot.taken_at - datetime.now(UTC)) < timedelta(minutes=1)
    assert re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", snapshot.wal_position or "")
    assert list(snapshot.doubts) == []


def test_what_the_server_is_agrees_with_who_it_is(source: Source) -> None:
    facts = source.facts()
    assert facts.identity == source.identity()
    assert facts.size > 0
    assert facts.version.startswith(str(facts.major))
    assert int(source.dump_program_version(facts).partition(".")[0]) >= facts.major


def test_a_survey_has_what_each_question_is_answered_with(source: Source) -> None:
    survey = source.survey()
    assert survey.facts.model_copy(update={"size": 0}) == source.facts().model_copy(update={"size": 0})
    assert survey.unreadable == source.unreadable()
    assert survey.left_out == source.left_out()
    assert survey.undumped == source.undumped()


def test_a_healthy_database_gives_no_reason_to_complain(source: Source) -> None:
    found = [source.unreadable(), source.doubts(), source.at_login(), source.left_out(), source.undumped()]
    assert [list(complaints) for complaints in found] == [[]] * 5
    assert source.role
    assert source.database
