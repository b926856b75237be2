"""What the server says beside its message to who reads for a backup: at hand, and in no log above DEBUG."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.domain.backup import Tier
from app.errors import BackupCreationError, BackupError
from app.operations.backup.take import BackupRequest, take_backup
from app.postgres.binaries import find_binary
from app.postgres.causes import known_cause
from app.postgres.database import Database
from app.postgres.programs import ProgramError, output_of
from app.postgres.server_messages import details_behind
from tests.fix_postgres import TestDatabase
from tests.fix_service import leftovers, make_site
from tests.tiers import ALL

CANARY = "canary-row-4711"
REFUSALS = {
    "raised": f"DO $$ BEGIN RAISE 'no such person' USING DETAIL = '{CANARY}', HINT = 'see {CANARY}'; END $$",
    "value": f"SELECT '{CANARY}'::int",
    "locked": f"DO $$ BEGIN RAISE 'taken' USING ERRCODE = '55P03', DETAIL = '{CANARY}'; END $$",
    "denied": f"DO $$ BEGIN RAISE 'not yours' USING ERRCODE = '42501', DETAIL = '{CANARY}'; END $$",
    "full": f"DO $$ BEGIN RAISE 'full' USING ERRCODE = '53100', DETAIL = '{CANARY}'; END $$",
}
OF_A_PROGRAM = f"""pg_dump: error: query failed: ERROR:  no such person
DETAIL:  It is {CANARY},
and {CANARY} too.
note: {CANARY}
NOTE:  {CANARY}
HINT:  Look for others.
CONTEXT:  PL/pgSQL function f() line 1 at {CANARY}
pg_dump: detail: Query was: SELECT f()"""


def test_details_are_in_no_message_of_a_backup(empty_database: TestDatabase) -> None:
    for name, statement in REFUSALS.items():
        with (
            capture_logs() as logs,
            pytest.raises(BackupError) as raised,
            Database.from_url(empty_database.url).connect() as connection,
        ):
            connection.execute(statement.encode())
        assert CANARY not in f"{raised.value} {raised.value.hint}", name
        assert all(event["log_level"] == "debug" for event in logs if CANARY in str(event))
        if "DETAIL" in statement:
            assert f"DETAIL: {CANARY}" in details_behind(raised.value), name
            assert CANARY in str(logs)


def test_what_a_row_holds_is_no_reason(empty_database: TestDatabase) -> None:
    row = "conflict with recovery, max_locks_per_transaction, Cannot enlarge string buffer"
    with (
        pytest.raises(BackupCreationError) as raised,
        Database.from_url(empty_database.url).connect() as connection,
    ):
        connection.execute(f"DO $$ BEGIN RAISE 'no such person' USING DETAIL = '{row}'; END $$".encode())
    assert type(raised.value) is BackupCreationError
    assert raised.value.message == f"database {empty_database.name}: no such person"


def test_details_that_a_program_tells_are_in_no_message() -> None:
    with capture_logs() as logs, pytest.raises(ProgramError) as raised:
        output_of(["sh", "-c", 'printf %s "$1" >&2; exit 1', "pg_dump", OF_A_PROGRAM])
    said = raised.value.message
    assert CANARY not in said
    assert "no such person\nHINT:  Look for others.\npg_dump: detail: Query was: SELECT f()" in said
    assert [event["log_level"] for event in logs if CANARY in str(event)] == ["debug"]


@pytest.mark.parametrize(
    ("said", "long"),
    [
        ("table public.t: psql failed with exit code 3: ERROR:  invalid memory alloc request size 1200000003", True),
        ("ERROR:  out of memory\nDETAIL:  Cannot enlarge string buffer containing 9 bytes by 1 more bytes.", True),
        ("ERROR:  string buffer exceeds maximum allowed length (1073741823 bytes)\nDETAIL:  Cannot enlarge", True),
        ("ERROR:  invalid memory alloc request size 18446744073709551613", False),  # of a damaged row
    ],
)
def test_a_row_that_is_too_long_is_told_from_a_damaged_one(said: str, *, long: bool) -> None:
    with pytest.raises(ProgramError) as raised:
        output_of(["sh", "-c", 'printf %s "$1" >&2; exit 1', "psql", said])
    cause = known_cause(raised.value.message, "live", role="backup")
    assert (cause is not None) == long
    assert cause is None or "the server's log has the failed statement" in cause.hint


@pytest.mark.parametrize("told", ["pg_dump: detail: Command was: {} TO stdout;", "command was: {} TO STDOUT;"])
def test_the_row_that_is_too_long_is_found_by_the_hint(
    empty_database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    table, columns = 'public."odd (it\'s) ""table"', 'id, "a, ""b"""'
    empty_database.execute(f'CREATE TABLE IF NOT EXISTS {table} (id int, "a, ""b""" bytea)')
    empty_database.execute(
        f"TRUNCATE {table}; INSERT INTO {table} SELECT g, repeat('x', g)::bytea FROM generate_series(1, 9) g"
    )
    error = "table t: psql failed: ERROR:  invalid memory alloc request size 1200000003"
    said = f"{error}\n{told.format(f'COPY {table} ({columns})')}"
    cause = known_cause(said, empty_database.name, role="backup")
    assert cause is not None
    assert table not in cause.message
    finding, keeping = (shlex.split(step.partition(": ")[2]) for step in cause.hint.split("; ")[1:3])
    assert empty_database.query(finding[-1])[0] == ("(0,9)", 4, 10)
    psql = find_binary("psql", empty_database.query("SHOW server_version")[0][0]).path
    database = Database.from_url(empty_database.url)
    output_of(
        [psql, "-d", database.conninfo, keeping[-2], keeping[-1]],
        {**database.environment(os.environ)},
    )
    assert (tmp_path / "row.bin").stat().st_size > 0


@pytest.mark.skipif(not ALL, reason="it takes some gigabytes of memory")
@pytest.mark.parametrize("storage", ["EXTENDED", "EXTERNAL"])  # a small table, and one that is read in ranges
def test_a_row_of_more_than_a_gigabyte_is_told_with_its_table(
    empty_database: TestDatabase, tmp_path: Path, storage: str
) -> None:
    empty_database.execute("CREATE TABLE documents (id int, content bytea)")
    empty_database.execute(f"ALTER TABLE documents ALTER content SET STORAGE {storage}")
    empty_database.execute("INSERT INTO documents SELECT 1, convert_to(repeat('x', 600000000), 'UTF8')")
    site = make_site(empty_database, tmp_path / "backups", filled=False)
    with pytest.raises(BackupCreationError, match=r"a row is longer than 1 GB .*documents") as raised:
        take_backup(site.service(), BackupRequest(tier=Tier.MANUAL))
    assert "FROM public.documents ORDER BY" in raised.value.hint
    assert not leftovers(site.backups)
