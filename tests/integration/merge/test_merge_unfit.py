"""A value that the live column's type does not take blocks its row; everything else comes back."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from app.archive.reader import Archive
from app.domain.backup import Codec
from app.domain.changes import Obstacle, SampleKind, Values
from app.errors import MergeConflictError, RestoreDataError
from tests.fix_merge import archive_of, beside, done_as_previewed, merge, request
from tests.fix_people import of
from tests.fix_postgres import TestDatabase

TYPES = """
    CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN small AS int CHECK (VALUE < 100);
    CREATE FUNCTION even(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN IF $1 % 2 = 1 THEN RAISE 'odd'; END IF; RETURN true; END $$;
    CREATE DOMAIN even AS int CHECK (even(VALUE));"""
TABLE = "CREATE TABLE t (id int PRIMARY KEY, v {}, w text)"


# The type in the backup, its values of four rows, the type by now: the second and the fourth do not fit.
RETYPED = {
    "enum label": ("text", ["good", "fine", "bad", "poor"], "mood"),
    "numeric overflow": ("numeric", ["1.50", "1234.5", "9.99", "10"], "numeric(3,2)"),
    "out of range": ("bigint", ["1", "70000", "-5", "40000"], "smallint"),
    "too short": ("text", ["abc", "abcd", "a  ", "  abc"], "varchar(3)"),
    "text to int": ("text", ["7", "seven", "-8", ""], "int"),
    "a domain's check": ("int", ["1", "100", "99", "1000"], "small"),
    "a domain's function": ("int", ["2", "3", "4", "5"], "even"),
    "json": ("text", ['{"a" : 1}', "{a}", "[]", ""], "json"),
    "array": ("text", ["{1,2}", "1,2", "{}", "{x}"], "int[]"),
    "bits": ("text", ["101", "10", "000", "1010"], "bit(3)"),
    "time": ("text", ["2025-01-01 10:00+00", "soon", "epoch", "2025-13-01"], "timestamptz"),
}


def test_of_each_retyped_column_the_rows_that_fit_come_back(empty_database: TestDatabase) -> None:
    empty_database.execute(TYPES)
    for number, (before, values, _) in enumerate(RETYPED.values()):
        rows = ", ".join(f"({at}, '{value}', 'w')" for at, value in enumerate(values, 1))
        empty_database.execute(f"CREATE TABLE t{number} (id int PRIMARY KEY, v {before}, w text)")
        empty_database.execute(f"INSERT INTO t{number} VALUES {rows}")
    changes = [
        f"DELETE FROM t{number}; ALTER TABLE t{number} ALTER v TYPE {after} USING NULL::{after}"
        for number, (_, _, after) in enumerate(RETYPED.values())
    ]
    done = done_as_previewed(empty_database, "; ".join(changes))
    assert done.tables == tuple(
        sorted(
            (of(f"t{number}", inserted=2, blocked=2) for number in range(len(RETYPED))), key=lambda table: table.table
        )
    )
    assert {(group.table, group.columns, group.rows) for group in done.blocked} == {
        (f"public.t{number}", ("v",), 2) for number in range(len(RETYPED))
    }
    for number, (_, values, _) in enumerate(RETYPED.values()):
        shown = [
            sample for sample in done.samples if sample.table == f"public.t{number}" and sample.kind is SampleKind.UNFIT
        ]
        assert [(sample.key["id"], sample.values) for sample in shown] == [
            (id_, {"v": Values(backup=value, live=None)}) for id_, value in (("2", values[1]), ("4", values[3]))
        ]
    assert len(done.columns) == len(RETYPED)


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.ZSTD])
def test_the_rest_of_a_row_and_of_its_table_is_as_copied_at_once(empty_database: TestDatabase, codec: Codec) -> None:
    empty_database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text, j json, b bytea, c char(5), n numeric(9,3), a text[], d date,"
        " i interval, f float8, u uuid, o oid, q point, t timestamptz(0), s bit varying(4));"
        "INSERT INTO t SELECT i, CASE WHEN i % 7 = 0 THEN 'x' ELSE i::text END, '{\"a\" :  1}', '\\x00ff', 'ab', 1.5,"
        " ARRAY['a b', NULL, '', E'\\t'], '2025-01-01', '1 day 2 s', 'NaN', gen_random_uuid(), 5, '(1,2)', now(), '10'"
        " FROM generate_series(1, 700) i; INSERT INTO t (id) VALUES (701)"
    )
    archive = archive_of(empty_database, codec)
    rows = "SELECT id, t::text FROM t WHERE v IS DISTINCT FROM 'x' ORDER BY id"
    before = empty_database.query(rows)
    empty_database.execute("DELETE FROM t; ALTER TABLE t ALTER v TYPE int USING NULL::int")
    done, _ = merge(empty_database, archive, request())
    assert done.tables == (of("t", inserted=601, blocked=100),)
    assert empty_database.query(rows.replace("'x'", "0")) == before


def test_a_file_that_is_read_through_goes_on_after_the_table(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text);"
        "INSERT INTO a VALUES (1, 'x'), (2, '2'); INSERT INTO b VALUES (1, repeat('b', 9000000)), (2, 'c')"
    )
    archive = archive_of(empty_database)
    segments = tuple(replace(segment, offset=None, bytes=None) for segment in archive.index.segments)
    content = b"".join(archive.whole())
    streamed = Archive(lambda: io.BytesIO(content), Codec.NONE, replace(archive.index, segments=segments))
    assert not streamed.seekable
    empty_database.execute(
        "TRUNCATE a, b; ALTER TABLE a ALTER v TYPE int USING 1; ALTER TABLE b ALTER v TYPE varchar(9)"
    )
    done, _ = merge(empty_database, streamed, request())
    assert done.tables == (of("a", inserted=1, blocked=1), of("b", inserted=1, blocked=1))


def test_rows_with_an_unfit_key_or_without_a_key_are_blocked_each(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE t (k text PRIMARY KEY, v int); INSERT INTO t VALUES ('a', 1), ('b', 2), ('3', 3);"
        "CREATE TABLE log (at text, said text); INSERT INTO log VALUES ('x', 's'), ('x', 's'), ('1', 's'), (NULL, 's')"
    )
    done = done_as_previewed(
        empty_database,
        "TRUNCATE t, log; ALTER TABLE t ALTER k TYPE int USING 1; ALTER TABLE log ALTER at TYPE int USING 1;"
        "INSERT INTO log VALUES (NULL, 's')",
    )
    assert done.tables == (of("log", inserted=1, unchanged=1, blocked=2), of("t", inserted=1, blocked=2))
    assert {sample.key["k"] for sample in done.samples if sample.kind is SampleKind.UNFIT and "k" in sample.key} == {
        "a",
        "b",
    }


def test_whoever_refers_to_a_row_that_does_not_fit_is_told_so(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE p (id int PRIMARY KEY, v text); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p);"
        "INSERT INTO p VALUES (1, 'x'), (2, '2'); INSERT INTO c VALUES (1, 1), (2, 2)"
    )
    done = done_as_previewed(empty_database, "TRUNCATE p, c; ALTER TABLE p ALTER v TYPE int USING 1")
    assert done.tables == (of("c", inserted=1, blocked=1), of("p", inserted=1, blocked=1))
    orphan = next(sample for sample in done.samples if sample.kind is SampleKind.PARENT)
    assert orphan.in_the_way == Obstacle(table="public.p", key={"id": "1"}, side="backup")


def test_what_becomes_of_a_live_row_with_the_key_is_the_policys_choice(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x'), (2, '2')")
    archive = archive_of(empty_database)
    empty_database.execute("ALTER TABLE t ALTER v TYPE int USING 9")
    for policy, counts in {
        "keep-live": of("t", conflicting=2),
        "take-backup": of("t", updated=1, conflicting=2, blocked=1),
    }.items():
        with beside(empty_database, archive, request(policy)) as found:
            assert found.preview().tables == (counts,)
    with pytest.raises(MergeConflictError, match="2 rows differ and 0 are blocked"):
        merge(empty_database, archive, request("fail"))
    with pytest.raises(MergeConflictError, match="1 rows of the chosen tables") as refused:
        merge(empty_database, archive, request(tables=["t"], exact=True))
    assert "--skip-column public.t.v" in refused.value.hint
    assert "'x'" not in f"{refused.value} {refused.value.hint}"


def test_a_diff_takes_such_a_row_as_one_that_differs(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1,'x'),(2,'2'),(3,'3')")
    archive = archive_of(empty_database)
    empty_database.execute(
        "ALTER TABLE t ALTER v TYPE int USING nullif(id, 1), ADD CHECK (v > 5) NOT VALID; DELETE FROM t WHERE id = 3"
    )
    with beside(empty_database, archive, request(exact=True)) as found:
        preview = found.preview()
    assert preview.tables == (of("t", inserted=1, updated=1, conflicting=1, unchanged=1),)
    assert preview.samples[0].values == {"v": Values(backup="x", live=None)}


def test_a_condition_counts_such_a_value_as_null_and_says_so(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x'), (2, '2')")
    archive = archive_of(empty_database)
    empty_database.execute("DELETE FROM t; ALTER TABLE t ALTER v TYPE int USING 9")
    done, _ = merge(empty_database, archive, request(tables=["t"], where="v > 0"))
    assert done.tables == (of("t", inserted=1),)
    assert ["such a value counts as NULL" in line for line in done.warnings] == [True]


def test_no_cast_of_users_is_called(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')")
    archive = archive_of(empty_database)
    empty_database.execute(
        "CREATE TYPE c AS (a int); CREATE FUNCTION to_c(text) RETURNS c LANGUAGE sql AS $$ SELECT ROW(1)::c $$;"
        "CREATE CAST (text AS c) WITH FUNCTION to_c(text) AS ASSIGNMENT; ALTER TABLE t ALTER v TYPE c USING NULL"
    )
    with pytest.raises(RestoreDataError, match=r"rows of public\.t: malformed record literal"):
        merge(empty_database, archive, request())
