"""Samples show both values, and what stands in the way of a row; what is blocked comes first."""

from __future__ import annotations

import pytest

from app.domain.changes import BlockedRows, Obstacle, Sample, SampleKind, Values
from app.errors import MergeConflictError
from tests.fix_merge import archive_of, beside, done_as_previewed, merge, request
from tests.fix_people import REFERRED, of
from tests.fix_postgres import TestDatabase


def test_blocked_rows_are_not_drowned_by_updates(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE t (id int PRIMARY KEY, v int, code text UNIQUE);"
        "INSERT INTO a SELECT i, i FROM generate_series(1, 500) i;"
        "INSERT INTO t SELECT i, i, 'c' || i FROM generate_series(1, 500) i"
    )
    done = done_as_previewed(
        empty_database,
        "UPDATE a SET v = 0; UPDATE t SET v = 0; DELETE FROM t WHERE id IN (7, 8, 400); INSERT INTO t VALUES"
        " (1007, 1, 'c7'); ALTER TABLE t ADD CONSTRAINT low CHECK (v < 400)",
    )
    assert [(sample.key["id"], sample.kind) for sample in done.samples[:4]] == [
        ("7", SampleKind.UNIQUE), ("400", SampleKind.CHECK), ("401", SampleKind.CHECK), ("402", SampleKind.CHECK)
    ]  # fmt: skip
    kinds = [sample.kind for sample in done.samples]
    assert (kinds.count(SampleKind.CHECK), kinds.count(SampleKind.UPDATED), len(kinds)) == (49, 50, 100)
    assert {(group.table, group.kind, group.columns, group.constraint, group.rows) for group in done.blocked} == {
        ("public.t", SampleKind.UNIQUE, ("code",), "t_code_key", 1),
        ("public.t", SampleKind.CHECK, ("v",), "low", 101),
    }
    seven = done.samples[0]
    assert seven.values == {"code": Values(backup="c7", live=None)}
    assert seven.in_the_way == Obstacle(table="public.t", key={"id": "1007"}, side="live")
    assert done.samples[1].values == {"v": Values(backup="400", live=None)}


WAYS = """
    CREATE TABLE t (id int PRIMARY KEY, code text, part int);
    INSERT INTO t VALUES (1, 'a', 1), (2, 'a', 2), (3, 'b', 3), (4, 'c', 4);
    CREATE TABLE circle (id int PRIMARY KEY, pos int UNIQUE); INSERT INTO circle VALUES (1, 1), (2, 2);
    CREATE TABLE p (k text, id int, v int, PRIMARY KEY (k, id)) PARTITION BY LIST (k);
    CREATE TABLE pa PARTITION OF p FOR VALUES IN ('a'); CREATE TABLE pb PARTITION OF p FOR VALUES IN ('b');
    INSERT INTO p VALUES ('a', 1, 1), ('b', 1, 1)"""


def ways(samples: tuple[Sample, ...], table: str) -> dict[str | None, Obstacle | None]:
    """What is in the way of a table's blocked rows, by their id."""
    return {
        sample.key["id"]: sample.in_the_way
        for sample in samples
        if sample.table == f"public.{table}" and sample.kind is SampleKind.UNIQUE
    }


def test_the_row_that_has_the_value_is_named_on_whichever_side_it_is(empty_database: TestDatabase) -> None:
    empty_database.execute(WAYS)
    done = done_as_previewed(
        empty_database,
        "DELETE FROM t; INSERT INTO t VALUES (9, 'b', 9); CREATE UNIQUE INDEX ON t (code);"
        "UPDATE circle SET pos = -pos; UPDATE circle SET pos = 3 + pos;"
        "TRUNCATE p; CREATE UNIQUE INDEX only_b ON pb (v); INSERT INTO p VALUES ('b', 7, 1)",
    )
    assert ways(done.samples, "t") == {
        "1": Obstacle(table="public.t", key={"id": "2"}, side="backup"),
        "2": Obstacle(table="public.t", key={"id": "1"}, side="backup"),
        "3": Obstacle(table="public.t", key={"id": "9"}, side="live"),
    }
    assert ways(done.samples, "circle") == {
        "1": Obstacle(table="public.circle", key={"id": "2"}, side="backup"),
        "2": Obstacle(table="public.circle", key={"id": "1"}, side="backup"),
    }
    assert ways(done.samples, "p") == {"1": Obstacle(table="public.p", key={"k": "b", "id": "7"}, side="live")}


def test_a_row_that_would_go_is_shown_with_one_that_refers_to_it(empty_database: TestDatabase) -> None:
    empty_database.execute(f"{REFERRED}; CREATE TABLE nameless (p int REFERENCES p)")
    archive = archive_of(empty_database)
    empty_database.execute(
        "INSERT INTO p VALUES (8), (9); INSERT INTO c VALUES (80, 8); INSERT INTO nameless VALUES (9)"
    )
    wanted = request(tables=["p"], exact=True)
    with beside(empty_database, archive, wanted) as found:
        preview = found.preview()
    assert {sample.key["id"]: sample.in_the_way for sample in preview.samples} == {
        "8": Obstacle(table="public.c", key={"id": "80"}, side="live"),
        "9": Obstacle(table="public.nameless", key={"p": "9"}, side="live"),
    }
    assert {(group.other, group.rows, group.hint) for group in preview.blocked} == {
        ("public.c", 1, "restore public.c as well: --table public.c, or --dependents"),
        ("public.nameless", 1, "restore public.nameless as well: --table public.nameless, or --dependents"),
    }
    with pytest.raises(MergeConflictError) as refused:
        merge(empty_database, archive, wanted)
    assert "--table public.c, or --dependents" in refused.value.hint


def test_an_update_of_what_is_referred_to_names_the_row_of_the_backup_too(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE); INSERT INTO p VALUES (1, 'a');"
        "CREATE TABLE c (id int PRIMARY KEY, code text REFERENCES p (code))"
    )
    archive = archive_of(empty_database)
    empty_database.execute("UPDATE p SET code = 'b'; INSERT INTO c VALUES (5, 'b')")
    with beside(empty_database, archive, request()) as found:
        (sample,) = found.preview().samples
    assert (sample.kind, sample.values) == (SampleKind.REFERENCED, {"code": Values(backup="a", live="b")})
    assert sample.in_the_way == Obstacle(table="public.c", key={"id": "5"}, side="live")


def test_both_values_are_shown_around_their_first_difference(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE t (id numeric PRIMARY KEY, long text, short text, nul text, same text);"
        "INSERT INTO t VALUES (1.0, repeat('x', 1000) || 'old', 'old', NULL, 'same')"
    )
    archive = archive_of(empty_database)
    empty_database.execute("UPDATE t SET id = 1.00, long = repeat('x', 1000) || 'new', short = 'new', nul = ''")
    with beside(empty_database, archive, request("keep-live")) as found:
        (sample,) = found.preview().samples
    assert sample.columns == ("id", "long", "short", "nul")
    assert sample.values["short"] == Values(backup="old", live="new")
    assert sample.values["nul"] == Values(backup=None, live="")
    assert sample.values["id"] == Values(backup="1.0", live="1.00")
    long = sample.values["long"]
    assert (str(long.backup)[:2], str(long.backup)[-4:], str(long.live)[-4:]) == ("…x", "xold", "xnew")
    assert len(str(long.backup)) < 210


def test_a_table_without_a_key_shows_short_rows(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE t (a text, b text); INSERT INTO t VALUES (repeat('y', 5000), NULL)")
    archive = archive_of(empty_database)
    empty_database.execute("DELETE FROM t")
    with beside(empty_database, archive, request()) as found:
        (sample,) = found.preview().samples
    assert sample.key == {"a": "y" * 200 + "…", "b": None}


def test_a_table_that_the_backup_lacks_cannot_be_taken_along(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE c (id int PRIMARY KEY, p int); INSERT INTO c VALUES (1, 1), (2, NULL)")
    change = "TRUNCATE c; CREATE TABLE p (id int PRIMARY KEY); ALTER TABLE c ADD CONSTRAINT own FOREIGN KEY (p)"
    done = done_as_previewed(empty_database, f"{change} REFERENCES p")
    assert done.tables == (of("c", inserted=1, blocked=1),)
    assert done.blocked == (
        BlockedRows(
            table="public.c",
            kind=SampleKind.PARENT,
            columns=("p",),
            rows=1,
            constraint="own",
            other="public.p",
            hint="no table of the backup goes into public.p: change its rows by hand first",
        ),
    )
