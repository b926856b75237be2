"""Chosen tables with those that they refer to (`--parents`), all of their rows or those that are referred to."""

from __future__ import annotations

import pytest

from app.domain.adaptation import Adaptation
from app.domain.changes import Obstacle, SampleKind
from app.errors import RestoreValidationError
from tests.fix_merge import archive_of, done_as_previewed, merge, request
from tests.fix_postgres import TestDatabase

SCHEMA = """
    CREATE TABLE countries (code text PRIMARY KEY);
    CREATE TABLE teams (id int PRIMARY KEY, country text REFERENCES countries);
    CREATE TABLE people (id int PRIMARY KEY, team int REFERENCES teams, boss int REFERENCES people);
    CREATE TABLE shifts (id int PRIMARY KEY, person int REFERENCES people, at date);
    CREATE TABLE notes (id int PRIMARY KEY, shift int REFERENCES shifts, author int REFERENCES people);
    CREATE TABLE parted (k text, id int, team int, PRIMARY KEY (k, id)) PARTITION BY LIST (k);
    CREATE TABLE parted_a PARTITION OF parted FOR VALUES IN ('a');
    CREATE TABLE parted_b PARTITION OF parted FOR VALUES IN ('b');
    ALTER TABLE parted_a ADD FOREIGN KEY (team) REFERENCES teams;
    INSERT INTO countries VALUES ('ch'), ('de'), ('fr'); INSERT INTO teams VALUES (1, 'ch'), (2, 'de'), (3, 'fr');
    INSERT INTO people SELECT i, 1 + i % 3, nullif(i / 2, 0) FROM generate_series(1, 16) i;
    INSERT INTO shifts SELECT i, i, '2025-01-01' FROM generate_series(1, 16) i;
    INSERT INTO notes SELECT i, i, 17 - i FROM generate_series(1, 16) i;
    INSERT INTO parted VALUES ('a', 1, 1), ('b', 2, 2)"""
GONE = "TRUNCATE countries, teams, people, shifts, notes, parted"


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({"tables": ["shifts"]}, {"countries": 3, "teams": 3, "people": 16, "shifts": 16}),
        # Person 12, its bosses 6, 3 and 1, their teams 1 and 2, and the countries of these.
        ({"tables": ["shifts"], "where": "id = 12"}, {"countries": 2, "teams": 2, "people": 4, "shifts": 1}),
        ({"tables": ["people"], "where": "id = 9"}, {"countries": 3, "teams": 3, "people": 4}),
        ({"tables": ["teams"], "where": "id = 2"}, {"countries": 1, "teams": 1}),
        # Its note 16 is by person 1; the note of person 16, on shift 1, does not hang on shift 16.
        (
            {"tables": ["shifts"], "where": "id = 16", "dependents": True},
            {"countries": 2, "teams": 2, "people": 5, "shifts": 1, "notes": 1},
        ),
        ({"tables": ["parted"], "where": "id < 9"}, {"countries": 1, "teams": 1, "parted": 2}),
        ({"tables": ["shifts"], "where": "false"}, {"countries": 0, "teams": 0, "people": 0, "shifts": 0}),
        ({"tables": ["shifts"], "exact": True}, {"countries": 3, "teams": 3, "people": 16, "shifts": 16}),
    ],
)
def test_rows_come_back_with_all_that_they_refer_to(
    empty_database: TestDatabase, wanted: dict[str, object], rows: dict[str, int]
) -> None:
    empty_database.execute(SCHEMA)
    done = done_as_previewed(empty_database, GONE, parents=True, **wanted)
    assert {table.table.removeprefix("public."): table.inserted for table in done.tables} == rows
    assert not done.total("blocked")


def test_without_them_the_missing_parent_is_named_with_what_takes_it_along(empty_database: TestDatabase) -> None:
    empty_database.execute(SCHEMA)
    done = done_as_previewed(empty_database, GONE, tables=["shifts"], where="id = 12")
    (group,) = done.blocked
    assert (group.kind, group.columns, group.constraint, group.other, group.rows) == (
        SampleKind.PARENT, ("person",), "shifts_person_fkey", "public.people", 1
    )  # fmt: skip
    assert group.hint == "restore public.people as well: --table public.people, or --parents"
    (sample,) = done.samples
    assert sample.in_the_way == Obstacle(table="public.people", key={"id": "12"}, side=None)


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        (
            {"tables": ["shifts"], "adaptation": Adaptation.parse(map_tables=["people=persons"])},
            "restore public.persons as well: --table public.persons, or --parents",
        ),
        (
            {"adaptation": Adaptation.parse(skip_tables=["people"])},
            "no table of the backup goes into public.persons: change its rows by hand first",
        ),
    ],
)
def test_a_parent_that_is_called_otherwise_now_or_left_out_is_named_by_its_live_name(
    empty_database: TestDatabase, wanted: dict[str, object], hint: str
) -> None:
    empty_database.execute(SCHEMA)
    done = done_as_previewed(empty_database, f"{GONE}; ALTER TABLE people RENAME TO persons", **wanted)
    (found,) = {group.hint for group in done.blocked if group.constraint == "shifts_person_fkey"}
    assert found == hint


def test_parents_that_differ_are_treated_like_all_rows(empty_database: TestDatabase) -> None:
    empty_database.execute(SCHEMA)
    archive = archive_of(empty_database)
    empty_database.execute("TRUNCATE notes, shifts; UPDATE people SET boss = NULL WHERE id IN (6, 7)")
    done, _ = merge(empty_database, archive, request(tables=["shifts"], where="id = 12", parents=True))
    assert (done.total("inserted"), done.total("updated")) == (1, 1)  # 6 is the boss of 12, 7 is not


def test_parents_are_refused_without_a_table(empty_database: TestDatabase) -> None:
    empty_database.execute(SCHEMA)
    with pytest.raises(RestoreValidationError, match="--parents need a table"):
        merge(empty_database, archive_of(empty_database), request(parents=True))
