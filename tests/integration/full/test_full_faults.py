"""What may go wrong with a full backup: each has its own error, and leaves nothing but what was there."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest

from app.errors import (
    BackupCreationError,
    BackupError,
    BackupPermissionError,
    BackupStorageError,
    BackupValidationError,
    ProgramKilledError,
    ServerUnavailableError,
)
from app.operations.backup.full_preflight import preflight_full
from app.operations.health.check import check, repair
from app.postgres import binaries
from app.postgres.binaries import find_binary, installed
from tests.fix_fork import run_forked
from tests.fix_full import MUCH_BYTES, SMALL_FILES_ONLY, FullSite, server_on
from tests.fix_matrix import EMBEDDED
from tests.fix_postgres import nothing_runs_in
from tests.fix_service import At, leftovers, require_same_content
from tests.tiers import THOROUGH, sample_of


def role(full_site: FullSite, attributes: str) -> str:
    """The URL of a new role that may read everything."""
    full_site.site.database.execute(
        f"CREATE ROLE copier LOGIN PASSWORD 'canary-4711' {attributes}; GRANT pg_read_all_data TO copier"
    )
    return psycopg.conninfo.make_conninfo(full_site.site.database.url, user="copier", password="canary-4711")


def test_a_role_without_replication_is_told_how_to_get_it(full_site: FullSite) -> None:
    error = full_site.fails(BackupPermissionError, DATABASE_URL=role(full_site, "NOREPLICATION"))
    assert error.hint == """as a superuser: psql -d postgres -c 'ALTER ROLE "copier" REPLICATION'"""
    assert error.exit_code == 12


@THOROUGH
def test_a_role_with_replication_alone_makes_one(full_site: FullSite, server_folder: Path) -> None:
    taken = full_site.take(DATABASE_URL=role(full_site, "REPLICATION"))
    target = server_folder / "target"
    full_site.lay_out(taken.backup.id, target)
    words = (target / "globals.sql").read_text()
    assert "CREATE ROLE copier" in words
    assert "SCRAM" not in words, "only a superuser may read passwords"
    with server_on(target / "postgres", full_site.server, full_site.site.database.name) as copy:
        require_same_content(full_site.site.database, copy)


def test_a_server_that_refuses_replication_connections_is_told_the_line_it_needs(
    full_site: FullSite, server_folder: Path
) -> None:
    hba = server_folder / "postgres/data/pg_hba.conf"
    hba.write_text("".join(each for each in hba.read_text().splitlines(keepends=True) if "replication" not in each))
    full_site.site.database.execute("SELECT pg_reload_conf()")
    error = full_site.fails(BackupPermissionError)
    assert "pg_hba.conf" in error.hint
    assert 'host replication "postgres" 127.0.0.1/32 scram-sha-256' in error.hint


@pytest.mark.parametrize(
    ("settings", "named"),
    [("max_wal_senders = 0", "max_wal_senders"), ("wal_level = minimal\nmax_wal_senders = 0", "wal_level")],
)
def test_a_server_that_lets_nobody_copy_it(full_site: FullSite, server_folder: Path, settings: str, named: str) -> None:
    with (server_folder / "postgres/data/postgresql.conf").open("a") as file:
        file.write(f"\n{settings}\n")
    full_site.server.restart()
    error = full_site.fails(BackupCreationError)
    assert named in error.message
    assert named in error.hint


def test_tablespaces_are_refused_by_name(full_site: FullSite, server_folder: Path) -> None:
    place = server_folder / "postgres" / "space"
    place.mkdir()
    with full_site.site.database.connect() as connection:
        connection.execute(f"CREATE TABLESPACE fast LOCATION '{place}'")
        error = full_site.fails(BackupValidationError)
        connection.execute("DROP TABLESPACE fast")
    assert f"fast at {place}" in error.message


@pytest.mark.parametrize(("name", "mode"), sample_of([("a/letter.txt", 0), ("a", 0o444)], [0]))
def test_what_may_not_be_read_fails_the_backup(
    full_site: FullSite, ordinary: tuple[str, ...], name: str, mode: int
) -> None:
    (full_site.uploads / name).chmod(mode)
    done = full_site.site.cli("create", "full", prefix=ordinary)
    assert done.code == 12, done.stderr
    assert re.search(rf"{name}\S* may not be read", done.stderr)
    assert full_site.site.files() == {}


def test_a_disk_that_fills_up_while_the_server_is_copied(full_site: FullSite) -> None:
    before = full_site.site.files()
    done = run_forked(SMALL_FILES_ONLY, ("create", "full"), full_site.site.process_env(), timeout=60)
    # A signal that is ignored says less than a disk that is full: pg_basebackup does not always tell why it ended.
    assert done.code in {14, 15}, done.stderr
    assert full_site.site.files() == before
    assert not leftovers(full_site.site.backups)


def test_a_server_lost_while_it_is_copied(full_site: FullSite) -> None:
    full_site.much_to_copy.touch()
    os.truncate(full_site.much_to_copy, MUCH_BYTES)
    fault = At(full_site.server.kill, phase="copy", after=0)
    error = full_site.fails(ServerUnavailableError, fault)
    assert error.transient
    full_site.server.restart()
    full_site.much_to_copy.unlink()
    assert full_site.take().backup.is_verified


def test_a_process_killed_in_the_middle_takes_the_copying_with_it_and_repair_cleans_up(full_site: FullSite) -> None:
    process = full_site.start_and_wait_for_copy()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(20)
    assert nothing_runs_in(full_site.site.backups), "pg_basebackup goes on"
    left = leftovers(full_site.site.backups)
    assert left
    assert not list(full_site.site.backups.glob("full/backup-*"))
    assert any(each.check == "leftovers" and each.severity == "warning" for each in check(full_site.site.service()))
    done = repair(full_site.site.service())
    assert sum("leftover removed" in each for each in done) == len(left)
    assert not leftovers(full_site.site.backups)
    full_site.much_to_copy.unlink()
    assert full_site.take().backup.is_verified


@pytest.mark.parametrize("number", sample_of([signal.SIGTERM, signal.SIGINT], [0]))
def test_a_cancelled_process_ends_the_copying_and_leaves_nothing(full_site: FullSite, number: int) -> None:
    process = full_site.start_and_wait_for_copy()
    os.kill(process.pid, number)
    assert process.wait(20) == 130
    assert nothing_runs_in(full_site.site.backups)
    assert not leftovers(full_site.site.backups)
    assert full_site.site.files() == {}


def programs_that(folder: Path, monkeypatch: pytest.MonkeyPatch, **lines: str) -> None:
    """The server's own programs, but some of them shell scripts, which say its version."""
    (version,) = {binary.version for binary in installed("pg_basebackup", "") if binary.major == EMBEDDED}
    folder.mkdir()
    for program, line in lines.items():
        script = folder / program
        script.write_text(f'#!/bin/sh\n[ "$*" = --version ] && exec echo "{program} (PostgreSQL) {version}"\n{line}\n')
        script.chmod(0o755)
    only_these(monkeypatch, {program: [str(folder / program)] for program in lines})


def only_these(monkeypatch: pytest.MonkeyPatch, paths: Mapping[str, list[str]]) -> None:
    """Of the programs that are named, only the files at these paths are there."""
    every = binaries._executables
    monkeypatch.setattr(
        "app.postgres.binaries._executables",
        lambda program, path: paths[program] if program in paths else every(program, path),
    )


@pytest.mark.parametrize(
    ("said", "expected", "words"),
    [
        ('could not write to file "x": No space left on device', BackupStorageError, "BACKUP_DIR"),
        (
            'could not read COPY data: ERROR:  could not write "y": No space left on device',
            BackupCreationError,
            "server",
        ),
        (
            'FATAL:  number of requested standby connections exceeds "max_wal_senders"',
            ServerUnavailableError,
            "senders",
        ),
    ],
)
def test_whose_disk_is_full(
    full_site: FullSite,
    server_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    expected: type[BackupError],
    words: str,
) -> None:
    programs_that(server_folder / "bin", monkeypatch, pg_basebackup=f"echo 'pg_basebackup: error: {said}' >&2; exit 1")
    assert words in full_site.fails(expected).hint


@pytest.mark.parametrize(
    ("how", "expected", "said"),
    [
        ("kill -9 $$", ProgramKilledError, "pg_verifybackup was ended by signal 9"),
        ("echo 'pg_verifybackup: error: out of memory' >&2; exit 1", BackupCreationError, "was not verified"),
    ],
)
def test_a_proof_that_could_not_be_tried_is_no_difference(
    full_site: FullSite,
    server_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    expected: type[BackupError],
    said: str,
) -> None:
    programs_that(server_folder / "bin", monkeypatch, pg_verifybackup=how)
    assert said in full_site.fails(expected).message


@THOROUGH
def test_without_pg_waldump_it_is_said_that_no_wal_was_read(
    full_site: FullSite, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = find_binary("pg_verifybackup", full_site.site.database.query("SHOW server_version")[0][0]).path
    programs_that(
        server_folder / "bin",
        monkeypatch,
        pg_verifybackup=f'case "$*" in *--no-parse-wal*) exec {real} "$@";; *) exit 1;; esac',
    )
    assert full_site.take().backup.is_verified
    found = [each for each in preflight_full(full_site.site.service()).findings if each.severity == "warning"]
    assert any("pg_waldump" in each.message for each in found)


def test_a_missing_pg_dumpall_is_found_before_anything_is_copied(
    full_site: FullSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_these(monkeypatch, {"pg_dumpall": []})
    assert "pg_dumpall" in full_site.fails(BackupCreationError).message


def test_a_server_lost_before_its_roles_were_read_may_be_tried_again(
    full_site: FullSite, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "connection to server at 127.0.0.1 failed: Connection refused"
    programs_that(server_folder / "bin", monkeypatch, pg_dumpall=f"echo '{said}' >&2; exit 1")
    assert full_site.fails(ServerUnavailableError).transient


def test_programs_of_another_major_are_refused(
    full_site: FullSite, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = server_folder / "pg_basebackup"
    newer.write_text("#!/bin/sh\necho 'pg_basebackup (PostgreSQL) 19.0'\n")
    newer.chmod(0o755)
    only_these(monkeypatch, {"pg_basebackup": [str(newer)]})
    error = full_site.fails(BackupCreationError)
    assert "of the same major" in error.message
