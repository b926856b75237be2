"""The proof of a restored database: silent where it is what the backup holds, and loud about every single change."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

import pytest

from app.archive.manifest import ServerFacts
from app.archive.needs import needs_of
from app.archive.reader import Archive
from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.postgres.database import Database
from app.postgres.dump import PostgresSource
from app.postgres.load import load
from app.postgres.proof import prove
from tests.fix_matrix import Major, running_major, torment
from tests.fix_postgres import TestDatabase

MAJORS = (14, 15, 16, 17, 18) if os.environ.get("TEST_MATRIX") else (14, 18)


@pytest.fixture(scope="module", params=MAJORS, ids=lambda each: f"PostgreSQL {each}")
def major(request: pytest.FixtureRequest) -> Iterator[Major]:
    with running_major(request.param) as found:
        yield found


@pytest.fixture(autouse=True)
def _its_own_programs(major: Major, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{major.programs}{os.pathsep}{os.environ['PATH']}")


def archive_of(database: TestDatabase, codec: Codec = Codec.ZSTD) -> tuple[Archive, ServerFacts]:
    source = PostgresSource(Database.from_url(database.url), 2)
    out = io.BytesIO()
    with source.snapshot() as snapshot:
        writer = ArchiveWriter(out, codec)
        snapshot.dump_into(writer)
        index = writer.finish()
    return Archive(lambda: io.BytesIO(out.getvalue()), codec, index), source.facts()


def test_torture(major: Major) -> None:
    with major.database("torture") as database:
        torment(major, database)
        archive, facts = archive_of(database)
        print(needs_of(archive))
        print(prove(Database.from_url(database.url), archive, facts, 2))
        with major.database("restored") as restored:
            load(Database.from_url(restored.url), archive, 2)
            assert prove(Database.from_url(restored.url), archive, facts, 2) == []
