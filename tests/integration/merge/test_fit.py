"""A merge across a migration, by options: what they do, that the preview says it, and that it can be undone."""

from __future__ import annotations

from collections.abc import Mapping

from app.domain.adaptation import Adaptation, ColumnRef, Filled, TableRef
from app.domain.changes import Changes, SampleKind
from tests.fix_merge import done_as_previewed
from tests.fix_people import changes_of, of
from tests.fix_postgres import TestDatabase

ROWS = "FROM generate_series(1, 10) i"
OPTIONS = ("skip_tables", "skip_columns", "map_tables", "map_columns", "fills")


def fitted(
    database: TestDatabase,
    change: str,
    shows: Mapping[str, object],
    /,
    *,
    filled: Filled | None = None,
    **options: object,
) -> Changes:
    """What a merge did after a change, as its preview said; queries show it; its undo took it back."""

    def look() -> None:
        assert {query: database.query(query) for query in shows} == shows

    adaptation = Adaptation.parse(**{name: options.pop(name, None) for name in OPTIONS})
    adaptation += Adaptation(filled=filled or Filled())
    return done_as_previewed(database, change, look, adaptation=adaptation, **options)


def test_what_is_gone_is_left_out_and_what_is_new_is_filled(empty_database: TestDatabase) -> None:
    empty_database.execute(
        f"CREATE TYPE mood AS ENUM ('calm', 'busy'); CREATE TABLE gone AS SELECT i AS id {ROWS};"
        "CREATE TABLE t (id numeric PRIMARY KEY, name text, note text, mood text, more text,"
        " twice numeric GENERATED ALWAYS AS (id * 2) STORED);"
        f"INSERT INTO t SELECT i, 'name ' || i, 'note ' || i, 'so so', 'more' {ROWS}"
    )
    done = fitted(
        empty_database,
        "DROP TABLE gone; DELETE FROM t WHERE id > 7;"
        "ALTER TABLE t DROP COLUMN note, DROP COLUMN mood, ADD COLUMN mood mood NOT NULL DEFAULT 'busy',"
        " ADD COLUMN first varchar(6) NOT NULL DEFAULT 'mine', ADD COLUMN worth numeric(6, 2), ADD COLUMN plain int;"
        "ALTER TABLE t ALTER COLUMN mood DROP DEFAULT, ALTER COLUMN first DROP DEFAULT;"
        "UPDATE t SET id = 6.00 WHERE id = 6; UPDATE t SET worth = 1, name = 'changed' WHERE id = 7",
        {
            "SELECT id::text, name, mood::text, first, worth::text, more, twice, plain FROM t ORDER BY t.id OFFSET 5": [
                ("6", "name 6", "busy", "mine", None, "more", 12, None),
                ("7", "name 7", "busy", "mine", "1.00", "more", 14, None),
                ("8", "name 8", "calm", "no-8", "8.04", None, 16, None),
                ("9", "name 9", "calm", "no-9", "9.05", None, 18, None),
                ("10", "name 10", "calm", "no-10", "10.05", None, 20, None),
            ]
        },
        skip_tables=["gone"],
        skip_columns=["t.note", "t.mood", "public.t.more"],
        fills=["t.mood='calm'", "public.t.first=left(note, 2) || '-' || t.id", "t.worth=id * 1.005 -- one"],
    )
    assert done.tables == (of("t", inserted=3, updated=2, conflicting=2, unchanged=5),)
    assert done.notes == (
        "table public.gone of the backup is left out (--skip-table)",
        "column public.t.mood of the backup is left out (--skip-column)",
        "column public.t.more of the backup is left out (--skip-column)",
        "column public.t.note of the backup is left out (--skip-column)",
        "column public.t.first: 3 new rows get the value of `left(note, 2) || '-' || t.id` (--fill)",
        "column public.t.mood: 3 new rows get the value of `'calm'` (--fill)",
        "column public.t.worth: 3 new rows get the value of `id * 1.005 -- one` (--fill)",
    )


def test_what_is_called_otherwise_goes_where_it_is_now_with_its_sequences(empty_database: TestDatabase) -> None:
    empty_database.execute(
        'CREATE TABLE people (id serial PRIMARY KEY, phone text, boss int REFERENCES people); CREATE SCHEMA "My";'
        'CREATE TABLE "My"."Old = 1" ("The.Id" int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,'
        " who int REFERENCES people);"
        f"INSERT INTO people (phone, boss) SELECT i, nullif(i - 1, 0) {ROWS};"
        f'INSERT INTO "My"."Old = 1" (who) SELECT i {ROWS}'
    )
    renamed = """
        ALTER TABLE people RENAME TO persons; ALTER TABLE persons RENAME phone TO mobile;
        ALTER TABLE persons RENAME id TO number; ALTER SEQUENCE people_id_seq RENAME TO persons_number_seq;
        ALTER TABLE "My"."Old = 1" RENAME TO kept; ALTER TABLE "My".kept SET SCHEMA public;
        ALTER TABLE kept RENAME "The.Id" TO "The = Id"; ALTER SEQUENCE "Old = 1_The.Id_seq" RENAME TO kept_seq;
        DELETE FROM kept WHERE who > 5; DELETE FROM persons WHERE number > 5;
        UPDATE persons SET mobile = 'x' WHERE number = 2;
        SELECT setval('persons_number_seq', 5), setval('kept_seq', 5)"""
    options = {
        "map_tables": ["people=public.persons", '"My"."Old = 1"=kept'],
        "map_columns": ["people.id=number", "persons.phone=mobile", '"Old = 1"."The.Id"="The = Id"'],
    }
    done = fitted(
        empty_database,
        renamed,
        {
            "SELECT number, mobile, boss FROM persons WHERE number IN (2, 10) ORDER BY 1": [(2, "2", 1), (10, "10", 9)],
            'SELECT count(*), max("The = Id"), max(who) FROM kept': [(10, 10, 10)],
            "SELECT s.last_value, k.last_value FROM persons_number_seq s, kept_seq k": [(10, 10)],
        },
        **options,
    )
    assert done.tables == (
        of("kept", inserted=5, unchanged=5),
        of("persons", inserted=5, updated=1, conflicting=1, unchanged=4),
    )
    assert done.notes == (
        "table public.people of the backup goes into public.persons (--map-table)",
        "table My.Old = 1 of the backup goes into public.kept (--map-table)",
        "column public.kept.The.Id of the backup goes into The = Id (--map-column)",
        "column public.persons.id of the backup goes into number (--map-column)",
        "column public.persons.phone of the backup goes into mobile (--map-column)",
        "sequence public.kept_seq goes on from 11",
        "sequence public.persons_number_seq goes on from 11",
    )
    assert not done.schema


def test_a_value_that_breaks_a_constraint_blocks_its_row_and_live_rows_keep_theirs(
    empty_database: TestDatabase,
) -> None:
    empty_database.execute(
        f"CREATE TABLE teams AS SELECT i AS id {ROWS}; ALTER TABLE teams ADD PRIMARY KEY (id);"
        f"CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' || i {ROWS};"
        f"CREATE TABLE log (at int, said text); INSERT INTO log SELECT i / 2, 'x' {ROWS}"
    )
    done = fitted(
        empty_database,
        "ALTER TABLE t ADD COLUMN team int, ADD COLUMN code text, ADD COLUMN size int;"
        "ALTER TABLE log ADD COLUMN by text;"
        "UPDATE t SET team = id, code = 'c' || id, size = 3; DELETE FROM t WHERE id > 4; UPDATE log SET by = 'me';"
        "DELETE FROM log WHERE at > 2; UPDATE t SET v = 'w' WHERE id = 3; ALTER TABLE t ALTER code SET NOT NULL,"
        " ADD UNIQUE (code), ADD CHECK (size < 10), ADD FOREIGN KEY (team) REFERENCES teams",
        {
            "SELECT id, v, team, code, size FROM t ORDER BY id OFFSET 2": [
                (3, "v3", 3, "c3", 3),
                (4, "v4", 4, "c4", 3),
                (8, "v8", 9, "c8", 9),
                (9, "v9", 10, "c9", 9),
            ],
            "SELECT at, by, count(*) FROM log GROUP BY 1, 2 ORDER BY 1, 2": [
                (0, "me", 1),
                (1, "me", 2),
                (2, "me", 2),
                (3, "x 3", 2),
                (4, "x 4", 2),
                (5, "x 5", 1),
            ],
        },
        fills=[
            "t.team=id + 1",
            "t.code=CASE WHEN id = 5 THEN 'c1' WHEN id <> 6 THEN 'c' || id END",
            "t.size=CASE id WHEN 7 THEN 11 ELSE 9 END",
            "log.by=concat(said, ' ', at)",
        ],
    )
    assert changes_of(done, "t") == of("t", inserted=2, updated=1, conflicting=1, unchanged=3, blocked=4)
    assert {sample.key["id"]: sample.columns for sample in done.samples if sample.in_the_way or sample.constraint} == {
        "5": ("code",),
        "6": ("code",),
        "7": ("size",),
        "10": ("team",),
    }
    assert {sample.kind for sample in done.samples} >= {SampleKind.UNIQUE, SampleKind.CHECK, SampleKind.PARENT}


def test_partitions_conditions_and_dependents_go_by_the_live_names(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE events (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);"
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (5);"
        "CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (5) TO (99);"
        f"INSERT INTO events SELECT i, i {ROWS}; CREATE TABLE notes (event int, at int, said text,"
        f" FOREIGN KEY (event, at) REFERENCES events); INSERT INTO notes SELECT i, i, 'n' {ROWS};"
        "CREATE TABLE alembic_version (version_num text PRIMARY KEY); INSERT INTO alembic_version VALUES ('a')"
    )
    change = (
        "ALTER TABLE events RENAME TO happenings; ALTER TABLE happenings RENAME id TO number; DELETE FROM notes;"
        "ALTER TABLE events_1 RENAME TO early; ALTER TABLE happenings ADD COLUMN kind text; DELETE FROM happenings;"
        "UPDATE alembic_version SET version_num = 'b'"
    )
    mapped = {"map_tables": ["events=happenings"], "map_columns": ["events.id=number"]}
    done = fitted(
        empty_database,
        change,
        {
            "SELECT number, at, kind FROM happenings ORDER BY 1": [(4, 4, "k4"), (5, 5, "k5")],
            "SELECT event FROM notes ORDER BY 1": [(4,), (5,)],
            "SELECT version_num FROM alembic_version": [("b",)],
        },
        **mapped,
        tables=["events"],
        dependents=True,
        where="number BETWEEN 4 AND 5",
        fills=["happenings.kind='k' || number"],
    )
    assert done.tables == (of("happenings", inserted=2), of("notes", inserted=2))
    archive_later = "UPDATE happenings SET kind = 'live'"
    done = fitted(
        empty_database,
        archive_later,
        {"SELECT count(*) FROM happenings": [(0,)]},
        skip_tables=["happenings"],
    )
    assert [table.table for table in done.tables] == ["public.notes"]


def test_what_a_migration_filled_is_for_new_rows_alone(empty_database: TestDatabase) -> None:
    empty_database.execute(
        f"CREATE TABLE t (id int PRIMARY KEY, v text, guess text); INSERT INTO t SELECT i, 'v', 'guess' {ROWS};"
        f"CREATE TABLE kinds (id int PRIMARY KEY, label text); INSERT INTO kinds SELECT i, 'made' {ROWS}"
    )
    filled = Filled(
        columns=frozenset({ColumnRef(TableRef("public", "t"), "guess")}),
        tables=frozenset({TableRef("public", "kinds")}),
    )
    done = fitted(
        empty_database,
        "UPDATE t SET guess = 'known'; UPDATE t SET v = 'w' WHERE id = 1; DELETE FROM t WHERE id > 8;"
        "UPDATE kinds SET label = 'own'; DELETE FROM kinds WHERE id > 3",
        {
            "SELECT v, guess, count(*) FROM t GROUP BY 1, 2 ORDER BY 2": [("v", "guess", 2), ("v", "known", 8)],
            "SELECT label, count(*) FROM kinds GROUP BY 1 ORDER BY 1": [("made", 7), ("own", 3)],
        },
        filled=filled,
    )
    assert done.tables == (
        of("kinds", inserted=7, unchanged=3),
        of("t", inserted=2, updated=1, conflicting=1, unchanged=7),
    )


def test_a_replace_of_chosen_tables_takes_the_options_too(empty_database: TestDatabase) -> None:
    empty_database.execute(f"CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' {ROWS}")
    done = fitted(
        empty_database,
        "ALTER TABLE t RENAME v TO w; ALTER TABLE t ADD COLUMN x int NOT NULL DEFAULT 5;"
        "ALTER TABLE t ALTER x DROP DEFAULT;"
        "DELETE FROM t WHERE id > 5; INSERT INTO t VALUES (99, 'new', 1)",
        {"SELECT w, x, count(*) FROM t GROUP BY 1, 2 ORDER BY 2": [("v", 5, 5), ("v", 7, 5)]},
        tables=["t"],
        exact=True,
        map_columns=["t.v=w"],
        fills=["t.x=7"],
    )
    assert done.tables == (of("t", inserted=5, deleted=1, unchanged=5),)
