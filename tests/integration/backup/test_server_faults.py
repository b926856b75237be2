"""Faults of the server and of its role: each has its own error, and no older backup is touched."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from app.archive.manifest import parse_manifest
from app.embedded.postgres import EmbeddedPostgres
from app.errors import (
    BackupCreationError,
    BackupPermissionError,
    ServerUnavailableError,
    TableLockedError,
)
from app.operations.backup.take import take_backup
from app.postgres.dump import snapshot
from tests.fix_guarded import DAILY, WEEKLY, Restore, fails, with_user
from tests.fix_postgres import scratch_database
from tests.fix_service import At, Site, fill_wide, leftovers, make_site, require_same_content


def test_a_server_that_is_down(guarded: Site) -> None:
    url = psycopg.conninfo.make_conninfo(guarded.database.url, port="1")
    error = fails(guarded, ServerUnavailableError, DATABASE_URL=url)
    assert error.exit_code == 15
    assert error.transient


def test_a_wrong_password_is_a_missing_right_and_is_not_shown(guarded: Site) -> None:
    url = with_user(guarded.database.url, "postgres", "canary-4711")
    error = fails(guarded, BackupPermissionError, DATABASE_URL=url)
    assert "password authentication failed" in error.message
    done = guarded.cli("-v", "create", "daily", DATABASE_URL=url)
    assert done.code == 12
    assert "canary-4711" not in done.stdout + done.stderr


def test_a_database_that_does_not_exist(guarded: Site) -> None:
    url = psycopg.conninfo.make_conninfo(guarded.database.url, dbname="nowhere")
    with pytest.raises(BackupCreationError, match="nowhere"):
        take_backup(guarded.service(DATABASE_URL=url), DAILY)
    assert not leftovers(guarded.backups)


def test_a_connection_lost_in_the_middle_of_the_dump(guarded: Site) -> None:
    fill_wide(guarded.database)

    def cut() -> None:
        """All of the dump's sessions: pg_dump's own may have ended, for its text is read ahead."""
        assert guarded.database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name IN ('pg_dump', 'psql', 'residency-backup')"
        )

    error = fails(guarded, ServerUnavailableError, At(cut, after=1 << 20))
    assert "was lost" in error.message


def test_a_server_killed_in_the_middle_of_the_dump(own_postgres_server: EmbeddedPostgres, tmp_path: Path) -> None:
    with scratch_database(own_postgres_server) as database:
        site = make_site(database, tmp_path / "backups")
        fill_wide(database)
        take_backup(site.service(), WEEKLY)
        error = fails(site, ServerUnavailableError, At(own_postgres_server.kill, after=1 << 20))
        assert error.exit_code == 15
        own_postgres_server.restart()
        assert take_backup(site.service(), DAILY) is not None


def test_a_table_that_stays_locked(guarded: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "LOCK_WAIT_MS", 200)
    with psycopg.connect(guarded.database.url) as connection:
        connection.execute("LOCK TABLE people IN ACCESS EXCLUSIVE MODE")
        error = fails(guarded, TableLockedError)
    assert error.transient


def test_a_role_that_may_read_everything_makes_a_whole_backup(
    guarded: Site, reader: Callable[[str], str], restored: Restore
) -> None:
    taken = take_backup(guarded.service(DATABASE_URL=reader("SELECT 1")), DAILY)
    assert taken is not None
    require_same_content(guarded.database, restored(guarded.backups / taken.backup.file))


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("REVOKE pg_read_all_data FROM {role}", "table public.people: no SELECT right"),
        (
            "REVOKE pg_read_all_data FROM {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
            "sequence public.",
        ),
        (
            "ALTER TABLE people ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON people USING (false)",
            "table public.people: row level security would hide rows",
        ),
        ("CREATE SCHEMA hidden; CREATE TABLE hidden.pay (x int); REVOKE pg_read_all_data FROM {role}", "hidden.pay"),
        ("SELECT lo_from_bytea(4711, 'x')", "large object 4711"),
    ],
)
def test_what_the_role_may_not_read_is_named(
    guarded: Site, reader: Callable[[str], str], statement: str, named: str
) -> None:
    error = fails(guarded, BackupPermissionError, DATABASE_URL=reader(statement))
    assert named in error.message
    assert "pg_read_all_data" in error.hint


def test_a_pg_dump_older_than_the_server_names_both_versions(
    guarded: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    old = tmp_path / "pg_dump"
    old.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 15.18'\n")
    old.chmod(0o755)
    monkeypatch.setattr("app.postgres.binaries._executables", lambda *_: [str(old)])
    error = fails(guarded, BackupCreationError)
    assert "15.18" in error.message
    assert "PostgreSQL 18" in error.message


def test_a_table_rewritten_while_the_backup_begins_is_not_shown_as_empty(guarded: Site) -> None:
    guarded.database.execute("CREATE TABLE rewritten AS SELECT g AS x FROM generate_series(1, 1000) g")
    begun, go_on = threading.Event(), threading.Event()

    def rewrite() -> None:
        with psycopg.connect(guarded.database.url) as connection:
            connection.execute("ALTER TABLE rewritten ALTER x TYPE bigint")
            begun.set()
            go_on.wait(20)

    thread = threading.Thread(target=rewrite)
    thread.start()
    assert begun.wait(20)
    threading.Timer(1.0, go_on.set).start()
    taken = take_backup(guarded.service(), DAILY)
    thread.join()
    assert taken is not None
    manifest = parse_manifest((guarded.backups / f"{taken.backup.file}.json").read_bytes(), "manifest")
    assert [each.rows for each in manifest.tables if each.table.name == "rewritten"] == [1000]


def test_tables_that_come_and_go_while_a_backup_begins_do_not_fail_it(guarded: Site) -> None:
    stop = threading.Event()

    def churn() -> None:
        with guarded.database.connect() as connection:
            while not stop.wait(0.02):
                connection.execute("CREATE TABLE passing (x int)")
                connection.execute("DROP TABLE passing")

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(3):
            assert take_backup(guarded.service(), DAILY) is not None
    finally:
        stop.set()
        thread.join()


def test_a_role_with_other_habits_makes_the_same_backup(
    guarded: Site, reader: Callable[[str], str], restored: Restore
) -> None:
    habits = ("datestyle = 'german'", "statement_timeout = 5", "timezone = 'Asia/Tokyo'", "bytea_output = 'escape'")
    url = reader("; ".join(f"ALTER ROLE {{role}} SET {habit}" for habit in habits))
    taken = take_backup(guarded.service(DATABASE_URL=url), DAILY)
    assert taken is not None
    require_same_content(guarded.database, restored(guarded.backups / taken.backup.file))
