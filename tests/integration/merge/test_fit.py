"""A merge across a migration, by options: what they do, that the preview says it, and that it can be undone."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.adaptation import Adaptation
from app.domain.changes import Changes
from tests.fix_merge import done_as_previewed
from tests.fix_people import of
from tests.fix_postgres import TestDatabase

ROWS = "FROM generate_series(1, 10) i"


def fitted(database: TestDatabase, change: str, tables: Sequence[str] = (), /, **options: object) -> Changes:
    """What a merge of these tables did after a change, as previewed, and undone again."""
    names = ("skip_tables", "skip_columns", "map_tables", "map_columns", "fills")
    adaptation = Adaptation.parse(**{name: options.pop(name, None) for name in names})
    return done_as_previewed(database, change, adaptation=adaptation, tables=tables, **options)


def test_what_is_gone_is_left_out_and_what_is_new_is_filled(empty_database: TestDatabase) -> None:
    empty_database.execute(
        f"CREATE TYPE mood AS ENUM ('calm', 'busy'); CREATE TABLE gone AS SELECT i AS id {ROWS};"
        f"CREATE TABLE t (id int PRIMARY KEY, name text, note text, twice int GENERATED ALWAYS AS (id * 2) STORED);"
        f"INSERT INTO t SELECT i, 'name ' || i, 'note ' || i {ROWS}"
    )
    change = (
        "DROP TABLE gone; ALTER TABLE t DROP COLUMN note, ADD COLUMN mood mood NOT NULL DEFAULT 'busy',"
        " ADD COLUMN first varchar(6) NOT NULL DEFAULT '', ADD COLUMN worth numeric(6, 2), ADD COLUMN at date;"
        "ALTER TABLE t ALTER COLUMN mood DROP DEFAULT, ALTER COLUMN first DROP DEFAULT;"
        "DELETE FROM t WHERE id > 7; UPDATE t SET first = 'mine', worth = 1, name = 'changed' WHERE id = 7"
    )
    done = fitted(
        empty_database,
        change,
        skip_tables=["gone"],
        skip_columns=["t.note"],
        fills=["t.mood='calm'", "public.t.first=right(note, 2) || t.id", "t.worth=id * 1.005 -- one", "t.at=now()"],
    )
    assert done.tables == (of("t", inserted=3, updated=1, conflicting=1, unchanged=6),)
    assert done.notes == (
        "table public.gone of the backup is left out (--skip-table)",
        "column public.t.note of the backup is left out (--skip-column)",
        "column public.t.at: 3 new rows get the value of `now()` (--fill)",
        "column public.t.first: 3 new rows get the value of `right(note, 2) || t.id` (--fill)",
        "column public.t.mood: 3 new rows get the value of `'calm'` (--fill)",
        "column public.t.worth: 3 new rows get the value of `id * 1.005 -- one` (--fill)",
    )
