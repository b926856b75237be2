"""`sync` beside a run that publishes, and beside retention: a true manifest stays, and so does a new backup."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.domain.backup import Backup, BackupState, Codec, Origin, Tier
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find
from app.operations.backups.prune import prune
from app.operations.backups.sync import SyncResult, sync
from app.operations.backups.verify import verify
from app.operations.health.check import repair
from app.operations.service import Service
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, require_same_content
from tests.meanwhile import Paused, hooked, publishing

START = datetime(2025, 1, 10, 2, 0, tzinfo=UTC)
DAILY = BackupRequest(tier=Tier.DAILY)


def service_at(site: Site, days: int = 0, **settings: str) -> Service:
    return replace(site.service(**settings), clock=lambda: START + timedelta(days=days))


def take(service: Service) -> Backup:
    taken = take_backup(service, DAILY)
    assert taken is not None
    assert taken.warnings == []
    return taken.backup


def require_proven(service: Service) -> Backup:
    """The newest backup is what a run dumped and verified, in the tree and in the catalog."""
    backup = find(service, "latest")
    (row,) = service.catalog.backups(service.database)
    assert (backup.origin, row.origin, row.problem, row.sha256) == (Origin.DUMP, Origin.DUMP, None, backup.sha256)
    outcome = verify(service)
    assert [each.id for each in outcome.verified] == [backup.id]
    assert outcome.failed == []
    return backup


def change(site: Site) -> None:
    site.database.execute("UPDATE people SET updated_at = updated_at + interval '1 day'")


def test_a_manifest_that_comes_while_sync_reads_the_file_stays(
    site: Site, monkeypatch: pytest.MonkeyPatch, restored: Callable[[Path], TestDatabase]
) -> None:
    service = service_at(site)
    reading, outcomes = Paused("index"), list[SyncResult]()
    beside = threading.Thread(target=lambda: outcomes.append(sync(service, reading)))
    with publishing(service, DAILY, monkeypatch) as run:
        beside.start()
        assert reading.begun.wait(60)
        run.finish()
        reading.go_on.set()
        beside.join()
    assert outcomes[0].problems == []
    backup = require_proven(service)
    require_same_content(site.database, restored(site.backups / backup.file))


@pytest.mark.parametrize("known", [BackupState.COMPLETE, BackupState.DELETING, None], ids=str)
def test_a_run_that_is_publishing_keeps_its_file(
    site: Site, monkeypatch: pytest.MonkeyPatch, known: BackupState | None
) -> None:
    """Listed between its two renames; whole when it is looked at. A row of the earlier file says it may go."""
    service = service_at(site)
    if known is not None:
        service.catalog.save(replace(take(service), state=known))
        change(site)
    with publishing(service, DAILY, monkeypatch) as run:
        outcome = sync(hooked(service, "files", run.finish))
    assert outcome.problems == []
    require_proven(service)


def test_a_repair_between_the_renames_leaves_the_rest_to_the_run(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    service = service_at(site)
    service.catalog.save(replace(take(service), state=BackupState.DELETING))
    change(site)
    with publishing(service, DAILY, monkeypatch) as run:
        repair(service)
        run.finish()
    require_proven(service)


def test_one_sync_is_enough_when_the_codec_has_changed(site: Site) -> None:
    service = service_at(site)
    earlier = take(service)
    packed = take(service_at(site, BACKUP_COMPRESSION="gzip"))
    service.catalog.save(earlier)
    sync(service)
    (row,) = service.catalog.backups(service.database)
    assert (row.file, row.codec) == (packed.file, Codec.GZIP)


def test_a_file_that_is_removed_while_sync_takes_it_in_is_not_in_the_catalog_after_it(site: Site) -> None:
    service = service_at(site)
    backup = take(service)
    service.catalog.forget(service.database, backup.id)
    outcome = sync(hooked(service, "files", lambda: service.tree.remove(backup.file)))
    assert list(service.catalog.backups(service.database)) == []
    assert (outcome.added, outcome.problems) == ([], [])


def test_a_corrupt_manifest_is_healed_and_one_that_came_meanwhile_is_not_touched(site: Site) -> None:
    service = service_at(site)
    manifest = site.backups / f"{take(service).file}.json"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-100])
    assert sync(service).healed == ["daily/backup-2025-01-10"]
    assert verify(service).failed == []
    stored = service.tree.look(find(service, "latest").file)
    assert stored is not None
    assert service.tree.add_manifest(b"{}", replace(stored, manifest=whole)) is False
    assert service.tree.add_manifest(b"{}", replace(stored, manifest=None)) is False
    again = service.tree.look(stored.file)
    assert again == replace(stored, stamp=again and again.stamp)
    assert list(service.tree.leftovers()) == []
    assert [path.name for path in manifest.parent.glob(".*")] == []


def test_a_backup_that_took_the_name_of_one_to_be_pruned_is_not_pruned(site: Site) -> None:
    oldest = take(service_at(site))
    for days in (1, 2):
        take(service_at(site, days=days))
    service = service_at(site, days=2, BACKUP_KEEP_DAYS="1")
    change(site)
    newer = list[Backup]()
    outcome = prune(hooked(service, "remove", lambda: newer.append(take(service_at(site, days=1)))))
    assert [each.id for each in outcome.removed] == [oldest.id]
    assert outcome.problems == []
    assert find(service, newer[0].id).sha256 == newer[0].sha256
    assert verify(service).failed == []
