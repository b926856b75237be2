"""Retention, pins, sync, check and repair on real files: the catalog is a record, the files are the truth."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from app.domain.backup import BackupState, Origin, Tier
from app.domain.checks import Severity
from app.domain.slots import Slot
from app.embedded.postgres import EmbeddedPostgres
from app.errors import BackupFolderLostError, BackupNotFoundError, BackupValidationError
from app.operations.backup.catch_up import due_slots
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find, inventory
from app.operations.backups.keep import keep
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.backups.verify import verify
from app.operations.health.check import check, repair
from app.operations.service import Progress, Service
from tests.fix_postgres import TestDatabase, output_or_fail, scratch_database
from tests.fix_service import Site, make_site, require_same_content

DAILY = BackupRequest(tier=Tier.DAILY)
START = datetime(2025, 1, 10, 2, tzinfo=UTC)


def take_days(service: Service, days: int) -> None:
    """A daily backup on each of so many days."""
    for day in range(days):
        now = START + timedelta(days=day)
        take_backup(replace(service, clock=lambda now=now: now), DAILY)


def periods(service: Service) -> list[str]:
    """Of all backups, oldest first."""
    return sorted(each.period for each in inventory(service))


def warnings(service: Service) -> list[str]:
    """What a check complains of."""
    return [each.message for each in check(service) if each.severity is not Severity.OK]


def test_a_dry_run_says_what_a_run_then_does(site: Site) -> None:
    take_days(site.service(), 4)
    service = site.service(BACKUP_KEEP_DAYS="2")
    before = site.files()
    planned = prune(service, dry_run=True)
    assert site.files() == before
    done = prune(service)
    assert [each.id for each in reversed(done.removed)] == [each.id for each in planned.plan.pruned]
    assert periods(service) == ["2025-01-12", "2025-01-13"]
    assert len(site.files()) == 4


def test_a_pinned_backup_outlives_retention_and_the_catalog(site: Site) -> None:
    service = site.service(BACKUP_KEEP_DAYS="1")
    take_days(service, 1)
    keep(service, "latest", "audit 2025")
    for path in site.backups.glob("catalog.db*"):
        path.unlink()
    service = site.service(BACKUP_KEEP_DAYS="1")
    sync(service)
    now = START + timedelta(days=5)
    take_backup(replace(service, clock=lambda: now), DAILY)
    assert periods(service) == ["2025-01-10", "2025-01-15"]
    assert find(service, "daily/backup-2025-01-10").kept == "audit 2025"
    assert verify(service).failed == []
    keep(service, "daily/backup-2025-01-10", None)
    prune(service)
    assert periods(service) == ["2025-01-15"]


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


def test_sync_does_not_forget_everything_because_a_mount_is_missing(site: Site, tmp_path: Path) -> None:
    settings = {"BACKUP_CATALOG_URL": f"sqlite:///{tmp_path}/catalog.db"}
    service = site.service(**settings)
    take_days(service, 2)
    shutil.move(site.backups, tmp_path / "unmounted")
    site.backups.mkdir()
    with pytest.raises(BackupFolderLostError, match="missing or empty now"):
        sync(service)
    assert len(service.catalog.backups(service.database)) == 2


def test_an_interrupted_deletion_is_finished_by_the_next_prune(site: Site) -> None:
    service = site.service()
    take_days(service, 2)
    victim = find(service, "oldest")
    service.catalog.save(replace(victim, state=BackupState.DELETING))
    prune(service)
    assert periods(service) == ["2025-01-11"]
    assert len(site.files()) == 2


def test_check_is_content_with_a_healthy_system_and_says_what_is_missing(site: Site) -> None:
    service = site.service()
    assert warnings(service) == [
        "there is no verified backup of the database as plain SQL; 'residency-backup create manual' makes one"
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


def test_a_missed_slot_is_due_once_and_only_the_last_one(site: Site) -> None:
    service = site.service()
    now = datetime(2025, 3, 10, 12, tzinfo=UTC)
    service = replace(service, clock=lambda: now)
    assert due_slots(service) == [], "what was due before the service came is not missed"
    later = replace(service, clock=lambda: now + timedelta(days=5))
    (daily,) = (slot for slot in due_slots(later) if slot.tier is Tier.DAILY)
    assert daily.period == "2025-03-15"
    assert take_backup(later, BackupRequest(tier=Tier.DAILY, slot=daily)) is not None
    assert [slot for slot in due_slots(later) if slot.tier is Tier.DAILY] == []


def test_a_schedule_moved_to_later_makes_up_for_nothing(site: Site) -> None:
    now = datetime(2025, 3, 10, 12, tzinfo=UTC)
    early = replace(site.service(BACKUP_DAILY_CRON="0 2 * * *"), clock=lambda: now)
    assert due_slots(early) == []
    late = replace(site.service(BACKUP_DAILY_CRON="0 23 * * *"), clock=lambda: now)
    assert due_slots(late) == [], "yesterday at 23:00 nobody had wanted one"
    assert "2025-03-09 was due" not in " ".join(warnings(late))
    evening = replace(late, clock=lambda: now + timedelta(hours=11))
    today = late.schedules[Tier.DAILY].last_due(evening.clock())
    assert take_backup(evening, BackupRequest(tier=Tier.DAILY, slot=today)) is not None
    tomorrow = replace(late, clock=lambda: now + timedelta(days=1, hours=12))
    assert [slot.period for slot in due_slots(tomorrow) if slot.tier is Tier.DAILY] == ["2025-03-11"]


def test_a_slot_that_failed_for_a_passing_reason_comes_again_three_times_at_most(site: Site) -> None:
    down = "postgresql://postgres:x@127.0.0.1:1/" + site.database.name
    now = datetime(2025, 3, 10, 2, tzinfo=UTC)
    service = replace(site.service(DATABASE_URL=down), clock=lambda: now)
    service.catalog.pass_slot(service.database, Slot.at(Tier.DAILY, now - timedelta(days=1)), now)
    attempts = 0
    for minute in range(60):
        at = now + timedelta(minutes=minute)
        service = replace(service, clock=lambda at=at: at)
        for slot in due_slots(service):
            if slot.tier is Tier.DAILY:
                attempts += 1
                with pytest.raises(Exception, match="does not answer"):
                    take_backup(service, BackupRequest(tier=Tier.DAILY, slot=slot))
    assert attempts == 3


def test_aliases_name_what_they_say(site: Site) -> None:
    service = site.service()
    take_days(service, 2)
    take_backup(replace(service, clock=lambda: START - timedelta(days=1)), BackupRequest(tier=Tier.MONTHLY))
    assert find(service, "latest-daily").id == "daily/backup-2025-01-11"
    assert find(service, "latest-monthly").id == "monthly/backup-2025-01"
    assert find(service, "oldest").id == "monthly/backup-2025-01", "by what they show, not by when they were made"
    assert find(service, "daily/backup-2025-01-10.sql").id == "daily/backup-2025-01-10"
    assert find(service, str(site.backups / "daily/backup-2025-01-10.sql")).id == "daily/backup-2025-01-10"
    with pytest.raises(BackupNotFoundError):
        find(service, "latest-weekly")


class During(Progress):
    """Does something when the first bytes of a phase pass."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act: Callable[[], object] | None = act

    def advance(self, amount: int) -> None:  # noqa: ARG002 - the port's
        if self.act is not None:
            act, self.act = self.act, None
            act()


def test_a_pin_set_during_a_verification_is_not_lost(site: Site) -> None:
    service = site.service(BACKUP_KEEP_DAYS="1")
    take_days(service, 1)
    moment = During(lambda: keep(site.service(), "latest", "audit"))
    verify(service, None, moment)
    assert moment.act is None
    take_backup(replace(service, clock=lambda: START + timedelta(days=9)), DAILY)
    assert periods(service) == ["2025-01-10", "2025-01-19"]


def test_the_manifests_pin_counts_also_when_the_catalog_does_not_know_it(site: Site) -> None:
    service = site.service(BACKUP_KEEP_DAYS="1")
    take_days(service, 1)
    keep(service, "latest", "audit")
    service.catalog.pin(service.database, "daily/backup-2025-01-10", None)
    take_backup(replace(service, clock=lambda: START + timedelta(days=9)), DAILY)
    assert "2025-01-10" in periods(service)


def test_a_pinned_backup_is_not_replaced_by_a_second_run_of_its_day(site: Site) -> None:
    service = replace(site.service(), clock=lambda: START)
    take_backup(service, DAILY)
    keep(service, "latest", "audit")
    before = site.files()
    with pytest.raises(BackupValidationError, match="pinned"):
        take_backup(service, DAILY)
    assert site.files() == before


def test_a_manifest_rebuilt_while_a_run_replaces_the_file_is_not_put_beside_other_bytes(site: Site) -> None:
    service = replace(site.service(), clock=lambda: START)
    taken = take_backup(service, DAILY)
    assert taken is not None
    (site.backups / f"{taken.backup.file}.json").unlink()
    site.database.execute("DELETE FROM notifications")
    outcome = sync(service, During(lambda: take_backup(service, DAILY)))
    assert outcome.problems == []
    assert verify(service).failed == []
    assert find(service, "latest").origin is Origin.DUMP


def test_a_manifest_that_was_only_missing_leaves_no_mark_of_damage(site: Site) -> None:
    service = site.service()
    taken = take_backup(service, DAILY)
    assert taken is not None
    (site.backups / f"{taken.backup.file}.json").unlink()
    assert len(verify(service).failed) == 1
    sync(service)
    assert find(service, "latest").good


def test_another_databases_run_is_no_leftover(site: Site, postgres_server: EmbeddedPostgres) -> None:
    with scratch_database(postgres_server) as other:
        service = site.service()
        moment = During(lambda: take_backup(site.service(DATABASE_URL=other.url), BackupRequest(tier=Tier.WEEKLY)))
        assert take_backup(service, DAILY, moment) is not None
        assert moment.act is None
        assert len(site.files()) == 4


def test_a_row_whose_deletion_was_cut_short_after_the_file_went_is_forgotten(site: Site) -> None:
    service = site.service()
    take_days(service, 2)
    victim = find(service, "oldest")
    service.catalog.save(replace(victim, state=BackupState.DELETING))
    service.tree.remove(victim.file)
    prune(service)
    assert [each.id for each in service.catalog.backups(service.database)] == ["daily/backup-2025-01-11"]


def test_a_week_whose_file_is_gone_does_not_stop_next_years(site: Site) -> None:
    service = site.service()
    for year in (2025, 2026):
        day = datetime.fromisocalendar(year, 3, 7).replace(hour=3, tzinfo=UTC)
        taken = take_backup(replace(service, clock=lambda day=day: day), BackupRequest(tier=Tier.WEEKLY))
        assert taken is not None
        service.tree.remove(taken.backup.file)


@pytest.mark.parametrize("label", ["two\nlines", "x" * 201, "\udcff", 5])
def test_a_label_that_no_manifest_could_hold_is_refused_before_anything_is_done(label: object) -> None:
    with pytest.raises(BackupValidationError, match="label"):
        BackupRequest(tier=Tier.MANUAL, label=label)  # type: ignore[arg-type]


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


def test_a_run_that_died_between_its_two_renames_is_finished(site: Site) -> None:
    service = site.service()
    taken = take_backup(service, DAILY)
    assert taken is not None
    manifest = site.backups / f"{taken.backup.file}.json"
    manifest.rename(manifest.with_name(f".{manifest.name}.abcdefabcdef.partial"))
    for path in site.backups.glob("catalog.db*"):
        path.unlink()
    repair(site.service())
    assert find(site.service(), "latest").origin == "dump"
    assert verify(site.service()).failed == []
    assert not list(site.backups.rglob("*.partial"))


def test_a_left_manifest_of_other_bytes_is_not_put_beside_a_file(site: Site) -> None:
    taken = take_backup(site.service(), DAILY)
    assert taken is not None
    file = site.backups / taken.backup.file
    manifest = file.with_name(f"{file.name}.json")
    manifest.rename(manifest.with_name(f".{manifest.name}.abcdefabcdef.partial"))
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    repair(site.service())
    assert find(site.service(), "latest").origin == "scan"
