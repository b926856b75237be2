"""What a merge does with keys, columns, partitions, triggers, sequences and a choice of rows; see also the oracle."""

from __future__ import annotations

import datetime as dt
import io
from typing import Any

import pytest

from app.archive.reader import Archive, build_index
from app.domain.backup import Codec
from app.domain.changes import SampleKind
from app.embedded.postgres import binaries
from app.embedded.server import environment
from app.errors import (
    MergeConflictError,
    RestoreBusyError,
    RestorePermissionError,
    RestoreValidationError,
)
from app.postgres import lock_retries
from app.postgres.merge import merger as merge_module
from app.postgres.programs import output_of
from tests.fix_merge import archive_of, beside, merge, request, undo
from tests.fix_people import changes_of, of
from tests.fix_postgres import TestDatabase, copy_of_all_tables


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
    monkeypatch.setattr(lock_retries, "LOCK_WAIT_MS", 300)
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


def test_a_database_that_is_closed_to_writers_is_merged_into_all_the_same(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute(f"DELETE FROM log; ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    done, inverse = merge(database, archive, request())
    assert done.total("inserted") == 5
    undo(database, inverse)


def test_a_dump_of_inserts_is_no_dump_to_merge(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1)")
    options = [str(binaries() / "pg_dump"), "--inserts", "-d", empty_database.url]
    text = output_of(options, environment()).encode()
    archive = Archive(lambda: io.BytesIO(text), Codec.NONE, build_index(io.BytesIO(text), Codec.NONE))
    empty_database.execute("DELETE FROM t")
    with pytest.raises(RestoreValidationError, match="as INSERT statements"):
        merge(empty_database, archive, request())


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
