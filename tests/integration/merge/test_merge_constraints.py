"""Constraints that few tables have, in a merge: what they refuse is known beforehand, and what they allow is done."""

from __future__ import annotations

import pytest

from app.domain.changes import SampleKind
from app.errors import MergeConflictError, RestoreValidationError
from tests.fix_merge import archive_of, beside, done_as_previewed, merge, request
from tests.fix_postgres import TestDatabase

PARTS = """
    CREATE TABLE p (id int, k text, v int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
    CREATE TABLE pa PARTITION OF p FOR VALUES IN ('a') PARTITION BY RANGE (id);
    CREATE TABLE pa0 PARTITION OF pa FOR VALUES FROM (0) TO (2);
    CREATE TABLE pa1 PARTITION OF pa FOR VALUES FROM (2) TO (100);
    CREATE TABLE pd PARTITION OF p DEFAULT PARTITION BY HASH (id);
    CREATE TABLE pd0 PARTITION OF pd FOR VALUES WITH (MODULUS 1, REMAINDER 0);
    CREATE TABLE x (id int PRIMARY KEY); INSERT INTO x VALUES (5), (7);
    INSERT INTO p VALUES (1, 'a', 5), (2, 'a', 5), (3, 'a', 7), (4, 'z', 5), (5, 'z', -5), (6, 'z', NULL)"""
# A constraint of one partition, and the rows that it bars when all are brought back.
LOCAL = {
    "CREATE UNIQUE INDEX ON pa1 (v); INSERT INTO p VALUES (11, 'a', 5)": {2: SampleKind.UNIQUE},
    "ALTER TABLE pd0 ADD EXCLUDE USING btree (v WITH =); INSERT INTO p VALUES (11, 'z', 5)": {4: SampleKind.UNIQUE},
    "ALTER TABLE pa0 ADD CHECK (v > 6)": {1: SampleKind.CHECK},
    "ALTER TABLE pd0 ALTER v SET NOT NULL": {6: SampleKind.CHECK},
    "ALTER TABLE pa ADD FOREIGN KEY (v) REFERENCES x; DELETE FROM x WHERE id = 7": {3: SampleKind.PARENT},
    "ALTER TABLE p ADD CHECK (v > -9)": {},
}


@pytest.mark.parametrize("change", LOCAL)
def test_what_only_a_partition_refuses_is_blocked_and_the_rest_is_done(
    empty_database: TestDatabase, change: str
) -> None:
    empty_database.execute(PARTS)
    done = done_as_previewed(empty_database, f"DELETE FROM p; {change}", tables=["p"])
    blocked = {int(each.key["id"] or 0): each.kind for each in done.samples if each.kind is not SampleKind.INSERTED}
    assert blocked == LOCAL[change]
    assert (done.total("inserted"), done.total("blocked")) == (6 - len(blocked), len(blocked))


@pytest.mark.parametrize("exact", [False, True], ids=["merge", "replace"])
@pytest.mark.parametrize(
    "unique", ["UNIQUE (pos) DEFERRABLE", "EXCLUDE USING btree (pos WITH =) DEFERRABLE INITIALLY DEFERRED"]
)
def test_rows_swap_what_is_unique_if_that_may_be_looked_at_late(
    empty_database: TestDatabase, unique: str, *, exact: bool
) -> None:
    empty_database.execute(f"CREATE TABLE t (id int PRIMARY KEY, pos int, {unique})")
    empty_database.execute("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
    done = done_as_previewed(empty_database, "UPDATE t SET pos = pos % 3 + 1", tables=["t"], exact=exact)
    assert (done.total("updated"), done.total("blocked")) == (3, 0)


def test_a_list_whose_first_row_was_taken_out_is_put_back_whole(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE t (id int PRIMARY KEY, pos int UNIQUE)")
    empty_database.execute("INSERT INTO t SELECT i, i FROM generate_series(1, 120) i")
    change = "DELETE FROM t WHERE id = 1; UPDATE t SET pos = -pos; UPDATE t SET pos = -pos - 1"
    done = done_as_previewed(empty_database, change, tables=["t"], exact=True)
    assert (done.total("inserted"), done.total("updated"), done.total("blocked")) == (1, 119, 0)


def test_a_replace_that_a_circle_stops_says_the_way_out(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE t (id int PRIMARY KEY, pos int UNIQUE); INSERT INTO t VALUES (1, 1), (2, 2)")
    archive = archive_of(empty_database)
    empty_database.execute("UPDATE t SET pos = -pos; UPDATE t SET pos = 3 + pos")
    with pytest.raises(MergeConflictError) as failed:
        merge(empty_database, archive, request(tables=["t"], exact=True))
    assert "make their constraint DEFERRABLE" in (failed.value.hint or "")


@pytest.mark.parametrize(
    "constraint", ["ALTER TABLE t ADD CONSTRAINT odd CHECK (fine(t))", "CREATE UNIQUE INDEX odd ON t (value_of(t))"]
)
def test_a_constraint_over_the_whole_row_stops_no_merge(empty_database: TestDatabase, constraint: str) -> None:
    empty_database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2);"
        "CREATE FUNCTION fine(t) RETURNS bool LANGUAGE sql IMMUTABLE AS $$ SELECT $1.v > 0 $$;"
        f"CREATE FUNCTION value_of(t) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT $1.v $$; {constraint}"
    )
    done = done_as_previewed(empty_database, "DELETE FROM t WHERE id = 1; UPDATE t SET v = 7")
    assert (done.total("inserted"), done.total("updated")) == (1, 1)
    assert done.notes == ("odd of public.t cannot be checked beforehand: if it refuses a row, the whole merge fails",)


def test_rows_of_a_period_are_told_apart_by_their_key(empty_database: TestDatabase) -> None:
    if empty_database.query("SELECT current_setting('server_version_num')::int < 180000")[0][0]:
        pytest.skip("keys of periods came with PostgreSQL 18")
    empty_database.execute(
        "CREATE TABLE t (id int4range, r daterange, v int, PRIMARY KEY (id, r WITHOUT OVERLAPS));"
        "INSERT INTO t VALUES ('[1,2)', '[2025-01-01,2025-02-01)', 1), ('[1,2)', '[2025-02-01,2025-03-01)', 2),"
        " ('[1,2)', '[2025-03-01,2025-04-01)', 3);"
        "CREATE TABLE c (n int PRIMARY KEY, id int4range, r daterange,"
        " CONSTRAINT lasts FOREIGN KEY (id, PERIOD r) REFERENCES t (id, PERIOD r))"
    )
    change = "UPDATE t SET v = 9 WHERE v = 1; UPDATE t SET r = '[2025-02-01,2025-02-15)' WHERE v = 2; DELETE FROM t"
    done = done_as_previewed(empty_database, f"{change} WHERE v = 3")
    assert [(each.inserted, each.updated, each.blocked) for each in done.tables] == [(0, 0, 0), (1, 1, 1)]
    assert "lasts of public.c cannot be checked beforehand: if it refuses a row, the whole merge fails" in done.notes


@pytest.mark.parametrize(
    ("identity", "change"),
    [
        ("NOTHING", "UPDATE p SET v = 9"),
        ("DEFAULT", "UPDATE p SET v = 9"),
        ("FULL", "UPDATE p SET v = 9"),
        ("NOTHING", "DELETE FROM p WHERE id < 4"),
    ],
)
def test_published_rows_without_an_identity_are_refused_beforehand(
    empty_database: TestDatabase, identity: str, change: str
) -> None:
    empty_database.execute(PARTS)
    archive = archive_of(empty_database)
    empty_database.execute(change)
    for part in ("pa0", "pa1", "pd0"):
        empty_database.execute(f"ALTER TABLE {part} REPLICA IDENTITY {identity}")
    empty_database.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    if identity == "NOTHING" and "UPDATE" in change:
        with (
            beside(empty_database, archive, request()) as found,
            pytest.raises(RestoreValidationError, match=r"public\.p.* published without a replica identity"),
        ):
            found.preview()
        with pytest.raises(RestoreValidationError, match=r"public\.p.* published without a replica identity"):
            merge(empty_database, archive, request())
    else:
        done, _ = merge(empty_database, archive, request())
        assert done.total("inserted") + done.total("updated") > 2


def test_materialized_views_of_changed_rows_are_told_of(empty_database: TestDatabase) -> None:
    empty_database.execute(
        f"{PARTS}; CREATE TABLE other (id int PRIMARY KEY); CREATE VIEW w AS SELECT count(*) FROM pa;"
        "CREATE MATERIALIZED VIEW m AS SELECT * FROM w; CREATE MATERIALIZED VIEW n AS SELECT * FROM other"
    )
    done = done_as_previewed(empty_database, "DELETE FROM p")
    assert done.notes == ("materialized view public.m still shows the old rows: REFRESH MATERIALIZED VIEW public.m",)
