"""Everything that pg_dump carries is carried: the measure is pg_dump itself, on each major of PostgreSQL.

PostgreSQL 18 is tried always, 14 by `make test-thorough`, those between by `make test-matrix`. Security labels are not:
a server takes none without a label provider, which is a module that none of these packages has.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.archive.index import Index, SegmentKind
from app.archive.reader import Archive, build_index
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.postgres.database import Database
from app.postgres.digest import table_digest, use_read_settings
from app.postgres.dump.source import PostgresSource
from app.postgres.load.loader import load
from tests.fix_matrix import Major, at_home, running_major, torment
from tests.fix_postgres import TestDatabase, copy_of_all_tables, psql
from tests.tiers import majors, pairs, sample_of, thorough_at

OLDEST = 14
MAJORS = majors(OLDEST, 18)
STOCK = sample_of([(), ("--rows-per-insert=70",)], (0,))  # rows by INSERT are slow to load
WRITTEN = [(Codec.NONE, 1), (Codec.GZIP, 2), (Codec.ZSTD, 3)]  # codecs, and on how many connections
LOADED = sample_of(WRITTEN[::-1], (0, 1))
VARYING = re.compile(rb"^(\\(un)?restrict .*|-- Dumped (from|by) .*)$", re.MULTILINE)
LARGE_OBJECTS = """
    SELECT oid, md5(lo_get(oid)), lomacl::text, obj_description(oid, 'pg_largeobject')
    FROM pg_largeobject_metadata ORDER BY 1"""


def _thorough(points: list[tuple[Any, ...]]) -> list[Any]:
    return thorough_at(points, *(point for point in points if point[0] == OLDEST))


@pytest.fixture(scope="module", params=thorough_at(MAJORS, OLDEST), ids=lambda each: f"PostgreSQL {each}")
def major(request: pytest.FixtureRequest) -> Iterator[Major]:
    with running_major(request.param) as found:
        yield found


@pytest.fixture(autouse=True)
def _its_own_programs(major: Major, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home(major, monkeypatch)


@pytest.fixture(scope="module")
def tormented(major: Major) -> Iterator[TestDatabase]:
    with major.database("torture") as database:
        torment(major, database)
        yield database


@pytest.fixture(scope="module")
def twin(major: Major, tormented: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> Looks:
    """What stock psql makes of a stock dump: whatever that loses, we may lose."""
    file = tmp_path_factory.mktemp("stock") / "dump.sql"
    file.write_bytes(major.run("pg_dump", database=tormented.name))
    with major.database("twin") as database:
        major.psql(database.name, file)
        return looks_of(major, database)


def dump(database: TestDatabase, codec: Codec, jobs: int, file: Path) -> Index:
    with (
        file.open("wb") as stream,
        PostgresSource(Database.from_url(database.url), jobs).snapshot() as snapshot,
    ):
        archive = ArchiveWriter(stream, codec)
        snapshot.dump_into(archive)
        index = archive.finish()
    assert snapshot.tables == {each.table for each in index.tables}
    assert index.complete
    return index


def text_of(major: Major, database: TestDatabase, *options: str) -> tuple[list[bytes], dict[bytes, list[bytes]]]:
    """What pg_dump says of a database: the SQL, and the rows of each table in one order."""
    lines: list[bytes] = []
    rows: dict[bytes, list[bytes]] = {}
    block: list[bytes] | None = None
    for line in VARYING.sub(b"", major.run("pg_dump", *options, database=database.name)).split(b"\n"):
        if block is None:
            lines.append(line)
            if line.endswith(b" FROM stdin;") and line.startswith((b"COPY ", b"line ")):
                block = rows.setdefault(line, [])
        elif line == b"\\.":
            block = None
        else:
            block.append(line)
    return lines, {table: sorted(its) for table, its in rows.items()}


def contents(database: TestDatabase) -> dict[str, tuple[int, str]]:
    """Every table's content; an enum's hash, and so its partition, is another in each database."""
    return {name: its for name, its in copy_of_all_tables(database.url).items() if "by_mood_" not in name}


def assert_digests(restored: TestDatabase, source: TestDatabase, index: Index) -> None:
    """Each digest of the archive can be computed again from what was restored."""
    columns = {each.table: each.columns for each in index.segments if each.table}
    settings = PostgresSource(Database.from_url(source.url)).facts().read_settings
    with restored.connect() as connection:
        use_read_settings(connection, settings)
        found = [table_digest(connection, each.table, columns[each.table]) for each in index.tables]
    assert [each for each in found if each not in index.tables] == []


@dataclass(frozen=True, slots=True)
class Looks:
    """All that can be seen of a database."""

    schema: list[bytes]
    rows: dict[bytes, list[bytes]]
    objects: list[tuple[Any, ...]]
    contents: dict[str, tuple[int, str]]


def looks_of(major: Major, database: TestDatabase) -> Looks:
    return Looks(*text_of(major, database), database.query(LARGE_OBJECTS), contents(database))


def assert_same(found: Looks, expected: Looks) -> None:
    assert found.schema == expected.schema
    assert [table for table in found.rows if found.rows[table] != expected.rows[table]] == []
    assert found == expected


@pytest.mark.parametrize(("major", "written"), _thorough(pairs(MAJORS, WRITTEN)), indirect=["major"], scope="module")
def test_psql_restores_our_dump_to_what_it_restores_from_pg_dump(
    major: Major, tormented: TestDatabase, twin: Looks, written: tuple[Codec, int], tmp_path: Path
) -> None:
    codec, jobs = written
    file = tmp_path / f"backup.sql{codec.suffix}"
    index = dump(tormented, codec, jobs, file)
    assert {each.table.name for each in index.segments if each.pages and each.table} >= {"large", "toasted"}
    with major.database("restored") as restored:
        psql(restored.url, file)
        assert_same(looks_of(major, restored), twin)
        assert_digests(restored, tormented, index)


@pytest.mark.parametrize(("major", "written"), _thorough(pairs(MAJORS, LOADED)), indirect=["major"], scope="module")
def test_our_load_of_our_dump_is_what_psql_restores_from_pg_dump(
    major: Major, tormented: TestDatabase, twin: Looks, written: tuple[Codec, int], tmp_path: Path
) -> None:
    codec, jobs = written
    file = tmp_path / f"backup.sql{codec.suffix}"
    index = dump(tormented, codec, jobs, file)
    with major.database("restored") as restored:
        loaded = load(Database.from_url(restored.url), Archive(lambda: file.open("rb"), codec, index), jobs)
        assert loaded.rows == {each.table: each.rows for each in index.tables}
        assert_same(looks_of(major, restored), twin)
        assert_digests(restored, tormented, index)


@pytest.mark.parametrize(("major", "options"), pairs(majors(18), STOCK), indirect=["major"], scope="module")
def test_our_load_of_a_stock_dump_is_what_psql_makes_of_it(
    major: Major, tormented: TestDatabase, twin: Looks, options: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "dump.sql"
    file.write_bytes(major.run("pg_dump", *options, database=tormented.name))
    with file.open("rb") as stream:
        archive = Archive(lambda: file.open("rb"), Codec.NONE, build_index(stream, Codec.NONE))
    expected = twin
    if options:
        with major.database("stock") as stock:
            major.psql(stock.name, file)
            expected = looks_of(major, stock)
    with major.database("restored") as restored:
        load(Database.from_url(restored.url), archive, 2)
        assert_same(looks_of(major, restored), expected)


def test_an_unchanged_database_gives_the_same_bytes_again(tormented: TestDatabase, tmp_path: Path) -> None:
    texts = []
    jobs_tried = sample_of((1, 2, 4), (0, 2))
    for jobs in jobs_tried:
        file = tmp_path / f"{jobs}.sql"
        index = dump(tormented, Codec.NONE, jobs, file)
        texts.append(VARYING.sub(b"", file.read_bytes()))
        kinds = list(dict.fromkeys(each.kind for each in index.segments))
        assert kinds == sorted(kinds, key=list(SegmentKind).index)
    assert texts == [texts[0]] * len(jobs_tried)
