"""A merge of chosen rows and tables, and what other rows that refer to them have to say."""

from __future__ import annotations

import threading

import pytest

from app.archive.reader import Archive
from app.errors import (
    MergeConflictError,
    RestoreValidationError,
)
from tests.fix_merge import archive_of, beside, merge, request, undo
from tests.fix_people import REFERRED, changes_of, of
from tests.fix_postgres import TestDatabase, copy_of_all_tables


def test_one_row_or_a_range_of_dates_can_be_brought_back(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute("DELETE FROM shifts; DELETE FROM log")
    wanted = request(tables=["shifts"], where="day BETWEEN '2025-01-05' AND '2025-01-07'")
    done, _ = merge(database, archive, wanted)
    assert done.tables == (of("shifts", inserted=3),)
    assert database.query("SELECT count(*) FROM log") == [(0,)]
    merge(database, archive, request(tables=["public.shifts"], where="t.day = '2025-01-20' AND slot = 1"))
    assert database.query("SELECT count(*) FROM shifts") == [(4,)]


@pytest.mark.parametrize("where", ["day >", "true); DROP TABLE log; --", "nosuch = 1", "nextval('s') > 0", "1"])
def test_a_condition_that_is_none_is_refused_and_does_nothing(database: TestDatabase, where: str) -> None:
    database.execute("CREATE SEQUENCE s")
    archive, before = archive_of(database), copy_of_all_tables(database.url)
    with pytest.raises(RestoreValidationError, match=r"condition on public\.shifts"):
        merge(database, archive, request(tables=["shifts"], where=where))
    assert copy_of_all_tables(database.url) == before
    assert database.query("SELECT is_called FROM s") == [(False,)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tables": ["shift"]}, "the backup has no table shift"),
        ({"where": "true"}, "need a table"),
        ({"dependents": True}, "need a table"),
        ({"tables": ["shifts"], "where": "true", "exact": True}, "--where chooses rows to merge"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(database: TestDatabase, options: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(RestoreValidationError, match=message):
        merge(database, archive_of(database), request(**options))


def test_a_name_in_two_schemas_must_be_told_apart(database: TestDatabase) -> None:
    database.execute("CREATE SCHEMA other; CREATE TABLE other.log (a int)")
    with pytest.raises(RestoreValidationError, match="more than one table is called log"):
        merge(database, archive_of(database), request(tables=["log"]))


def test_chosen_tables_become_what_they_were(database: TestDatabase) -> None:
    archive, before = archive_of(database), copy_of_all_tables(database.url)
    database.execute(
        "DELETE FROM shifts WHERE slot = 0; INSERT INTO shifts VALUES ('2030-01-01', 1, 1); DELETE FROM log;"
        "INSERT INTO log VALUES ('2025-01-01', 'same'), ('2025-01-01', 'other'); UPDATE people SET name = 'stays'"
    )
    changed = copy_of_all_tables(database.url)
    done, inverse = merge(database, archive, request(tables=["shifts", "log"], exact=True))
    assert done.tables == (
        of("log", inserted=4, deleted=1, unchanged=1),
        of("shifts", inserted=30, deleted=1, unchanged=60),
    )
    after = copy_of_all_tables(database.url)
    assert {name: its for name, its in after.items() if "people" not in name} == {
        name: its for name, its in before.items() if "people" not in name
    }
    assert after['"public"."people"'] == changed['"public"."people"']
    undo(database, inverse)
    assert copy_of_all_tables(database.url) == changed


def test_a_row_that_others_refer_to_is_not_deleted_unless_they_come_along(database: TestDatabase) -> None:
    archive, before = archive_of(database), copy_of_all_tables(database.url)
    database.execute("INSERT INTO people VALUES (99, 'p99'); INSERT INTO shifts VALUES ('2030-01-01', 1, 99)")
    changed = copy_of_all_tables(database.url)
    with pytest.raises(MergeConflictError, match="1 rows of the chosen tables"):
        merge(database, archive, request(tables=["people"], exact=True))
    assert copy_of_all_tables(database.url) == changed
    done, _ = merge(database, archive, request(tables=["people"], dependents=True, exact=True))
    assert done.total("deleted") == 2
    assert copy_of_all_tables(database.url) == before


def test_an_update_never_cascades(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE); INSERT INTO p VALUES (1, 'a'), (2, 'b');"
        "CREATE TABLE c (id int PRIMARY KEY, code text REFERENCES p (code) ON UPDATE CASCADE ON DELETE CASCADE)"
    )
    archive = archive_of(empty_database)
    empty_database.execute("UPDATE p SET code = code || code; INSERT INTO c VALUES (1, 'aa')")
    done, _ = merge(empty_database, archive, request())
    assert changes_of(done, "p") == of("p", updated=1, conflicting=2, blocked=1)
    assert empty_database.query("SELECT code FROM c") == [("aa",)]
    assert empty_database.query("SELECT code FROM p ORDER BY id") == [("aa",), ("b",)]


def test_cycles_and_references_to_oneself_come_back(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE a (id int PRIMARY KEY, b int NOT NULL, a int REFERENCES a);"
        "CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a);"
        "WITH x AS (INSERT INTO a SELECT i, i, 101 - i FROM generate_series(1, 100) i) INSERT INTO b"
        " SELECT i, 101 - i FROM generate_series(1, 100) i; ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b"
    )
    archive, before = archive_of(empty_database), copy_of_all_tables(empty_database.url)
    empty_database.execute("TRUNCATE a, b")
    _, inverse = merge(empty_database, archive, request())
    assert copy_of_all_tables(empty_database.url) == before
    undo(empty_database, inverse)
    assert empty_database.query("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)") == [(0, 0)]


def test_one_row_comes_back_with_what_hangs_on_it_and_no_more(database: TestDatabase) -> None:
    database.execute(
        "CREATE TABLE notes (id int PRIMARY KEY, day date, slot int, FOREIGN KEY (day, slot) REFERENCES shifts)"
    )
    database.execute("INSERT INTO notes SELECT row_number() OVER (), day, slot FROM shifts")
    archive = archive_of(database)
    database.execute("DELETE FROM notes; DELETE FROM shifts; DELETE FROM people WHERE id IN (3, 4)")
    done, _ = merge(database, archive, request(tables=["people"], dependents=True, where="id = 3"))
    assert [(each.table, each.inserted) for each in done.tables] == [
        ("public.notes", 5),
        ("public.people", 1),
        ("public.shifts", 5),
    ]
    assert database.query("SELECT DISTINCT person FROM shifts") == [(3,)]


def test_a_whole_replace_is_previewed_whatever_became_of_the_schema(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute(
        "ALTER TABLE people DROP COLUMN name; ALTER TABLE log ALTER COLUMN said TYPE int USING 1;"
        "DELETE FROM shifts WHERE slot = 0; ALTER TABLE shifts DROP CONSTRAINT shifts_pkey; DROP TABLE log"
    )
    database.execute("CREATE TABLE log (at int, said text); INSERT INTO log VALUES (1), (2)")
    with beside(database, archive, request(exact=True)) as found:
        preview = found.preview()
    assert preview.tables == (
        of("log", inserted=5, deleted=2),
        of("people", unchanged=20),
        of("shifts", inserted=30, unchanged=60),
    )
    assert "column public.people.name is not in the live database" in preview.schema


def test_a_row_that_comes_while_chosen_tables_are_replaced_is_not_taken_along(empty_database: TestDatabase) -> None:
    empty_database.execute(REFERRED)
    archive = archive_of(empty_database)
    empty_database.execute("INSERT INTO p VALUES (9, 'new')")
    with empty_database.connect() as other:
        with other.transaction():
            other.execute("INSERT INTO c VALUES (9, 9)")
            results: list[object] = []
            waits = threading.Thread(target=lambda: results.append(_outcome(empty_database, archive)))
            waits.start()
            waits.join(1)
        waits.join(30)
    assert isinstance(results[0], MergeConflictError)
    assert empty_database.query("SELECT count(*) FROM c") == [(2,)]


def _outcome(database: TestDatabase, archive: Archive) -> object:
    try:
        return merge(database, archive, request(tables=["p"], exact=True))
    except MergeConflictError as error:
        return error


def test_a_foreign_key_of_one_partition_is_seen(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE m (id int, p int) PARTITION BY RANGE (id);"
        "CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10); ALTER TABLE m1 ADD FOREIGN KEY (p) REFERENCES p"
        " ON DELETE CASCADE; INSERT INTO p VALUES (1)"
    )
    archive = archive_of(empty_database)
    empty_database.execute("INSERT INTO p VALUES (2); INSERT INTO m VALUES (1, 2)")
    with pytest.raises(MergeConflictError, match="1 rows of the chosen tables"):
        merge(empty_database, archive, request(tables=["p"], exact=True))
    assert empty_database.query("SELECT count(*) FROM m") == [(1,)]
    with pytest.raises(RestoreValidationError, match=r"m1 is a partition of public\.m"):
        merge(empty_database, archive, request(tables=["m1"]))
    archive, before = archive_of(empty_database), copy_of_all_tables(empty_database.url)
    empty_database.execute("DELETE FROM m; DELETE FROM p")
    _, inverse = merge(empty_database, archive, request())
    assert copy_of_all_tables(empty_database.url) == before
    undo(empty_database, inverse)
    assert empty_database.query("SELECT (SELECT count(*) FROM m), (SELECT count(*) FROM p)") == [(0, 0)]
