"""A merge of many changed tables is several statements, with the outcome of one."""

from __future__ import annotations

import pytest

from app.domain.changes import Changes
from app.postgres.merge import groups
from tests.fix_merge import archive_of, merge, request, undo
from tests.fix_postgres import TestDatabase, copy_of_all_tables

# In the order of names, and so of a single statement: children before parents, what looks before what is looked at.
SCHEMA = """
    CREATE FUNCTION knows(int) RETURNS boolean STABLE LANGUAGE plpgsql
        AS 'BEGIN RETURN EXISTS (SELECT FROM public.z_known WHERE id = $1); END';
    CREATE FUNCTION count_of_b() RETURNS bigint LANGUAGE plpgsql
        AS 'BEGIN RETURN (SELECT count(*) FROM public.b_child); END';
    CREATE TABLE z_known (id int PRIMARY KEY);
    CREATE TABLE y_parent (id int PRIMARY KEY, code int UNIQUE, v text);
    CREATE TABLE x_grandparent (id int PRIMARY KEY, y int REFERENCES y_parent (code) ON UPDATE CASCADE);
    CREATE TABLE a_looks (id int PRIMARY KEY, k int CHECK (knows(k)));
    CREATE TABLE b_child (id int PRIMARY KEY, y int REFERENCES y_parent ON DELETE CASCADE, v text);
    CREATE TABLE c_counts (id int PRIMARY KEY);
    CREATE TABLE d_one (id int PRIMARY KEY, d int);
    CREATE TABLE d_two (id int PRIMARY KEY, d int REFERENCES d_one ON DELETE SET NULL);
    ALTER TABLE d_one ADD FOREIGN KEY (d) REFERENCES d_two;
    CREATE TABLE e_self (id int PRIMARY KEY, up int REFERENCES e_self);
    CREATE TABLE f_parts (id int PRIMARY KEY, y int REFERENCES y_parent) PARTITION BY RANGE (id);
    CREATE TABLE f_1 PARTITION OF f_parts FOR VALUES FROM (0) TO (5);
    CREATE TABLE f_2 PARTITION OF f_parts FOR VALUES FROM (5) TO (99);
    CREATE TABLE g_leaf (id int PRIMARY KEY, f int REFERENCES f_2 (id));
    CREATE TABLE h_log (said text);
    INSERT INTO z_known SELECT generate_series(1, 9); INSERT INTO a_looks SELECT i, i FROM generate_series(1, 4) i;
    INSERT INTO y_parent SELECT i, i, 'v' FROM generate_series(1, 9) i;
    INSERT INTO x_grandparent SELECT i, i FROM generate_series(1, 9) i;
    INSERT INTO b_child SELECT i, i, 'v' FROM generate_series(1, 9) i; INSERT INTO c_counts VALUES (1), (2);
    INSERT INTO d_one SELECT i FROM generate_series(1, 5) i; INSERT INTO d_two SELECT i, i FROM generate_series(1, 5) i;
    UPDATE d_one SET d = 6 - id; INSERT INTO e_self SELECT i, i % 3 + 1 FROM generate_series(1, 5) i;
    INSERT INTO f_parts SELECT i, i FROM generate_series(1, 9) i; INSERT INTO g_leaf VALUES (1, 7), (2, 8);
    INSERT INTO h_log VALUES ('a'), ('b'), ('b')"""
# Rows to insert, to update and to delete in nearly every table; values that rows pass on to one another.
CHANGE = """
    SET session_replication_role = replica;
    DELETE FROM y_parent WHERE id > 7; DELETE FROM b_child WHERE id > 6; DELETE FROM x_grandparent WHERE id > 7;
    DELETE FROM f_parts WHERE id > 7; DELETE FROM g_leaf WHERE id = 2; DELETE FROM h_log WHERE said = 'a';
    INSERT INTO y_parent VALUES (20, 20, 'new'); INSERT INTO b_child VALUES (20, 20), (21, 1);
    INSERT INTO x_grandparent VALUES (20, 20); INSERT INTO f_parts VALUES (20, 20); INSERT INTO g_leaf VALUES (20, 20);
    UPDATE b_child SET y = 20 WHERE id < 3; UPDATE y_parent SET v = 'x' WHERE id IN (3, 20);
    UPDATE x_grandparent SET y = 20 WHERE id = 4;
    ALTER TABLE c_counts ADD n bigint DEFAULT count_of_b(); DELETE FROM c_counts WHERE id = 2;
    INSERT INTO d_one VALUES (9, 9); INSERT INTO d_two VALUES (9, 9); DELETE FROM d_one WHERE id = 2;
    DELETE FROM d_two WHERE id IN (2, 4); UPDATE d_one SET d = 9 WHERE d IN (2, 4);
    INSERT INTO e_self VALUES (9, 9), (8, 9); DELETE FROM e_self WHERE id = 3; UPDATE e_self SET up = 9 WHERE up = 3;
    DELETE FROM z_known WHERE id = 9; INSERT INTO z_known VALUES (77); DELETE FROM a_looks WHERE id = 1"""


def _done(
    database: TestDatabase, most: int, monkeypatch: pytest.MonkeyPatch, *, exact: bool
) -> tuple[Changes, tuple[object, int]]:
    """A merge of a backup after a change, with so many parts in a statement, and its undo."""
    database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    database.execute(SCHEMA)
    archive = archive_of(database)
    database.execute(CHANGE)
    before = copy_of_all_tables(database.url)
    tables = ("a_looks", "b_child", "c_counts", "d_one", "d_two", "e_self", "f_parts", "g_leaf", "h_log")
    chosen = (*tables, "x_grandparent", "y_parent", "z_known") if exact else ()
    with monkeypatch.context() as patch:
        patch.setattr(groups, "MOST_PARTS", most)
        done, inverse = merge(database, archive, request("take-backup", exact=exact, tables=chosen))
    after = copy_of_all_tables(database.url)
    undo(database, inverse)
    assert copy_of_all_tables(database.url) == before
    return done, (after, inverse.count(b"\nWITH "))


@pytest.mark.parametrize("exact", [False, True])
def test_many_statements_do_what_one_does(
    empty_database: TestDatabase, monkeypatch: pytest.MonkeyPatch, *, exact: bool
) -> None:
    done, (after, statements) = _done(empty_database, 1000, monkeypatch, exact=exact)
    assert statements == 1
    assert done.total("changed") > 20
    again, (after_many, many) = _done(empty_database, 1, monkeypatch, exact=exact)
    assert many > 3
    assert (again, after_many) == (done, after)
