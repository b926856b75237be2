"""Unique values, checks and equal values that are spelled otherwise, in a merge."""

from __future__ import annotations

from app.domain.changes import SampleKind
from tests.fix_merge import archive_of, beside, merge, request, undo
from tests.fix_people import of
from tests.fix_postgres import TestDatabase, copy_of_all_tables


def test_every_kind_of_unique_key_can_stand_in_the_way(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b int, c int, d int, UNIQUE NULLS NOT DISTINCT (c) INCLUDE (d));"
        "CREATE UNIQUE INDEX ON t (lower(a)) WHERE b > 0; CREATE UNIQUE INDEX ON t ((d % 10), b);"
        "INSERT INTO t VALUES (1, 'A', 1, 1, 1), (2, 'B', 0, 2, 2), (3, 'C', 1, NULL, 3), (4, 'D', 4, 4, 4)"
    )
    archive = archive_of(empty_database)
    empty_database.execute(
        "DELETE FROM t; INSERT INTO t VALUES (11, 'a', 5, 11, 0), (12, 'b', 0, 12, 0), (13, 'x', 9, NULL, 0),"
        " (14, 'y', 4, 14, 14)"
    )
    done, _ = merge(empty_database, archive, request())
    assert done.tables == (of("t", inserted=1, blocked=3, live_only=4),)
    blocked = {each.key["id"]: each.columns for each in done.samples if each.kind is SampleKind.UNIQUE}
    assert blocked == {"1": ("a", "b"), "3": ("c",), "4": ("b", "d")}


def test_types_without_equality_are_compared_exactly(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, j json, p point, f float8, n numeric, e text[]); CREATE TABLE u (j json);"
        """INSERT INTO t VALUES (1, '{"a": 1}', '(1,2)', '-0', 1.0, '{}'), (2, NULL, NULL, 'NaN', 'NaN', '{NULL}');"""
        "INSERT INTO u VALUES ('[1]'), ('[1]'), (NULL)"
    )
    archive, before = archive_of(empty_database), copy_of_all_tables(empty_database.url)
    with beside(empty_database, archive, request()) as found:
        assert found.preview().total("changed") == 0
    empty_database.execute("UPDATE t SET j = '{\"a\":1}', f = 0 WHERE id = 1; DELETE FROM u WHERE j IS NULL")
    done, _ = merge(empty_database, archive, request())
    assert (done.total("updated"), done.total("inserted")) == (1, 1)
    assert copy_of_all_tables(empty_database.url) == before


def test_unique_values_that_rows_pass_on_follow_in_order_and_circles_are_left(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, place int UNIQUE); INSERT INTO t"
        " SELECT i, i FROM generate_series(1, 10) i;"
        "INSERT INTO t VALUES (20, 21), (21, 20)"
    )
    archive = archive_of(empty_database)
    rows = "SELECT id, place FROM t ORDER BY id"
    empty_database.execute(
        "UPDATE t SET place = 100 + place; UPDATE t SET place = id + 1 WHERE id <= 10; DELETE FROM t WHERE id > 10;"
        "INSERT INTO t VALUES (20, 20), (21, 21)"
    )
    changed = empty_database.query(rows)
    done, inverse = merge(empty_database, archive, request())
    assert done.tables == (of("t", updated=10, conflicting=12, blocked=2),)
    assert empty_database.query(rows) == [(i, i) for i in range(1, 11)] + [(20, 20), (21, 21)]
    again, _ = merge(empty_database, archive, request())
    assert again.tables == (of("t", conflicting=2, blocked=2, unchanged=10),)
    undo(empty_database, inverse)
    assert empty_database.query(rows) == changed


CONSTRAINED = """
    CREATE EXTENSION btree_gist;
    CREATE TABLE t (id int PRIMARY KEY, n int, at daterange, e text, EXCLUDE USING gist (e WITH =, at WITH &&));
    INSERT INTO t VALUES (1, -1, NULL, 'a'), (2, NULL, NULL, 'b'), (3, 3, '[2025-01-01,2025-01-05)', 'c'),
      (4, 4, '[2025-01-05,2025-01-09)', 'c'), (5, 5, NULL, 'd')"""


def test_what_checks_and_exclusions_refuse_is_blocked_and_the_rest_done(empty_database: TestDatabase) -> None:
    empty_database.execute(CONSTRAINED)
    archive = archive_of(empty_database)
    empty_database.execute(
        "DELETE FROM t; ALTER TABLE t ADD CHECK (n > 0), ALTER n SET NOT NULL;"
        "INSERT INTO t VALUES (9, 9, '[2025-01-04,2025-01-05)', 'c')"
    )
    with beside(empty_database, archive, request()) as found:
        preview = found.preview()
    done, _ = merge(empty_database, archive, request())
    assert done == preview
    assert done.tables == (of("t", inserted=2, blocked=3, live_only=1),)
    blocked = {
        each.key["id"]: (each.kind, each.columns) for each in done.samples if each.kind is not SampleKind.INSERTED
    }
    assert blocked == {
        "1": (SampleKind.CHECK, ("n",)),
        "2": (SampleKind.CHECK, ("n",)),
        "3": (SampleKind.UNIQUE, ("at", "e")),
    }
    again, _ = merge(empty_database, archive, request())
    assert again.total("changed") == 0


def test_a_key_that_is_equal_but_spelled_otherwise_becomes_what_it_was(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE t (n numeric PRIMARY KEY, v int); INSERT INTO t VALUES (1.00, 1), (2, 2)")
    archive, before = archive_of(empty_database), copy_of_all_tables(empty_database.url)
    empty_database.execute("UPDATE t SET n = 1.0 WHERE n = 1; UPDATE t SET v = 3 WHERE n = 2")
    changed = copy_of_all_tables(empty_database.url)
    done, inverse = merge(empty_database, archive, request())
    assert done.tables == (of("t", updated=2, conflicting=2),)
    assert copy_of_all_tables(empty_database.url) == before
    undo(empty_database, inverse)
    assert copy_of_all_tables(empty_database.url) == changed
