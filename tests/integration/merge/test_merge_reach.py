"""Which tables a merge can change: the safety backup before it holds these."""

from __future__ import annotations

import io

import psycopg
import pytest

from app.archive.reader import Archive
from app.errors import RestoreBusyError
from app.ports.source import Part
from tests.fix_merge import archive_of, beside, request
from tests.fix_postgres import TestDatabase

SCHEMA = """
CREATE TABLE people (id numeric PRIMARY KEY, name text);
INSERT INTO people VALUES (1, 'Ada'), (2, 'Grace');
CREATE TABLE leave (id serial PRIMARY KEY, person numeric REFERENCES people ON DELETE CASCADE, days int);
INSERT INTO leave (person, days) VALUES (1, 5);
CREATE TABLE shifts (id int PRIMARY KEY, on_day date) PARTITION BY RANGE (id);
CREATE TABLE shifts_1 PARTITION OF shifts FOR VALUES FROM (1) TO (10);
CREATE TABLE audit (what text);
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO audit VALUES (TG_OP); RETURN NULL; END';
CREATE FUNCTION fine(text) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION next_id() RETURNS int LANGUAGE sql AS 'SELECT 1';
"""
# What is done to the database, and the tables that a merge of `people` can then change; None: it may be any.
CASES = {
    "rows alone, although other rows go with them": ("SELECT 1", {"people"}),
    "a trigger, which the merge disables": (
        "CREATE TRIGGER noted AFTER INSERT ON people EXECUTE FUNCTION noted()",
        {"people"},
    ),
    "a key that is written on by its foreign keys": (
        (
            "CREATE TABLE badges (id int PRIMARY KEY, person numeric REFERENCES people ON UPDATE CASCADE UNIQUE);"
            "CREATE TABLE doors (badge numeric REFERENCES badges (person) ON UPDATE SET NULL)"
        ),
        {"people", "badges", "doors"},
    ),
    "a trigger of a table that is written with it": (
        (
            "CREATE TABLE badges (person numeric REFERENCES people ON UPDATE CASCADE);"
            "CREATE TRIGGER noted AFTER UPDATE ON badges EXECUTE FUNCTION noted()"
        ),
        None,
    ),
    "a function in a check": ("ALTER TABLE people ADD CHECK (fine(name))", None),
    "a function in a default": ("ALTER TABLE people ADD number int DEFAULT next_id()", None),
    "a function in an index": (
        (
            "CREATE FUNCTION same(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';"
            "CREATE INDEX ON people (same(name))"
        ),
        None,
    ),
    "a function in a domain": ("CREATE DOMAIN word AS text CHECK (fine(VALUE))", None),
    "a function in a check of another table": ("ALTER TABLE leave ADD CHECK (fine('x'))", {"people"}),
}


@pytest.fixture
def archive(empty_database: TestDatabase) -> Archive:
    empty_database.execute(SCHEMA)
    return archive_of(empty_database)


def reach(database: TestDatabase, archive: Archive, *tables: str) -> Part | None:
    with beside(database, archive, request(tables=tables, exact=True)) as merging:
        return merging.can_change()


@pytest.mark.parametrize("case", CASES)
def test_a_merge_can_change(case: str, empty_database: TestDatabase, archive: Archive) -> None:
    statements, expected = CASES[case]
    empty_database.execute(statements)
    part = reach(empty_database, archive, "people")
    assert (part and {table.name for table in part.tables}) == expected


def test_the_partitions_are_dumped_and_the_table_is_named(empty_database: TestDatabase, archive: Archive) -> None:
    part = reach(empty_database, archive, "shifts", "leave")
    assert part is not None
    assert {table.name for table in part.tables} == {"shifts_1", "leave"}
    assert part.names == ("public.leave", "public.shifts")
    assert part.size > 0


def test_triggers_of_a_table_that_the_role_does_not_own_may_change_anything(
    empty_database: TestDatabase, archive: Archive
) -> None:
    role = f"writer_{empty_database.name}"
    empty_database.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 'secret-4711'; GRANT SELECT, INSERT, UPDATE, DELETE ON people TO {role};"
        f"GRANT TEMPORARY ON DATABASE {empty_database.name} TO {role};"
        "CREATE TRIGGER noted AFTER INSERT ON people EXECUTE FUNCTION noted()"
    )
    url = psycopg.conninfo.make_conninfo(empty_database.url, user=role, password="secret-4711")
    assert reach(TestDatabase(empty_database.name, url), archive, "people") is None
    empty_database.execute("ALTER TABLE people DISABLE TRIGGER noted")
    assert reach(TestDatabase(empty_database.name, url), archive, "people") is not None


@pytest.mark.parametrize(
    "altered", ["ALTER TABLE people ALTER name SET DEFAULT pg_catalog.quote_ident('x')", "SELECT 1"]
)
def test_a_merge_that_could_change_more_than_it_said_changes_nothing(
    altered: str, empty_database: TestDatabase, archive: Archive
) -> None:
    empty_database.execute("DELETE FROM leave; DELETE FROM people; ALTER TABLE people ALTER name SET DEFAULT 'x'")
    with beside(empty_database, archive, request(tables=["people"], exact=True)) as merging:
        assert merging.can_change() is not None
        empty_database.execute(altered)
        merging.apply(io.BytesIO(), lambda _: None)
    empty_database.execute("DELETE FROM people")
    with beside(empty_database, archive, request(tables=["people"], exact=True)) as merging:
        assert merging.can_change() is not None
        empty_database.execute("ALTER TABLE people ALTER name SET DEFAULT next_id()::text")
        with pytest.raises(RestoreBusyError, match="were altered since"):
            merging.apply(io.BytesIO(), lambda _: None)
    assert empty_database.query("SELECT count(*) FROM people") == [(0,)]


def test_of_very_many_tables_it_may_change_any(
    empty_database: TestDatabase, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert reach(empty_database, archive, "people") is not None
    monkeypatch.setattr("app.postgres.merge.reach._MOST_TABLES", 3)
    assert reach(empty_database, archive, "people") is None
