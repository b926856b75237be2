"""What is asked of a server is answered whatever the application calls its own tables."""

from __future__ import annotations

import pytest

from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from tests.fix_postgres import TestDatabase

REVISIONS = {
    "(version_num varchar(32) NOT NULL); INSERT INTO alembic_version VALUES ('b'), ('a')": "a,b",
    "(version_num varchar(32)); INSERT INTO alembic_version VALUES (NULL), ('a')": "a",
    "(version_num int); INSERT INTO alembic_version VALUES (7)": "7",
    "(version_num text)": None,
    "(gone text, version text); ALTER TABLE alembic_version DROP COLUMN gone": None,
    "(version_num text); ALTER TABLE alembic_version DROP COLUMN version_num": None,
    "()": None,
    "(version_num mine); INSERT INTO alembic_version VALUES ('(b)')": None,
}


@pytest.mark.parametrize("table", REVISIONS)
def test_the_alembic_revision_is_told_where_there_is_one(empty_database: TestDatabase, table: str) -> None:
    empty_database.execute("CREATE TYPE mine AS (v text)")
    empty_database.execute(f"CREATE TABLE alembic_version {table}")
    facts = PostgresSource(Database.from_url(empty_database.url)).facts()
    assert facts.alembic_revision == REVISIONS[table]
