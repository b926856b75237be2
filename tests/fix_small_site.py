"""A backed-up database of three small tables to restore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.operations.backup.take import BackupRequest, take_backup
from tests.fix_damaged import Damaged, drop_databases
from tests.fix_postgres import TestDatabase
from tests.fix_service import make_site

TABLES = """
    CREATE TABLE units (id int PRIMARY KEY, name text);
    CREATE TABLE people (id int PRIMARY KEY, unit int REFERENCES units, name text, pager text);
    CREATE TABLE notes (t text);
    INSERT INTO units VALUES (1, 'a'), (2, 'b');
    INSERT INTO people VALUES (1, 1, 'one', '11'), (2, 2, 'two', NULL);
    INSERT INTO notes VALUES ('a')"""


@contextmanager
def made(database: TestDatabase, backups: Path, server: EmbeddedPostgres) -> Iterator[Damaged]:
    """A backed-up database of three tables."""
    database.execute(TABLES)
    site = make_site(database, backups, filled=False)
    assert take_backup(site.service(), BackupRequest(tier=Tier.MANUAL))
    yield Damaged(site, server, "latest-manual", {}, {})
    drop_databases(server, database.name)


@pytest.fixture
def small(empty_database: TestDatabase, tmp_path: Path, postgres_server: EmbeddedPostgres) -> Iterator[Damaged]:
    """One for each test."""
    with made(empty_database, tmp_path / "backups", postgres_server) as damaged:
        yield damaged
