"""What a merge does with keys, columns, partitions, triggers, sequences and a choice of rows; see also the oracle."""

from __future__ import annotations

import datetime as dt
import io
import threading
from typing import Any

import psycopg
import pytest

from app.archive.reader import Archive, build_index
from app.domain.backup import Codec
from app.domain.changes import SampleKind, TableChanges
from app.embedded.postgres import binaries
from app.embedded.server import environment
from app.errors import (
    MergeConflictError,
    RestoreBusyError,
    RestoreDataError,
    RestorePermissionError,
    RestoreValidationError,
)
from app.postgres.merge import live as merge_module
from app.postgres.merge import session as merge_session
from app.postgres.programs import output_of
from tests.fix_merge import archive_of, beside, merge, request, undo
from tests.fix_postgres import TestDatabase, copy_of_all_tables
from tests.tiers import ALL

SCHEMA = """
    CREATE TABLE people (id int PRIMARY KEY, email text UNIQUE, name text, updated_at timestamptz DEFAULT '2025-01-01');
    CREATE TABLE shifts (day date, slot int, person int REFERENCES people, note text, PRIMARY KEY (day, slot));
    CREATE TABLE log (at date, said text);
    INSERT INTO people SELECT i, 'p' || i, 'person ' || i FROM generate_series(1, 20) i;
    INSERT INTO shifts SELECT date '2025-01-01' + i, i % 3, 1 + i % 20 FROM generate_series(1, 90) i;
    INSERT INTO log SELECT date '2025-01-01', 'same' FROM generate_series(1, 3);
    INSERT INTO log VALUES ('2025-01-02', NULL), ('2025-01-02', E'a\\tb\\\\n')"""


@pytest.fixture
def database(empty_database: TestDatabase) -> TestDatabase:
    empty_database.execute(SCHEMA)
    return empty_database


def of(name: str, **counts: int) -> TableChanges:
    return TableChanges(table=f"public.{name}", **counts)


def changes_of(done: object, name: str) -> TableChanges:
    return next(each for each in done.tables if each.table == f"public.{name}")  # type: ignore[attr-defined]


@pytest.mark.parametrize("codec", list(Codec))
def test_deleted_rows_come_back_whatever_compressed_the_backup(database: TestDatabase, codec: Codec) -> None:
    archive, before = archive_of(database, codec), copy_of_all_tables(database.url)
    database.execute("DELETE FROM shifts WHERE slot = 1; DELETE FROM log; UPDATE people SET name = 'x' WHERE id < 4")
    done, _ = merge(database, archive, request())
    assert done.tables == (
        of("log", inserted=5),
        of("people", updated=3, conflicting=3, unchanged=17),
        of("shifts", inserted=30, unchanged=60),
    )
    assert copy_of_all_tables(database.url) == before


def test_rows_that_only_the_live_database_has_stay(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute("INSERT INTO people VALUES (99, 'p99', 'new'); INSERT INTO log VALUES ('2025-02-02', 'new')")
    done, _ = merge(database, archive, request())
    assert done.total("changed") == 0
    assert changes_of(done, "people").live_only == 1
    assert database.query("SELECT count(*) FROM people WHERE id = 99") == [(1,)]


def test_each_conflict_is_named_by_table_key_and_column(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute(
        "UPDATE people SET name = 'x', updated_at = now() WHERE id = 3; UPDATE people SET email = 'gone' WHERE id = 5;"
        "DELETE FROM shifts WHERE person IN (7, 8); DELETE FROM people WHERE id IN (7, 8);"
        "INSERT INTO people VALUES (77, 'p7', 'has the address of 7 now')"
    )
    with beside(database, archive, request("keep-live")) as found:
        samples = {(each.table, each.kind, tuple(each.key.values())): each.columns for each in found.preview().samples}
    assert samples[("public.people", SampleKind.DIFFERS, ("3",))] == ("name", "updated_at")
    assert samples[("public.people", SampleKind.DIFFERS, ("5",))] == ("email",)
    assert samples[("public.people", SampleKind.UNIQUE, ("7",))] == ("email",)
    assert samples[("public.people", SampleKind.INSERTED, ("8",))] == ()
    orphans = {key: columns for (_, kind, key), columns in samples.items() if kind is SampleKind.PARENT}
    assert set(orphans.values()) == {("person",)}
    assert {day for day, _ in orphans} == {str(day) for (day,) in _days_of(7)}


def _days_of(person: int) -> list[tuple[str]]:

    return [(str(dt.date(2025, 1, 1) + dt.timedelta(days=i)),) for i in range(1, 91) if 1 + i % 20 == person]


def test_at_most_a_hundred_samples_conflicts_first(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute("UPDATE shifts SET note = 'x'; DELETE FROM log")
    with beside(database, archive, request("keep-live")) as found:
        samples = found.preview().samples
    assert [each.kind for each in samples] == [SampleKind.DIFFERS] * 90 + [SampleKind.INSERTED] * 5
    assert len(samples) <= 100


def test_samples_are_of_all_tables_and_kinds_in_turn(database: TestDatabase) -> None:
    for name in ("a", "z"):
        database.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, v int)")
        database.execute(f"INSERT INTO {name} SELECT i, i FROM generate_series(1, 400) i")
    archive = archive_of(database)
    for name in ("a", "z"):
        database.execute(f"DELETE FROM {name} WHERE id <= 200; UPDATE {name} SET v = 0 WHERE id > 385")
    with beside(database, archive, request()) as found:
        samples = found.preview().samples
    assert len(samples) == 100
    assert [(each.table, each.kind) for each in samples[:30]] == [("public.a", "updated"), ("public.z", "updated")] * 15
    assert [(each.table, each.kind) for each in samples[30:]] == [
        ("public.a", "inserted"), ("public.z", "inserted")
    ] * 35  # fmt: skip


def test_the_newest_row_wins_and_what_has_no_time_is_older(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute(
        "UPDATE people SET name = 'newer', updated_at = '2026-01-01' WHERE id = 1;"
        "UPDATE people SET name = 'older', updated_at = '2024-01-01' WHERE id = 2;"
        "UPDATE people SET name = 'none', updated_at = NULL WHERE id = 3; UPDATE shifts SET note = 'x' WHERE slot = 0"
    )
    done, _ = merge(database, archive, request("newest:updated_at"))
    assert changes_of(done, "people") == of("people", updated=2, conflicting=3, unchanged=17)
    assert changes_of(done, "shifts") == of("shifts", conflicting=30, unchanged=60)
    assert database.query("SELECT name FROM people WHERE id < 4 ORDER BY id") == [
        ("newer",),
        ("person 2",),
        ("person 3",),
    ]


def test_a_column_that_tells_no_newest_row_is_refused(database: TestDatabase) -> None:
    with (
        beside(database, archive_of(database), request("newest:changed")) as found,
        pytest.raises(RestoreValidationError, match="none of the tables has a column changed"),
    ):
        found.preview()


def test_to_fail_changes_nothing(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute("UPDATE people SET name = 'x' WHERE id = 1; DELETE FROM log")
    before = copy_of_all_tables(database.url)
    with pytest.raises(MergeConflictError, match=r"1 rows differ and 0 are blocked, in public\.people"):
        merge(database, archive, request("fail"))
    assert copy_of_all_tables(database.url) == before


def test_triggers_and_rules_are_still_and_then_as_they_were(database: TestDatabase) -> None:
    database.execute(
        "CREATE TABLE seen (what text);"
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO seen VALUES (TG_NAME); RETURN NEW; END $$;"
        "CREATE TRIGGER normal AFTER INSERT OR UPDATE ON people FOR EACH ROW EXECUTE FUNCTION see();"
        "CREATE TRIGGER always AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION see();"
        "CREATE TRIGGER off AFTER INSERT ON people FOR EACH ROW EXECUTE FUNCTION see();"
        "ALTER TABLE people ENABLE ALWAYS TRIGGER always; ALTER TABLE people DISABLE TRIGGER off;"
        "CREATE RULE also AS ON INSERT TO log DO ALSO INSERT INTO seen VALUES ('rule')"
    )
    archive = archive_of(database)
    database.execute("DELETE FROM shifts; DELETE FROM people WHERE id > 10; UPDATE people SET name = 'x'")
    database.execute("DELETE FROM log; DELETE FROM seen")
    state = "SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1"
    before = database.query(state)
    _, inverse = merge(database, archive, request())
    assert database.query("SELECT * FROM seen") == []
    assert database.query(state) == before == [("always", "A"), ("normal", "O"), ("off", "D")]
    assert database.query("SELECT ev_enabled FROM pg_rewrite WHERE rulename = 'also'") == [("O",)]
    undo(database, inverse)
    assert database.query("SELECT * FROM seen") == []
    assert database.query(state) == before


def test_sequences_go_forward_and_never_back(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE a (id serial PRIMARY KEY, n int); CREATE TABLE b (id int GENERATED ALWAYS AS IDENTITY, n int);"
        "CREATE SEQUENCE down INCREMENT -2 MAXVALUE 100; CREATE SEQUENCE behind;"
        "SELECT nextval('down'), nextval('down'), setval('behind', 5);"
        "INSERT INTO a (n) SELECT 1 FROM generate_series(1, 50); INSERT INTO b (n) SELECT 1 FROM generate_series(1, 9)"
    )
    archive = archive_of(empty_database)
    empty_database.execute(
        "DELETE FROM a; DELETE FROM b; ALTER SEQUENCE a_id_seq RESTART; ALTER SEQUENCE b_id_seq RESTART;"
        "SELECT setval('behind', 70); ALTER SEQUENCE down RESTART"
    )
    done, _ = merge(empty_database, archive, request())
    query = "SELECT nextval('a_id_seq'), nextval('b_id_seq'), nextval('behind'), nextval('down')"
    assert empty_database.query(query) == [(51, 10, 71, 96)]
    assert "sequence a_id_seq goes on from 51" in [note.replace("public.", "") for note in done.notes]


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
    assert done.schema == ("column public.people.phone is not in the backup",)
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
        (NEW_COLUMN, "public.log wants a value for must"),
        (OTHER_KEY, "not told apart by the live key"),
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


def test_a_value_that_does_not_fit_the_live_type_is_an_error_without_its_value(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute("ALTER TABLE people ALTER COLUMN name TYPE int USING id")
    with pytest.raises(RestoreDataError, match=r"rows of public\.people: invalid input syntax") as raised:
        merge(database, archive, request())
    assert "person 1" not in str(raised.value)


def test_one_row_or_a_range_of_dates_can_be_brought_back(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute("DELETE FROM shifts; DELETE FROM log")
    wanted = request(tables=["shifts"], where="day BETWEEN '2025-01-05' AND '2025-01-07'")
    done, _ = merge(database, archive, wanted)
    assert done.tables == (of("shifts", inserted=3),)
    assert database.query("SELECT count(*) FROM log") == [(0,)]
    merge(database, archive, request(tables=["public.shifts"], where="t.day = '2025-01-20' AND slot = 1"))
    assert database.query("SELECT count(*) FROM shifts") == [(4,)]


@pytest.mark.parametrize("where", ["day >", "true); DROP TABLE log; --", "nosuch = 1", "nextval('s') > 0", "1"])
def test_a_condition_that_is_none_is_refused_and_does_nothing(database: TestDatabase, where: str) -> None:
    database.execute("CREATE SEQUENCE s")
    archive, before = archive_of(database), copy_of_all_tables(database.url)
    with pytest.raises(RestoreValidationError, match=r"condition on public\.shifts"):
        merge(database, archive, request(tables=["shifts"], where=where))
    assert copy_of_all_tables(database.url) == before
    assert database.query("SELECT is_called FROM s") == [(False,)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tables": ["shift"]}, "the backup has no table shift"),
        ({"where": "true"}, "of which table"),
        ({"dependents": True}, "of which table"),
        ({"tables": ["shifts"], "where": "true", "exact": True}, "--where chooses rows to merge"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(database: TestDatabase, options: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(RestoreValidationError, match=message):
        merge(database, archive_of(database), request(**options))


def test_a_name_in_two_schemas_must_be_told_apart(database: TestDatabase) -> None:
    database.execute("CREATE SCHEMA other; CREATE TABLE other.log (a int)")
    with pytest.raises(RestoreValidationError, match="more than one table is called log"):
        merge(database, archive_of(database), request(tables=["log"]))


def test_chosen_tables_become_what_they_were(database: TestDatabase) -> None:
    archive, before = archive_of(database), copy_of_all_tables(database.url)
    database.execute(
        "DELETE FROM shifts WHERE slot = 0; INSERT INTO shifts VALUES ('2030-01-01', 1, 1); DELETE FROM log;"
        "INSERT INTO log VALUES ('2025-01-01', 'same'), ('2025-01-01', 'other'); UPDATE people SET name = 'stays'"
    )
    changed = copy_of_all_tables(database.url)
    done, inverse = merge(database, archive, request(tables=["shifts", "log"], exact=True))
    assert done.tables == (
        of("log", inserted=4, deleted=1, unchanged=1),
        of("shifts", inserted=30, deleted=1, unchanged=60),
    )
    after = copy_of_all_tables(database.url)
    assert {name: its for name, its in after.items() if "people" not in name} == {
        name: its for name, its in before.items() if "people" not in name
    }
    assert after['"public"."people"'] == changed['"public"."people"']
    undo(database, inverse)
    assert copy_of_all_tables(database.url) == changed


def test_a_row_that_others_refer_to_is_not_deleted_unless_they_come_along(database: TestDatabase) -> None:
    archive, before = archive_of(database), copy_of_all_tables(database.url)
    database.execute("INSERT INTO people VALUES (99, 'p99'); INSERT INTO shifts VALUES ('2030-01-01', 1, 99)")
    changed = copy_of_all_tables(database.url)
    with pytest.raises(MergeConflictError, match="1 rows of the chosen tables"):
        merge(database, archive, request(tables=["people"], exact=True))
    assert copy_of_all_tables(database.url) == changed
    done, _ = merge(database, archive, request(tables=["people"], dependents=True, exact=True))
    assert done.total("deleted") == 2
    assert copy_of_all_tables(database.url) == before


def test_an_update_never_cascades(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE); INSERT INTO p VALUES (1, 'a'), (2, 'b');"
        "CREATE TABLE c (id int PRIMARY KEY, code text REFERENCES p (code) ON UPDATE CASCADE ON DELETE CASCADE)"
    )
    archive = archive_of(empty_database)
    empty_database.execute("UPDATE p SET code = code || code; INSERT INTO c VALUES (1, 'aa')")
    done, _ = merge(empty_database, archive, request())
    assert changes_of(done, "p") == of("p", updated=1, conflicting=2, blocked=1)
    assert empty_database.query("SELECT code FROM c") == [("aa",)]
    assert empty_database.query("SELECT code FROM p ORDER BY id") == [("aa",), ("b",)]


def test_cycles_and_references_to_oneself_come_back(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE a (id int PRIMARY KEY, b int NOT NULL, a int REFERENCES a);"
        "CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a);"
        "WITH x AS (INSERT INTO a SELECT i, i, 101 - i FROM generate_series(1, 100) i) INSERT INTO b"
        " SELECT i, 101 - i FROM generate_series(1, 100) i; ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b"
    )
    archive, before = archive_of(empty_database), copy_of_all_tables(empty_database.url)
    empty_database.execute("TRUNCATE a, b")
    _, inverse = merge(empty_database, archive, request())
    assert copy_of_all_tables(empty_database.url) == before
    undo(empty_database, inverse)
    assert empty_database.query("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)") == [(0, 0)]


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


def test_undo_refuses_where_a_row_was_changed_since(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute("DELETE FROM shifts WHERE slot = 1")
    _, inverse = merge(database, archive, request())
    database.execute("UPDATE shifts SET note = 'since' WHERE day = '2025-01-02'")
    before = copy_of_all_tables(database.url)
    with pytest.raises(RestoreDataError, match=r"rows of public\.shifts were changed since the merge"):
        undo(database, inverse)
    assert copy_of_all_tables(database.url) == before


def test_what_fails_at_the_last_moment_changes_nothing(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute("DELETE FROM shifts WHERE slot = 1")
    before = copy_of_all_tables(database.url)

    def fail(_: str) -> None:
        raise RuntimeError("the catalog is gone")

    with pytest.raises(RuntimeError):
        merge(database, archive, request(), fail)
    assert copy_of_all_tables(database.url) == before


def test_a_preview_waits_for_nobody_and_a_merge_not_for_ever(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = archive_of(database)
    database.execute("DELETE FROM shifts WHERE slot = 1")
    monkeypatch.setattr(merge_session, "LOCK_WAIT_MS", 300)
    with database.connect() as other, other.transaction():
        other.execute("LOCK TABLE shifts IN EXCLUSIVE MODE")
        with beside(database, archive, request()) as found:
            assert found.preview().total("inserted") == 30
        with pytest.raises(RestoreBusyError, match=r"lock on public\.shifts: .* lock timeout"):
            merge(database, archive, request())


def test_a_role_without_rights_is_told_so(database: TestDatabase) -> None:
    archive: Archive = archive_of(database)
    database.execute("DELETE FROM log")
    database.execute("DROP ROLE IF EXISTS merge_reader; CREATE ROLE merge_reader LOGIN PASSWORD 'r'")
    try:
        database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO merge_reader")
        name, place = database.url.split("@")[0].split(":")[1].strip("/"), database.url.split("@")[1]
        assert name == "postgres"
        reader = TestDatabase(database.name, f"postgresql://merge_reader:r@{place}")
        with beside(reader, archive, request()) as found:
            assert found.preview().total("inserted") == 5
        with pytest.raises(RestorePermissionError, match="permission denied"):
            merge(reader, archive, request())
    finally:
        database.execute("DROP OWNED BY merge_reader; DROP ROLE merge_reader")


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


def test_one_row_comes_back_with_what_hangs_on_it_and_no_more(database: TestDatabase) -> None:
    database.execute(
        "CREATE TABLE notes (id int PRIMARY KEY, day date, slot int, FOREIGN KEY (day, slot) REFERENCES shifts)"
    )
    database.execute("INSERT INTO notes SELECT row_number() OVER (), day, slot FROM shifts")
    archive = archive_of(database)
    database.execute("DELETE FROM notes; DELETE FROM shifts; DELETE FROM people WHERE id IN (3, 4)")
    done, _ = merge(database, archive, request(tables=["people"], dependents=True, where="id = 3"))
    assert [(each.table, each.inserted) for each in done.tables] == [
        ("public.notes", 5),
        ("public.people", 1),
        ("public.shifts", 5),
    ]
    assert database.query("SELECT DISTINCT person FROM shifts") == [(3,)]


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


def test_a_sequence_that_others_draw_from_meanwhile_does_not_go_back(
    empty_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_database.execute("CREATE TABLE a (id serial PRIMARY KEY); INSERT INTO a SELECT FROM generate_series(1, 100)")
    archive = archive_of(empty_database)
    empty_database.execute("DELETE FROM a; ALTER SEQUENCE a_id_seq RESTART")
    real = merge_module.apply

    def drawn(*arguments: Any) -> None:
        empty_database.execute("SELECT nextval('a_id_seq') FROM generate_series(1, 500)")
        real(*arguments)

    monkeypatch.setattr(merge_module, "apply", drawn)
    merge(empty_database, archive, request())
    assert empty_database.query("SELECT nextval('a_id_seq')") == [(501,)]


def test_undo_locks_what_it_looks_at(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute("DELETE FROM shifts WHERE slot = 1")
    _, inverse = merge(database, archive, request())
    text = inverse.decode()
    assert text.index('LOCK TABLE ONLY "public"."shifts" IN SHARE ROW EXCLUSIVE MODE') < text.index("DO $")


def test_a_database_that_is_closed_to_writers_is_merged_into_all_the_same(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute(f"DELETE FROM log; ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    done, inverse = merge(database, archive, request())
    assert done.total("inserted") == 5
    undo(database, inverse)


def test_a_whole_replace_is_previewed_whatever_became_of_the_schema(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute(
        "ALTER TABLE people DROP COLUMN name; ALTER TABLE log ALTER COLUMN said TYPE int USING 1;"
        "DELETE FROM shifts WHERE slot = 0; ALTER TABLE shifts DROP CONSTRAINT shifts_pkey; DROP TABLE log"
    )
    database.execute("CREATE TABLE log (at int, said text); INSERT INTO log VALUES (1), (2)")
    with beside(database, archive, request(exact=True)) as found:
        preview = found.preview()
    assert preview.tables == (
        of("log", inserted=5, deleted=2),
        of("people", updated=20, conflicting=20),
        of("shifts", inserted=30, unchanged=60),
    )
    assert "column public.people.name is not in the live database" in preview.schema


REFERRED = """
    CREATE TABLE p (id int PRIMARY KEY, v text);
    CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE);
    INSERT INTO p SELECT i, 'v' FROM generate_series(1, 5) i; INSERT INTO c VALUES (1, 1)"""


def test_undo_refuses_where_a_newer_row_would_go_with_what_it_takes_away(empty_database: TestDatabase) -> None:
    empty_database.execute(REFERRED)
    archive = archive_of(empty_database)
    empty_database.execute("DELETE FROM p WHERE id = 2")
    _, inverse = merge(empty_database, archive, request())
    empty_database.execute("INSERT INTO c VALUES (2, 2)")
    with pytest.raises(RestoreDataError, match=r"rows of public\.c refer to rows that the merge has brought"):
        undo(empty_database, inverse)
    assert empty_database.query("SELECT count(*) FROM c") == [(2,)]


def test_a_row_that_comes_while_chosen_tables_are_replaced_is_not_taken_along(empty_database: TestDatabase) -> None:
    empty_database.execute(REFERRED)
    archive = archive_of(empty_database)
    empty_database.execute("INSERT INTO p VALUES (9, 'new')")
    with empty_database.connect() as other:
        with other.transaction():
            other.execute("INSERT INTO c VALUES (9, 9)")
            results: list[object] = []
            waits = threading.Thread(target=lambda: results.append(_outcome(empty_database, archive)))
            waits.start()
            waits.join(1)
        waits.join(30)
    assert isinstance(results[0], MergeConflictError)
    assert empty_database.query("SELECT count(*) FROM c") == [(2,)]


def _outcome(database: TestDatabase, archive: Archive) -> object:
    try:
        return merge(database, archive, request(tables=["p"], exact=True))
    except MergeConflictError as error:
        return error


def test_a_foreign_key_of_one_partition_is_seen(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE m (id int, p int) PARTITION BY RANGE (id);"
        "CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (10); ALTER TABLE m1 ADD FOREIGN KEY (p) REFERENCES p"
        " ON DELETE CASCADE; INSERT INTO p VALUES (1)"
    )
    archive = archive_of(empty_database)
    empty_database.execute("INSERT INTO p VALUES (2); INSERT INTO m VALUES (1, 2)")
    with pytest.raises(MergeConflictError, match="1 rows of the chosen tables"):
        merge(empty_database, archive, request(tables=["p"], exact=True))
    assert empty_database.query("SELECT count(*) FROM m") == [(1,)]
    with pytest.raises(RestoreValidationError, match=r"m1 is a partition of public\.m"):
        merge(empty_database, archive, request(tables=["m1"]))
    archive, before = archive_of(empty_database), copy_of_all_tables(empty_database.url)
    empty_database.execute("DELETE FROM m; DELETE FROM p")
    _, inverse = merge(empty_database, archive, request())
    assert copy_of_all_tables(empty_database.url) == before
    undo(empty_database, inverse)
    assert empty_database.query("SELECT (SELECT count(*) FROM m), (SELECT count(*) FROM p)") == [(0, 0)]


def test_undo_of_a_table_without_a_key_spares_what_only_looks_alike(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE log (said text); INSERT INTO log VALUES ('x'), ('x')")
    archive = archive_of(empty_database)
    empty_database.execute("DELETE FROM log; ALTER TABLE log ADD COLUMN who int; INSERT INTO log VALUES ('x', 42)")
    before = empty_database.query("SELECT * FROM log")
    done, inverse = merge(empty_database, archive, request())
    assert done.total("inserted") == 1
    undo(empty_database, inverse)
    assert empty_database.query("SELECT * FROM log") == before


def test_a_dump_of_inserts_is_no_dump_to_merge(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    options = [str(binaries() / "pg_dump"), "--inserts", "-d", empty_database.url]
    text = output_of(options, environment()).encode()
    archive = Archive(lambda: io.BytesIO(text), Codec.NONE, build_index(io.BytesIO(text), Codec.NONE))
    empty_database.execute("DELETE FROM t")
    with pytest.raises(RestoreValidationError, match="as INSERT statements"):
        merge(empty_database, archive, request())


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


def test_a_sequence_of_another_owner_stays_and_is_told_of(database: TestDatabase) -> None:
    database.execute("CREATE SEQUENCE s; SELECT nextval('s'); DROP ROLE IF EXISTS merge_writer")
    archive = archive_of(database)
    database.execute("ALTER SEQUENCE s RESTART; DELETE FROM log; CREATE ROLE merge_writer LOGIN PASSWORD 'r'")
    try:
        database.execute(
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO merge_writer; GRANT ALL ON SEQUENCE s TO merge_writer"
        )
        writer = TestDatabase(database.name, f"postgresql://merge_writer:r@{database.url.split('@')[1]}")
        done, _ = merge(writer, archive, request())
        assert done.total("inserted") == 5
        assert [each for each in done.notes if "does not own" in each and "sequence" in each]
    finally:
        database.execute("DROP OWNED BY merge_writer; DROP ROLE merge_writer")
