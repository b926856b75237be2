"""The catalog's migrations, run by the program and by alembic's own command."""

import contextlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from app.catalog import indexes  # noqa: F401 -- they belong to the tables
from app.catalog.engine import make_engine, parse_url
from app.catalog.migrations import configuration, keep_others_out, revision_of
from app.catalog.tables import metadata
from app.catalog.version import HEAD, VERSION_TABLE
from app.domain.backup import Tier
from app.domain.restore import Method
from app.domain.servers import Identity
from app.domain.slots import Slot, SlotState
from app.errors import CatalogError
from app.postgres.programs import ProgramResult
from tests.fix_catalog import open_catalog, open_restores
from tests.fix_fork import Conversation, run_forked

pytestmark = pytest.mark.usefixtures("every_migration_runs")

ROOT = Path(__file__).parents[3]
OURS = {*metadata.tables, VERSION_TABLE}
OPENER = """
import sys
from app.catalog.store import lazy_catalog
print("ready", flush=True)
input()
lazy_catalog(sys.argv[1]).open()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/catalog.db"
    found: str = request.getfixturevalue("empty_database").url
    return found


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    with make_engine(parse_url(url)).begin() as connection:
        yield connection


def tables(url: str) -> set[str]:
    with connected(url) as connection:
        return set(inspect(connection).get_table_names())


def alembic(*arguments: str, **environment: str) -> str:
    """What alembic's own command prints, run in the repository as an operator would."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("BACKUP_")}
    with contextlib.chdir(ROOT):
        done = run_forked("alembic.config:main", arguments, variables | environment, timeout=60)
    assert done.code == 0, done.stderr
    return done.stdout


def refused(**environment: str) -> ProgramResult:
    """An `alembic upgrade head` that cannot be."""
    with contextlib.chdir(ROOT):
        done = run_forked("alembic.config:main", ["upgrade", "head"], {**os.environ, **environment}, timeout=60)
    assert "Traceback" not in done.stderr
    assert done.code == CatalogError.exit_code
    return done


def make_application(url: str) -> None:
    """An application's tables, with a version table of its own and one whose name looks like ours."""
    with connected(url) as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('abc123')"))
        connection.execute(text("CREATE TABLE backup_codes (id INTEGER, code TEXT)"))
        connection.execute(text("CREATE INDEX code_index ON backup_codes (code)"))
        connection.execute(text("INSERT INTO backup_codes VALUES (1, 'x')"))


def assert_application_untouched(url: str) -> None:
    with connected(url) as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).all() == [("abc123",)]
        assert connection.execute(text("SELECT id, code FROM backup_codes")).all() == [(1, "x")]
        assert [index["name"] for index in inspect(connection).get_indexes("backup_codes")] == ["code_index"]


def test_opening_makes_the_catalog(url: str) -> None:
    open_catalog(url)
    assert tables(url) == OURS
    with connected(url) as connection:
        assert revision_of(connection) == HEAD


def test_the_revision_that_the_program_knows_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(configuration()).get_heads() == [HEAD]


def test_the_command_makes_a_catalog_that_the_program_uses(url: str) -> None:
    alembic("upgrade", "head", BACKUP_CATALOG_URL=url)
    assert tables(url) == OURS
    open_catalog(url)


def test_the_command_finds_the_catalog_by_a_file_and_by_the_folder_of_backups(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"sqlite:///{tmp_path}/named.db\n")
    alembic("upgrade", "head", BACKUP_CATALOG_URL_FILE=str(tmp_path / "url"))
    alembic("upgrade", "head", BACKUP_DIR=str(tmp_path))
    assert tables(f"sqlite:///{tmp_path}/named.db") == tables(f"sqlite:///{tmp_path}/catalog.db") == OURS


def test_tables_and_migrations_agree_beside_an_application(url: str) -> None:
    make_application(url)
    open_catalog(url)
    assert "No new upgrade operations" in alembic("check", BACKUP_CATALOG_URL=url)
    assert_application_untouched(url)


def test_a_downgrade_removes_the_catalog_and_nothing_else(url: str) -> None:
    make_application(url)
    open_catalog(url)
    alembic("downgrade", "base", BACKUP_CATALOG_URL=url)
    assert tables(url) == {"alembic_version", "backup_codes", VERSION_TABLE}
    assert_application_untouched(url)
    open_catalog(url)
    assert tables(url) == OURS | {"alembic_version", "backup_codes"}


def test_a_catalog_from_before_restores_keeps_what_it_holds(url: str) -> None:
    alembic("upgrade", "0001", BACKUP_CATALOG_URL=url)
    slot = Slot(Tier.DAILY, "2025-01-15", datetime(2025, 1, 15, 2, tzinfo=UTC))
    with connected(url) as connection:
        connection.execute(
            text(
                "INSERT INTO backup_slots (database, tier, period, due, state, attempts, transient, updated_at) VALUES"
                " ('residency', 'daily', '2025-01-15', '2025-01-15 02:00:00', 'done', 1, false, '2025-01-15 02:00:00')"
            )
        )
    catalog = open_catalog(url)
    found = catalog.slot("residency", slot.tier, slot.period)
    assert found is not None
    assert found.state is SlotState.DONE
    assert open_restores(url).restores("residency") == []
    here = Identity("7512345678901234567", 16384)
    assert catalog.claim("residency", slot.tier, slot, slot.due, here) is None, "it is of no server, and so of any"
    next_slot = Slot(Tier.DAILY, "2025-01-16", slot.due + timedelta(days=1))
    for server in (here, Identity("7599999999999999999", 16384)):
        run = catalog.claim("residency", slot.tier, next_slot, next_slot.due, server)
        assert run is not None, "what another server ran was not run here"
        catalog.fail(run, RuntimeError("lasting"), next_slot.due, transient=False)
        assert catalog.claim("residency", slot.tier, next_slot, next_slot.due, server) is None
    alembic("downgrade", "0001", BACKUP_CATALOG_URL=url)
    assert tables(url) == OURS - {"backup_restores", "backup_manifests", "backup_deletions"}
    alembic("upgrade", "head", BACKUP_CATALOG_URL=url)
    found = catalog.slot("residency", slot.tier, slot.period)
    assert found is not None
    assert found.state is SlotState.DONE


def test_what_a_restore_is_decided_by_moves_from_its_report_into_columns_and_back(url: str) -> None:
    alembic("upgrade", "0003", BACKUP_CATALOG_URL=url)
    whole: dict[str, Any] = {
        "method": "shadow database",
        "server": "7512345678901234567",
        "oids": {"made": 16385, "replaced": 4_000_000_001, "changed": 3},
        "paused": {"replaced": ["Größe", "two"], "made": ["three"]},
        "failed": "the clean-up's cause",
        "before the rollback": "safety/backup-2025-01-15T030000Z",
        "rows": {"public.people": 3},
        "notes": ["a \0 and a \udcff"],
    }
    reports = {
        "whole": whole,
        "nothing": {},
        "early": {"server": None, "oids": {"made": None}, "paused": {"made": []}, "failed": "x \0 y"},
    }
    with connected(url) as connection:
        for name, report in reports.items():
            connection.execute(
                text(
                    "INSERT INTO backup_restores (id, database, mode, backup, state, step, started_at, heartbeat_at,"
                    " holder, report) VALUES (:id, 'residency', 'replace', 'b', 'complete', 'done',"
                    " '2025-01-15 02:00:00', '2025-01-15 02:00:00', 'h', :report)"
                ),
                {"id": name, "report": json.dumps(report)},
            )
    found = {record.id: record for record in open_restores(url).restores("residency")}
    record = found["whole"]
    assert (record.method, record.server) == (Method.SHADOW, whole["server"])
    assert (record.made_oid, record.replaced_oid, record.changed_oid) == (16385, 4_000_000_001, 3)
    assert (record.paused_replaced, record.paused_made) == (("Größe", "two"), ("three",))
    assert (record.cause, record.before_rollback) == (whole["failed"], whole["before the rollback"])
    assert record.report == {"rows": whole["rows"], "notes": whole["notes"]}
    early = found["early"]
    assert (early.server, early.made_oid, early.paused_made, early.cause) == (None, None, (), "x  y")
    assert (early.report, found["nothing"].report, found["nothing"].method) == ({}, {}, None)
    alembic("downgrade", "0003", BACKUP_CATALOG_URL=url)
    with connected(url) as connection:
        rows = {row.id: row.report for row in connection.execute(text("SELECT id, report FROM backup_restores"))}
    back = {name: json.loads(row) if isinstance(row, str) else row for name, row in rows.items()}
    assert back == {"whole": whole, "nothing": {}, "early": {"failed": "x  y"}}


def test_statements_can_be_printed(url: str) -> None:
    printed = alembic("upgrade", "head", "--sql", BACKUP_CATALOG_URL=url)
    assert "CREATE UNIQUE INDEX uq_backup_runs_under_way" in printed
    assert "CREATE UNIQUE INDEX uq_backup_restores_under_way" in printed
    assert printed.count("WHERE state = 'running'") == 2


def test_processes_that_start_at_once_all_find_a_catalog(url: str) -> None:
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(Conversation(OPENER, url)) for _ in range(4)]
        for process in started:
            assert process.stdout.readline() == "ready\n"
        for process in started:
            process.stdin.write("\n")
            process.stdin.flush()
        assert [(process.wait(), process.errors()) for process in started] == [(0, "")] * 4
    assert tables(url) == OURS


def test_whoever_comes_second_waits_for_the_first_to_migrate(url: str) -> None:
    with ThreadPoolExecutor() as threads:
        with connected(url) as first:
            keep_others_out(first)
            second = threads.submit(open_catalog, url)
            with pytest.raises(TimeoutError):
                second.result(timeout=0.5)
        second.result(timeout=20)
    assert tables(url) == OURS


def test_a_migration_that_fails_leaves_nothing_behind(url: str) -> None:
    with connected(url) as connection:
        connection.execute(text("CREATE TABLE backup_slots (id INTEGER)"))
    with pytest.raises(CatalogError, match="already exists"):
        open_catalog(url)
    assert tables(url) == {"backup_slots"}


def test_a_catalog_of_a_newer_program_is_refused_and_left_alone(url: str) -> None:
    open_catalog(url)
    with connected(url) as connection:
        connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'"))
    with pytest.raises(CatalogError, match=r"newer version .*9999") as caught:
        open_catalog(url)
    assert "upgrade this program" in caught.value.hint
    with connected(url) as connection:
        assert revision_of(connection) == "9999"


def test_every_constraint_and_index_has_its_name(url: str) -> None:
    open_catalog(url)
    names: list[str | None] = []
    with connected(url) as connection:
        inspector = inspect(connection)
        for table in metadata.tables:
            names.append(inspector.get_pk_constraint(table)["name"])
            names += [item["name"] for item in inspector.get_check_constraints(table)]
            names += [item["name"] for item in inspector.get_unique_constraints(table)]
            names += [item["name"] for item in inspector.get_indexes(table)]
    assert sorted({str(name) for name in names}) == [
        "ck_backup_files_state",
        "ck_backup_restores_mode",
        "ck_backup_restores_state",
        "ck_backup_runs_state",
        "ck_backup_slots_state",
        "pk_backup_deletions",
        "pk_backup_files",
        "pk_backup_manifests",
        "pk_backup_restores",
        "pk_backup_runs",
        "pk_backup_slots",
        "uq_backup_restores_request_key",
        "uq_backup_restores_under_way",
        "uq_backup_runs_under_way",
    ]
    wanted = {str(item.name) for table in metadata.tables.values() for item in (*table.constraints, *table.indexes)}
    assert wanted == set(names)


def test_migrating_prints_nothing_and_leaves_loggers_alone(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("somebody.else")
    before = list(logging.getLogger().handlers)
    open_catalog(url)
    assert capfd.readouterr() == ("", "")
    assert not logger.disabled
    assert logging.getLogger().handlers == before


def test_alembic_says_in_a_line_why_it_cannot_migrate(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_text("no database, but long enough to be taken for one" * 50)
    assert "is corrupt" in refused(BACKUP_DIR=str(tmp_path)).stderr
    assert "the folder of the catalog is missing" in refused(BACKUP_DIR=str(tmp_path / "none")).stderr


def test_alembic_writes_objects_where_the_service_does(tmp_path: Path) -> None:
    argv = [sys.executable, "-W", "error", "-m", "alembic", "upgrade", "head"]
    environ = os.environ | {"BACKUP_DIR": str(tmp_path), "LOG_FORMAT": "json"}
    done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
    assert any(str(each["event"]).startswith("Running upgrade") for each in events)
    done = refused(BACKUP_DIR=str(tmp_path / "none"), LOG_FORMAT="json")
    assert json.loads(done.stderr)["error"] == "CatalogError"
