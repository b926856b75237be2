"""What a crash, or another process at the same moment, leaves between files and catalog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from app.domain.backup import BackupState, Origin, Tier
from app.embedded.postgres import EmbeddedPostgres
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find
from app.operations.backups.keep import keep
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.backups.verify import verify
from app.operations.health.check import repair
from app.operations.service import Progress
from tests.fix_days import DAILY, START, periods, take_days
from tests.fix_postgres import scratch_database
from tests.fix_service import Site


def test_an_interrupted_deletion_is_finished_by_the_next_prune(site: Site) -> None:
    service = site.service()
    take_days(service, 2)
    victim = find(service, "oldest")
    service.catalog.save(replace(victim, state=BackupState.DELETING))
    prune(service)
    assert periods(service) == ["2025-01-11"]
    assert len(site.files()) == 2


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
