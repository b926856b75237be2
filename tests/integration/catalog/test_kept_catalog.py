"""A tree and its catalog as the version before the columns of restores left them: see tests/kept/make_0003.py."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from app.domain.restore import Method, RestoreState, Step
from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreValidationError
from app.operations.backups.inventory import inventory
from app.operations.backups.verify import verify
from app.operations.health.restores import repair_restores
from app.operations.restore.rollback import rollback
from app.operations.service import Service
from app.postgres.programs import output_of
from tests.fix_catalog import open_catalog
from tests.fix_postgres import TestDatabase, copy_database, psql
from tests.fix_prepared import drop_databases
from tests.fix_service import Site, make_site

ROOT = Path(__file__).parents[3]
KEPT = ROOT / "tests" / "kept" / "revision-0003"
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
OLD_SERVER = "7713186053030057868"
ROLLED_BACK, FAILED, REPLACED = "4f7cf64a0b8d", "873c1b157857", "41944655c289"
MERGED, KILLED = "f2ee8c00c352", "7c32897ec6e2"
DAILY = "daily/backup-2026-11-28"
OPENER = """
import sys
from app.catalog.store import lazy_catalog
lazy_catalog(sys.argv[1]).open()
print("alembic" in sys.modules)
"""


@dataclass(frozen=True)
class Old:
    """A copy of what was kept, and an empty database of the name that it is of."""

    site: Site

    def service(self) -> Service:
        return replace(self.site.service(), clock=lambda: NOW)

    def pretend(self, oids: dict[str, dict[str, int]]) -> None:
        """Let the records say that this server made them, and these databases."""
        with closing(sqlite3.connect(self.site.backups / "catalog.db")) as connection, connection:
            ((server,),) = self.site.database.query("SELECT system_identifier::text FROM pg_control_system()")
            connection.execute("UPDATE backup_restores SET report = json_set(report, '$.server', ?)", [server])
            for restore, known in oids.items():
                for side, oid in known.items():
                    change = f"UPDATE backup_restores SET report = json_set(report, '$.oids.{side}', ?) WHERE id = ?"
                    connection.execute(change, [oid, restore])


@pytest.fixture
def old(postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Old]:
    backups = tmp_path / "backups"
    shutil.copytree(KEPT, backups)
    for path in (backups, *backups.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)  # git keeps no such rights
    copy_database(postgres_server.url(), "template0", "kept")
    database = TestDatabase("kept", postgres_server.url("kept"))
    yield Old(make_site(database, backups, filled=False))
    for left in ("kept_restore", "kept_undo"):  # other tests have databases that begin with "kept" too
        drop_databases(postgres_server, left)
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute("DROP DATABASE kept WITH (FORCE)")


def test_restores_of_an_old_catalog_say_in_columns_what_their_reports_said(old: Old) -> None:
    records = {record.id: record for record in old.service().restores.restores("kept")}
    assert {record.id: record.method for record in records.values()} == {
        ROLLED_BACK: Method.SHADOW,
        FAILED: Method.SHADOW,
        REPLACED: Method.SHADOW,
        MERGED: Method.ROWS,
        KILLED: Method.SHADOW,
    }
    assert {record.server for record in records.values()} == {OLD_SERVER}
    assert (records[REPLACED].made_oid, records[REPLACED].replaced_oid) == (16468, 16384)
    assert (records[MERGED].changed_oid, records[MERGED].made_oid) == (16468, None)
    assert (records[KILLED].state, records[KILLED].step) == (RestoreState.RUNNING, Step.POST_COMMAND)
    assert set(records[MERGED].report) == {"rows", "notes", "warnings", "seconds", "downtime", "changes"}


def test_backups_of_an_old_catalog_are_listed_and_verify(old: Old) -> None:
    service = old.service()
    assert [backup.id for backup in inventory(service)] == [
        "safety/backup-2026-11-28T114134Z",
        "safety/backup-2026-11-28T114131Z",
        "manual/backup-2026-11-28T114129Z",
        "safety/backup-2026-11-28T114126Z",
        "safety/backup-2026-11-28T114123Z",
        "safety/backup-2026-11-28T114119Z",
        DAILY,
    ]
    assert {(backup.made_by, backup.pinned_by) for backup in inventory(service)} == {(None, None)}
    outcome = verify(service, None)
    assert (len(outcome.verified), outcome.failed, outcome.warnings) == (7, [], [])


def test_without_the_server_of_that_time_a_rollback_says_so(old: Old) -> None:
    for restore in (MERGED, REPLACED):
        with pytest.raises(RestoreValidationError, match=f"was made on another server, .*{OLD_SERVER}"):
            rollback(old.service(), restore)


def test_on_the_server_of_that_time_its_restores_are_settled_and_rolled_back(
    old: Old, postgres_server: EmbeddedPostgres
) -> None:
    database, url = old.site.database, postgres_server.url()
    psql(database.url, old.site.backups / f"{DAILY}.sql")
    for name in (f"kept_undo_{REPLACED}", f"kept_restore_{KILLED}"):
        copy_database(url, "template0", name)
    oids = dict(
        database.query(
            "SELECT datname, oid::bigint FROM pg_database WHERE datname = 'kept' OR datname ~ '^kept_(undo|restore)_'"
        )
    )
    old.pretend({REPLACED: {"made": oids["kept"], "replaced": oids[f"kept_undo_{REPLACED}"]}})
    service = old.service()
    assert f"restore {KILLED}, whose process died in step 'post command': failed" in "\n".join(repair_restores(service))
    names = [
        name
        for (name,) in database.query(
            "SELECT datname FROM pg_database WHERE datname = 'kept' OR datname ~ '^kept_(undo|restore)_'"
        )
    ]
    assert sorted(names) == ["kept", f"kept_undo_{REPLACED}"]
    people = "SELECT id, name FROM people ORDER BY id"
    assert database.query(people) == [(1, "Ada"), (2, "Grace"), (3, "Edsger")]
    assert rollback(service, MERGED).restore.state is RestoreState.ROLLED_BACK
    assert database.query(people) == [(2, "nobody"), (3, "Edsger")]
    assert rollback(service, REPLACED).restore.state is RestoreState.ROLLED_BACK
    assert database.query("SELECT oid::bigint FROM pg_database WHERE datname = 'kept'") == [
        (oids[f"kept_undo_{REPLACED}"],)
    ]


def test_a_catalog_that_is_up_to_date_is_opened_without_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/catalog.db"
    open_catalog(url)
    assert output_of([sys.executable, "-c", OPENER, url], {"PYTHONPATH": str(ROOT)}).strip() == "False"
