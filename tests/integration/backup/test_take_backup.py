"""A backup of a real database, which stock psql restores."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from app.archive.manifest import parse_manifest
from app.domain.backup import Codec, Origin, Tier
from app.domain.slots import Slot, SlotState
from app.errors import BackupRunningError, BackupValidationError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find, inventory
from tests.fix_postgres import TestDatabase
from tests.fix_service import At, Site, leftovers, require_same_content, with_options

Restore = Callable[[Path], TestDatabase]
DAILY = BackupRequest(tier=Tier.DAILY)


@pytest.mark.parametrize("codec", ["none", "gzip", "zstd"])
def test_a_backup_restores_by_stock_psql_to_the_same_rows(site: Site, restored: Restore, codec: str) -> None:
    taken = take_backup(site.service(BACKUP_COMPRESSION=codec), DAILY)
    assert taken is not None
    assert not taken.warnings
    suffix = {"none": "", "gzip": ".gz", "zstd": ".zst"}[codec]
    today = datetime.now(UTC).date()
    assert taken.backup.file == f"daily/backup-{today}.sql{suffix}"
    require_same_content(site.database, restored(site.backups / taken.backup.file))


def test_the_manifest_counts_exactly_what_the_database_holds(site: Site) -> None:
    taken = take_backup(site.service(), DAILY)
    assert taken is not None
    content = (site.backups / f"{taken.backup.file}.json").read_bytes()
    manifest = parse_manifest(content, "manifest")
    counted = {str(each.table): each.rows for each in manifest.tables}
    for table, rows in counted.items():
        schema, name = table.split(".", 1)
        assert site.database.query(f'SELECT count(*) FROM ONLY "{schema}"."{name}"') == [(rows,)]
    assert len(counted) == taken.backup.tables
    assert sum(counted.values()) == taken.backup.rows
    assert manifest.origin is Origin.DUMP
    assert manifest.server is not None
    assert manifest.server.alembic_revision
    assert "postgres" in manifest.server.roles


def test_nothing_but_the_backup_and_its_manifest_is_left_and_only_the_owner_may_read(site: Site) -> None:
    taken = take_backup(site.service(), DAILY)
    assert taken is not None
    assert sorted(site.files()) == [taken.backup.file, f"{taken.backup.file}.json"]
    for path in (site.backups / taken.backup.file, site.backups / f"{taken.backup.file}.json"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert (site.backups / "daily").stat().st_mode & 0o777 == 0o700


def test_an_empty_database_replaces_no_backup_of_a_full_one(site: Site) -> None:
    taken = take_backup(site.service(), DAILY)
    before = site.files()
    for schema in {row[0] for row in site.database.query("SELECT schemaname FROM pg_tables WHERE tableowner = user")}:
        if schema not in {"pg_catalog", "information_schema"}:
            site.database.execute(f'DROP SCHEMA "{schema}" CASCADE; CREATE SCHEMA "{schema}"')
    with pytest.raises(BackupValidationError, match="has no tables") as caught:
        take_backup(site.service(), DAILY)
    assert "create manual" in caught.value.hint
    assert site.files() == before
    assert not leftovers(site.backups)
    assert take_backup(site.service(), BackupRequest(tier=Tier.MANUAL)) is not None
    assert taken is not None
    assert find(site.service(), taken.backup.id).tables == taken.backup.tables


def test_a_second_run_of_the_day_replaces_the_first_and_its_codec(site: Site, restored: Restore) -> None:
    service = site.service()
    take_backup(service, DAILY)
    site.database.execute("DELETE FROM notifications")
    second = take_backup(with_options(service, codec=Codec.ZSTD), DAILY)
    assert second is not None
    assert sorted(site.files()) == [second.backup.file, f"{second.backup.file}.json"]
    assert [each.file for each in inventory(service)] == [second.backup.file]
    require_same_content(site.database, restored(site.backups / second.backup.file))


def test_two_ad_hoc_backups_of_one_second_both_stand(site: Site) -> None:
    now = datetime(2025, 1, 15, 14, 30, tzinfo=UTC)
    service = replace(site.service(), clock=lambda: now)
    for _ in range(2):
        take_backup(service, BackupRequest(tier=Tier.MANUAL, label="twice"))
    names = [each.id for each in inventory(service)]
    assert sorted(names) == ["manual/backup-2025-01-15T143000Z", "manual/backup-2025-01-15T143001Z"]


def test_dates_are_those_of_the_schedules_time_zone(site: Site) -> None:
    zone = ZoneInfo("Pacific/Kiritimati")
    late = datetime(2025, 1, 15, 23, 30, tzinfo=UTC)
    service = replace(site.service(BACKUP_TIMEZONE=zone.key), clock=lambda: late.astimezone(zone))
    taken = take_backup(service, DAILY)
    assert taken is not None
    assert taken.backup.id == "daily/backup-2025-01-16"


def test_last_years_week_keeps_its_year_when_this_years_takes_its_name(site: Site, restored: Restore) -> None:
    service = site.service()
    for year in (2025, 2026):
        day = datetime.fromisocalendar(year, 3, 7).replace(hour=3, tzinfo=UTC)
        assert take_backup(replace(service, clock=lambda day=day: day), BackupRequest(tier=Tier.WEEKLY))
    assert {each.id: each.period for each in inventory(service)} == {
        "weekly/backup-2025-week-03": "2025-W03",
        "weekly/backup-week-03": "2026-W03",
    }
    require_same_content(site.database, restored(site.backups / "weekly/backup-2025-week-03.sql"))
    assert find(service, "weekly/backup-2025-week-03").is_verified


def test_a_slot_is_run_once_however_often_it_is_asked_for(site: Site) -> None:
    service = site.service()
    slot = Slot.at(Tier.DAILY, service.clock() - timedelta(minutes=1))
    request = BackupRequest(tier=Tier.DAILY, slot=slot)
    assert take_backup(service, request) is not None
    before = site.files()
    assert take_backup(service, request) is None
    assert site.files() == before
    assert take_backup(service, DAILY) is not None, "an admin's call is no slot: it always makes one"


def test_a_late_run_is_named_by_when_it_was_due(site: Site) -> None:
    service = site.service()
    due = service.clock() - timedelta(days=1)
    taken = take_backup(service, BackupRequest(tier=Tier.DAILY, slot=Slot.at(Tier.DAILY, due)))
    assert taken is not None
    assert taken.backup.id == f"daily/backup-{due.date()}"


def test_the_second_of_two_at_once_is_told_that_one_is_running(site: Site) -> None:
    service = site.service()
    refused: list[BaseException] = []

    def second() -> None:
        try:
            take_backup(site.service(), DAILY)
        except BackupRunningError as error:
            refused.append(error)

    def in_a_thread() -> None:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()

    fault = At(in_a_thread)
    assert take_backup(service, DAILY, fault) is not None
    assert fault.done
    assert [type(error).exit_code for error in refused] == [11]  # type: ignore[attr-defined]
    assert "daily" in str(refused[0])
    assert len(site.files()) == 2
    assert not leftovers(site.backups)


def test_another_tier_may_run_at_the_same_time(site: Site) -> None:
    fault = At(lambda: take_backup(site.service(), BackupRequest(tier=Tier.WEEKLY)))
    assert take_backup(site.service(), DAILY, fault) is not None
    assert fault.done
    assert {each.tier for each in inventory(site.service())} == {Tier.DAILY, Tier.WEEKLY}


def test_a_slot_whose_backup_stands_is_not_run_again_after_the_catalog_was_lost(site: Site) -> None:
    service = site.service()
    slot = Slot.at(Tier.DAILY, service.clock() - timedelta(minutes=1))
    take_backup(service, BackupRequest(tier=Tier.DAILY, slot=slot))
    before = site.files()
    for path in site.backups.glob("catalog.db*"):
        path.unlink()
    service = site.service()
    assert take_backup(service, BackupRequest(tier=Tier.DAILY, slot=slot)) is None
    assert site.files() == before
    record = service.catalog.slot(service.database, slot.tier, slot.period)
    assert record is not None
    assert record.state is SlotState.DONE


def test_retention_follows_a_success(site: Site) -> None:
    service = site.service(BACKUP_KEEP_DAYS="2")
    start = datetime(2025, 1, 10, 2, tzinfo=UTC)
    for day in range(4):
        now = start + timedelta(days=day)
        take_backup(replace(service, clock=lambda now=now: now), DAILY)
    assert sorted(each.period for each in inventory(service)) == ["2025-01-12", "2025-01-13"]
    assert json.loads((site.backups / "daily/backup-2025-01-13.sql.json").read_text())["period"] == "2025-01-13"


def test_a_clock_hours_behind_the_servers_does_no_harm(site: Site, restored: Restore) -> None:
    behind = datetime.now(UTC) - timedelta(hours=30)
    taken = take_backup(replace(site.service(), clock=lambda: behind), DAILY)
    assert taken is not None
    require_same_content(site.database, restored(site.backups / taken.backup.file))
