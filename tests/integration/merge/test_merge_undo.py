"""Undoing a merge refuses what changed since, and takes nothing along that it did not bring."""

from __future__ import annotations

import pytest

from app.errors import (
    RestoreDataError,
)
from tests.fix_merge import archive_of, merge, request, undo
from tests.fix_people import REFERRED
from tests.fix_postgres import TestDatabase, copy_of_all_tables
from tests.tiers import ALL


def test_undo_refuses_where_a_row_was_changed_since(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute("DELETE FROM shifts WHERE slot = 1")
    _, inverse = merge(database, archive, request())
    database.execute("UPDATE shifts SET note = 'since' WHERE day = '2025-01-02'")
    before = copy_of_all_tables(database.url)
    with pytest.raises(RestoreDataError, match=r"rows of public\.shifts were changed since the merge"):
        undo(database, inverse)
    assert copy_of_all_tables(database.url) == before


def test_undo_locks_what_it_looks_at(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute("DELETE FROM shifts WHERE slot = 1")
    _, inverse = merge(database, archive, request())
    text = inverse.decode()
    assert text.index('LOCK TABLE ONLY "public"."shifts" IN SHARE ROW EXCLUSIVE MODE') < text.index("DO $")


def test_undo_refuses_where_a_newer_row_would_go_with_what_it_takes_away(empty_database: TestDatabase) -> None:
    empty_database.execute(REFERRED)
    archive = archive_of(empty_database)
    empty_database.execute("DELETE FROM p WHERE id = 2")
    _, inverse = merge(empty_database, archive, request())
    empty_database.execute("INSERT INTO c VALUES (2, 2)")
    with pytest.raises(RestoreDataError, match=r"rows of public\.c refer to rows that the merge has brought"):
        undo(empty_database, inverse)
    assert empty_database.query("SELECT count(*) FROM c") == [(2,)]


def test_undo_of_a_table_without_a_key_spares_what_only_looks_alike(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE log (said text); INSERT INTO log VALUES ('x'), ('x')")
    archive = archive_of(empty_database)
    empty_database.execute("DELETE FROM log; ALTER TABLE log ADD COLUMN who int; INSERT INTO log VALUES ('x', 42)")
    before = empty_database.query("SELECT * FROM log")
    done, inverse = merge(empty_database, archive, request())
    assert done.total("inserted") == 1
    undo(empty_database, inverse)
    assert empty_database.query("SELECT * FROM log") == before


@pytest.mark.skipif(not ALL, reason="slow by nature: make test-all")
@pytest.mark.timeout(300)
def test_as_many_tables_as_there_are_can_be_merged_and_undone(empty_database: TestDatabase) -> None:
    each = "DO $$ BEGIN FOR i IN 1..560 LOOP {} END LOOP; END $$"
    make = "EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, v int)', i);"
    empty_database.execute(each.format(make + "EXECUTE format('INSERT INTO t%s VALUES (1, 1), (2, 2)', i);"))
    archive = archive_of(empty_database)
    change = "EXECUTE format('UPDATE t%s SET id = 3 * id, v = 3', i);"
    empty_database.execute(each.format(change + "EXECUTE format('UPDATE t%s SET id = 2 WHERE id = 3', i);"))
    wanted = request(tables=[f"t{number}" for number in range(1, 561)], exact=True)
    done, inverse = merge(empty_database, archive, wanted)
    assert [done.total(what) for what in ("inserted", "updated", "deleted")] == [560, 560, 560]
    undo(empty_database, inverse)
    assert empty_database.query("SELECT id, v FROM t560 ORDER BY id") == [(2, 3), (6, 3)]
