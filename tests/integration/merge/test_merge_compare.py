"""Two backups side by side, and what differs between them, row by row."""

from __future__ import annotations

from app.archive.reader import Archive
from app.domain.changes import Changes, SampleKind, TableChanges, Values
from app.postgres.database import Database
from app.postgres.merge.compare import compare
from tests.fix_merge import archive_of
from tests.fix_postgres import TestDatabase, copy_of_all_tables

SCHEMA = """
    CREATE TABLE people (id int, "Na,me" text, j json, PRIMARY KEY (id, "Na,me")); CREATE TABLE same (a int);
    CREATE TABLE log (at date, said text); CREATE TABLE gone (a int); INSERT INTO gone VALUES (1), (2);
    INSERT INTO people SELECT i, 'p', '{"a" : 1}' FROM generate_series(1, 20) i; INSERT INTO same VALUES (1);
    INSERT INTO log SELECT '2025-01-01', 'same' FROM generate_series(1, 3)"""


def differences(database: TestDatabase, one: Archive, other: Archive) -> Changes:
    return compare(Database.from_url(database.url), one, other, lambda _: None)


def test_a_backup_does_not_differ_from_itself(empty_database: TestDatabase) -> None:
    empty_database.execute(SCHEMA)
    archive = archive_of(empty_database)
    found = differences(empty_database, archive, archive_of(empty_database))
    assert found.total("changed") == 0
    assert found.samples == found.schema == ()


def test_each_row_that_differs_is_found_by_its_key(empty_database: TestDatabase) -> None:
    empty_database.execute(SCHEMA)
    one = archive_of(empty_database)
    empty_database.execute(
        "DELETE FROM people WHERE id = 3; UPDATE people SET j = '{\"a\": 1}' WHERE id = 7; DROP TABLE gone;"
        "INSERT INTO people VALUES (50, 'p', NULL); INSERT INTO log VALUES ('2025-01-01', 'same'); CREATE TABLE new ()"
    )
    before = copy_of_all_tables(empty_database.url)
    found = differences(empty_database, one, archive_of(empty_database))
    assert {each.table: each for each in found.tables} == {
        "public.gone": TableChanges(table="public.gone", inserted=2),
        "public.log": TableChanges(table="public.log", deleted=1, unchanged=3),
        "public.new": TableChanges(table="public.new"),
        "public.people": TableChanges(
            table="public.people", inserted=1, updated=1, deleted=1, unchanged=18, conflicting=1
        ),
        "public.same": TableChanges(table="public.same", unchanged=1),
    }
    assert found.schema == ("table public.gone is only in the first", "table public.new is only in the second")
    people = {each.kind: each for each in found.samples if each.table == "public.people"}
    assert people[SampleKind.INSERTED].key == {"id": "3", "Na,me": "p"}
    assert people[SampleKind.DELETED].key == {"id": "50", "Na,me": "p"}
    assert people[SampleKind.UPDATED].columns == ("j",)
    assert copy_of_all_tables(empty_database.url) == before


def test_rows_of_another_shape_are_compared_by_common_columns(empty_database: TestDatabase) -> None:
    empty_database.execute(SCHEMA)
    one = archive_of(empty_database)
    empty_database.execute(
        "ALTER TABLE people ADD COLUMN more int, ADD COLUMN most int, ALTER j TYPE text; ALTER TABLE log DROP said;"
        "UPDATE people SET j = 'x' WHERE id = 4"
    )
    found = differences(empty_database, one, archive_of(empty_database))
    assert found.schema == (
        "column public.log.said is only in the first",
        "columns more, most of public.people are only in the second",
        "column public.people.j is json in the first, text in the second",
    )
    assert [(each.table, each.updated, each.inserted) for each in found.tables if each.changed] == [
        ("public.people", 1, 0)
    ]
    assert found.samples[0].values == {"j": Values(backup='{"a" : 1}', live="x")}
