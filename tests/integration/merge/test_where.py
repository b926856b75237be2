"""What the operator's condition, and a preview, may do: look, and leave nothing; and say nothing of what rows hold."""

from __future__ import annotations

import json

import pytest
from structlog.testing import capture_logs

from app.errors import RestoreValidationError
from tests.fix_damaged import Damaged
from tests.fix_matrix import running_major
from tests.fix_merge import archive_of, beside, merge, request
from tests.fix_postgres import TestDatabase, copy_of_all_tables
from tests.tiers import majors

# A function that may be called where nothing may be written, and writes all the same, up to PostgreSQL 15.
WRITES = "lo_create(0) > 0"
MAKES = """
    CREATE TABLE notes (id int PRIMARY KEY, said text); CREATE TABLE seen (id int);
    INSERT INTO notes SELECT i, 'secret ' || i FROM generate_series(1, 1000) i;
    CREATE FUNCTION noted(int) RETURNS boolean LANGUAGE plpgsql AS
        'BEGIN PERFORM lo_create(0); INSERT INTO public.seen VALUES ($1); RETURN true; END';"""
NONE_AT_ALL = {
    "id = 1) OR (true": r'syntax error at or near "\)"',
    "true)) IS TRUE UNION SELECT t.ctid FROM pg_temp.restore_rows_1 t WHERE (SELECT (true": "syntax error",
    "id = 1; DROP TABLE notes": "syntax error|cannot insert multiple commands",
    "id = 1) TO STDOUT; DROP TABLE notes; --": "syntax error",
    "(id = 1": "syntax error at its end|syntax error at end of input",
    "SELECT true": "syntax error",
    "true ORDER BY 1": "syntax error",
    "true LIMIT 1": "syntax error",
    "true UNION SELECT ctid FROM notes": "syntax error",
    "id = 1 /*": "unterminated",
    "said = 'x": "unterminated",
    "$a$": "unterminated",
}


@pytest.fixture
def database(empty_database: TestDatabase) -> TestDatabase:
    empty_database.execute(MAKES)
    return empty_database


def test_a_condition_is_one_expression_or_nothing_is_done(database: TestDatabase) -> None:
    archive, before = archive_of(database), copy_of_all_tables(database.url)
    for where, message in NONE_AT_ALL.items():
        with pytest.raises(RestoreValidationError, match=rf"condition on public\.notes: .*({message})") as raised:
            merge(database, archive, request(tables=["notes"], where=where))
        assert "IS TRUE" not in raised.value.message or "IS TRUE" in where
    assert copy_of_all_tables(database.url) == before
    for where, rows in {
        "t.id = 7 -- one": 1,
        "id IN (1, 2) AND (said LIKE '%)')": 0,
        "NULL::boolean": 0,
        "id % 2 = 0": 500,
    }.items():
        with beside(database, archive, request(tables=["notes"], where=where)) as found:
            (table,) = found.preview().tables
            assert table.unchanged == rows, where


def test_errors_of_rows_show_no_values_but_to_those_who_debug(database: TestDatabase) -> None:
    archive = archive_of(database)
    for where in ("said::int = 1", "said::regclass IS NULL", "id / (id - 1) > 0"):
        with capture_logs() as logs, pytest.raises(RestoreValidationError, match="fails on a row: ") as raised:
            merge(database, archive, request(tables=["notes"], where=where))
        assert "secret" not in f"{raised.value} {raised.value.hint} {raised.value.__cause__} {raised.value.__context__}"
        told = [event["reason"] for event in logs if event["event"] == "restore condition failed"]
        assert [event["log_level"] for event in logs if "secret" in str(event)] in (["debug"], [])
        assert len(told) == 1


@pytest.mark.parametrize("number", majors(18))
def test_a_preview_leaves_nothing_that_its_functions_wrote(number: int) -> None:
    with running_major(number) as major, major.database("live") as database:
        database.execute(MAKES)
        archive = archive_of(database)
        database.execute("ALTER TABLE notes ADD CHECK (noted(id)) NOT VALID; DELETE FROM notes WHERE id < 5")
        objects = "SELECT count(*) FROM pg_largeobject_metadata"
        with beside(database, archive, request(tables=["notes"])) as found:
            assert found.preview().total("inserted") == 4
            assert found.preview().total("inserted") == 4
            assert database.query("SELECT count(*) FROM seen") == database.query(objects) == [(0,)]
        wanted = request(tables=["notes"], where=f"id = 1 AND {WRITES}")
        if number < 16:
            with beside(database, archive, wanted) as found:
                assert found.preview().total("inserted") == 1
        else:
            with (
                pytest.raises(RestoreValidationError, match="in a read-only transaction") as refused,
                beside(database, archive, wanted),
            ):
                pass
            assert (refused.value.hint or "").startswith("--where takes")
        assert database.query(objects) == [(0,)]
        # What no ROLLBACK takes back is not the condition's to do, whoever runs it.
        for where in ("pg_create_physical_replication_slot('left') IS NOT NULL", "pg_switch_wal() IS NOT NULL"):
            with (
                pytest.raises(RestoreValidationError, match=r"permission denied|replication slots") as denied,
                beside(database, archive, request(tables=["notes"], where=f"id = 1 AND {where}")),
            ):
                pass
            assert "as a role that may only read" in denied.value.hint
            if "switch" in where:
                assert "'GRANT EXECUTE ON FUNCTION pg_switch_wal() TO pg_read_all_data'" in denied.value.hint
        assert database.query("SELECT slot_name FROM pg_replication_slots WHERE slot_name = 'left'") == []
        others = request(tables=["notes"], where="id IN (SELECT id + 2 FROM notes) AND said LIKE 'secret%'")
        with beside(database, archive, others) as found:
            assert found.preview().total("inserted") == 0
            assert found.preview().total("unchanged") == 994


def test_a_condition_that_is_a_book_is_not_told_as_one(database: TestDatabase) -> None:
    archive = archive_of(database)
    book = "long " * 2000
    for where in (f"said = '{book}", f'"{book}" = 1'):
        with pytest.raises(RestoreValidationError, match=r"condition on public\.notes: ") as raised:
            merge(database, archive, request(tables=["notes"], where=where))
        assert len(raised.value.message) < 250
        assert "long long" in raised.value.message


def test_the_command_line_says_what_is_wrong_with_a_condition(damaged: Damaged) -> None:
    words = ("restore", damaged.backup, "--mode", "merge", "--table", "notifications", "--dry-run", "--where")
    outcome = damaged.site.cli(*words, "id = 7) OR (true", LOG_LEVEL="INFO")
    assert outcome.code == RestoreValidationError.exit_code
    assert "the condition on public.notifications: syntax error" in outcome.stderr
    found = json.loads(damaged.site.cli(*words, "id IN (7, 14)", "--json").stdout)
    assert [table["inserted"] for table in found["tables"]] == [2]
