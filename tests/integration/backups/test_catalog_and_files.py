"""Retention, pins, sync, check and repair on real files: the catalog is a record, the files are the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find, inventory
from app.operations.backups.sync import sync
from app.operations.backups.verify import verify
from app.operations.health.check import repair
from tests.fix_days import DAILY, periods, take_days, warnings
from tests.fix_postgres import TestDatabase, output_or_fail, scratch_database
from tests.fix_service import Site, make_site, require_same_content


def test_a_file_of_another_maker_is_listed_and_indexed_and_never_pruned(
    site: Site, postgres_server: EmbeddedPostgres, restored: Callable[[Path], TestDatabase]
) -> None:
    from app.embedded.postgres import binaries  # noqa: PLC0415 - beside its only use

    file = site.backups / "daily/backup-2024-01-01.sql"
    file.parent.mkdir(parents=True)
    output_or_fail([str(binaries() / "pg_dump"), "-d", site.database.url, "-f", str(file)])
    service = site.service(BACKUP_KEEP_DAYS="1")
    assert [each.id for each in inventory(service)] == ["daily/backup-2024-01-01"]
    assert sync(service).healed == ["daily/backup-2024-01-01"]
    found = find(service, "daily/backup-2024-01-01")
    assert found.origin == "scan"
    assert found.rows == sum(rows for rows, _ in _leaf_rows(site).values())
    assert verify(service).failed == []
    take_days(service, 3)
    assert file.exists()
    require_same_content(site.database, restored(file))


def _leaf_rows(site: Site) -> dict[str, tuple[int, str]]:
    """Rows of the tables that hold rows themselves."""
    from tests.fix_postgres import copy_of_all_tables  # noqa: PLC0415 - beside its only use

    return copy_of_all_tables(site.database.url)


def test_sync_rebuilds_a_lost_catalog(site: Site) -> None:
    service = site.service()
    take_days(service, 2)
    take_backup(service, BackupRequest(tier=Tier.MANUAL, label="hello"))
    known = service.catalog.backups(service.database)
    for path in site.backups.glob("catalog.db*"):
        path.unlink()
    service = site.service()
    assert [each.id for each in inventory(service)] == [each.id for each in known], "the files alone are enough"
    outcome = sync(service)
    assert sorted(outcome.added) == sorted(each.id for each in known)
    assert service.catalog.backups(service.database) == known


@pytest.mark.parametrize("catalog", ["sqlite", "postgresql"])
def test_a_backup_and_its_pruning_work_on_either_catalog(
    site: Site, postgres_server: EmbeddedPostgres, catalog: str, restored: Callable[[Path], TestDatabase]
) -> None:
    with scratch_database(postgres_server) as elsewhere:
        settings = {"BACKUP_KEEP_DAYS": "2"}
        if catalog == "postgresql":
            settings["BACKUP_CATALOG_URL"] = elsewhere.url
        service = site.service(**settings)
        take_days(service, 3)
        assert periods(service) == ["2025-01-11", "2025-01-12"]
        assert len(service.catalog.backups(service.database)) == 2
        assert verify(service).failed == []
        require_same_content(site.database, restored(site.backups / "daily/backup-2025-01-12.sql"))


def test_check_is_content_with_a_healthy_system_and_says_what_is_missing(site: Site) -> None:
    service = site.service()
    assert warnings(service) == [
        "there is no verified backup of the database as plain SQL; to make one: residency-backup create manual"
    ]
    taken = take_backup(service, DAILY)
    assert taken is not None
    assert warnings(service) == []
    (site.backups / taken.backup.file).unlink()
    (site.backups / f"{taken.backup.file}.json").unlink()
    (site.backups / "daily/.backup-2025-01-01.sql.abcdefabcdef.partial").write_text("half")
    found = "\n".join(warnings(service))
    assert "the file is gone" in found
    assert "left by a run that died" in found
    take_backup(service, BackupRequest(tier=Tier.WEEKLY))
    repair(service)
    assert warnings(service) == []
    assert not list(site.backups.rglob("*.partial"))


def test_a_week_whose_file_is_gone_does_not_stop_next_years(site: Site) -> None:
    service = site.service()
    for year in (2025, 2026):
        day = datetime.fromisocalendar(year, 3, 7).replace(hour=3, tzinfo=UTC)
        taken = take_backup(replace(service, clock=lambda day=day: day), BackupRequest(tier=Tier.WEEKLY))
        assert taken is not None
        service.tree.remove(taken.backup.file)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_databases_of_other_encodings_are_backed_up(
    postgres_server: EmbeddedPostgres, tmp_path: Path, encoding: str, restored: Callable[[Path], TestDatabase]
) -> None:
    name = f"enc_{encoding.lower()}"
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'".encode())
    try:
        url = psycopg.conninfo.make_conninfo(postgres_server.url(name), client_encoding="UTF8")
        database = TestDatabase(name, url)
        database.execute('CREATE TABLE "Zoë" (x text); INSERT INTO "Zoë" VALUES (\'Müller\')')
        site = make_site(database, tmp_path / "backups", filled=False)
        taken = take_backup(site.service(), DAILY)
        assert taken is not None
        assert taken.backup.rows == 1
        copy = restored(site.backups / taken.backup.file)
        if encoding == "LATIN1":
            assert copy.query('SELECT x FROM "Zoë"') == [("Müller",)]
    finally:
        with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
