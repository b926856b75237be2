"""A database of people, shifts and a log to merge into, and what a merge says of a table."""

from __future__ import annotations

import pytest

from app.domain.changes import TableChanges
from tests.fix_postgres import TestDatabase

SCHEMA = """
    CREATE TABLE people (id int PRIMARY KEY, email text UNIQUE, name text, updated_at timestamptz DEFAULT '2025-01-01');
    CREATE TABLE shifts (day date, slot int, person int REFERENCES people, note text, PRIMARY KEY (day, slot));
    CREATE TABLE log (at date, said text);
    INSERT INTO people SELECT i, 'p' || i, 'person ' || i FROM generate_series(1, 20) i;
    INSERT INTO shifts SELECT date '2025-01-01' + i, i % 3, 1 + i % 20 FROM generate_series(1, 90) i;
    INSERT INTO log SELECT date '2025-01-01', 'same' FROM generate_series(1, 3);
    INSERT INTO log VALUES ('2025-01-02', NULL), ('2025-01-02', E'a\\tb\\\\n')"""


@pytest.fixture
def database(empty_database: TestDatabase) -> TestDatabase:
    empty_database.execute(SCHEMA)
    return empty_database


def of(name: str, **counts: int) -> TableChanges:
    return TableChanges(table=f"public.{name}", **counts)


def changes_of(done: object, name: str) -> TableChanges:
    return next(each for each in done.tables if each.table == f"public.{name}")  # type: ignore[attr-defined]


REFERRED = """
    CREATE TABLE p (id int PRIMARY KEY, v text);
    CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE);
    INSERT INTO p SELECT i, 'v' FROM generate_series(1, 5) i; INSERT INTO c VALUES (1, 1)"""
