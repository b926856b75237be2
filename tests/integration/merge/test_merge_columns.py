"""A merge matches columns by name, and refuses what would lose something."""

from __future__ import annotations

import psycopg
import pytest

from app.errors import RestoreValidationError
from tests.fix_merge import archive_of, merge, request, undo
from tests.fix_people import changes_of, of
from tests.fix_postgres import TestDatabase, copy_of_all_tables


def test_generated_and_identity_columns_are_merged(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE t (k text PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, twice int GENERATED ALWAYS AS (v * 2)"
        " STORED, v int); INSERT INTO t (k, v) VALUES ('a', 1), ('b', 2), ('c', 3)"
    )
    archive, before = archive_of(empty_database), copy_of_all_tables(empty_database.url)
    empty_database.execute("DELETE FROM t WHERE k <> 'c'; INSERT INTO t (k, v) VALUES ('b', 5)")
    changed = copy_of_all_tables(empty_database.url)
    done, inverse = merge(empty_database, archive, request())
    assert done.tables == (of("t", inserted=1, updated=1, conflicting=1, unchanged=1),)
    assert copy_of_all_tables(empty_database.url) == before
    undo(empty_database, inverse)
    assert copy_of_all_tables(empty_database.url) == changed
    with empty_database.connect() as connection, pytest.raises(psycopg.errors.GeneratedAlways):
        connection.execute("UPDATE t SET n = 7")


PARTED = """
    CREATE TABLE events (id int, at date NOT NULL, said text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
    CREATE TABLE events_2 (said text, gone int, at date NOT NULL, id int NOT NULL);
    ALTER TABLE events_2 DROP COLUMN gone;
    ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM ('2025-02-01') TO ('2025-03-01');
    CREATE TABLE events_rest PARTITION OF events DEFAULT;
    INSERT INTO events SELECT i, date '2025-01-01' + i, 's' || i FROM generate_series(1, 80) i"""


def test_partitions_are_one_table_also_where_they_were_cut_anew(empty_database: TestDatabase) -> None:
    empty_database.execute(PARTED)
    archive = archive_of(empty_database)
    rows = "SELECT * FROM events ORDER BY id, at"
    before = empty_database.query(rows)
    empty_database.execute(
        "DROP TABLE events_1; DELETE FROM events WHERE id % 3 = 0; UPDATE events SET said = 'x' WHERE id = 40;"
        "CREATE TABLE events_1a PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2025-01-15')"
    )
    changed = empty_database.query(rows)
    done, inverse = merge(empty_database, archive, request())
    assert done.tables == (
        of("events", inserted=80 - len(changed), updated=1, conflicting=1, unchanged=len(changed) - 1),
    )
    assert empty_database.query(rows) == before
    undo(empty_database, inverse)
    assert empty_database.query(rows) == changed


def test_columns_are_matched_by_name(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute(
        "ALTER TABLE people DROP COLUMN updated_at, ADD COLUMN phone text DEFAULT 'none', ADD COLUMN updated_at date;"
        "ALTER TABLE people ALTER COLUMN id TYPE bigint; DELETE FROM shifts WHERE person = 20;"
        "DELETE FROM people WHERE id = 20; UPDATE people SET phone = '1', updated_at = '2025-01-01'"
    )
    done, _ = merge(database, archive, request())
    assert changes_of(done, "people") == of("people", inserted=1, unchanged=19)
    types = "id bigint (was integer), updated_at date (was timestamp with time zone)"
    assert done.schema == (
        "column public.people.phone is not in the backup",
        f"columns of public.people have other types in the live database: {types}",
    )
    assert database.query("SELECT phone FROM people WHERE id = 20") == [("none",)]


NEW_COLUMN = """
    ALTER TABLE log ADD COLUMN must int NOT NULL DEFAULT 1;
    ALTER TABLE log ALTER must DROP DEFAULT; DELETE FROM log"""
OTHER_KEY = """
    ALTER TABLE shifts DROP CONSTRAINT shifts_pkey; DELETE FROM shifts WHERE day > '2025-01-02';
    ALTER TABLE shifts ADD PRIMARY KEY (slot)"""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("ALTER TABLE people DROP COLUMN name", "column public.people.name is not in the live database"),
        ("DROP TABLE log", "not in the live database: public.log"),
        (NEW_COLUMN, "public.log has NOT NULL columns without a default that the backup does not have: must"),
        (OTHER_KEY, "is not unique in the backup"),
    ],
)
def test_what_would_lose_something_is_refused_and_named(database: TestDatabase, change: str, message: str) -> None:
    archive = archive_of(database)
    database.execute(change)
    before = copy_of_all_tables(database.url)
    with pytest.raises(RestoreValidationError, match=message):
        merge(database, archive, request())
    assert copy_of_all_tables(database.url) == before


def test_a_dropped_column_without_values_is_no_loss(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute("ALTER TABLE shifts DROP COLUMN note; DELETE FROM shifts WHERE slot = 2")
    done, _ = merge(database, archive, request())
    assert changes_of(done, "shifts") == of("shifts", inserted=30, unchanged=60)
