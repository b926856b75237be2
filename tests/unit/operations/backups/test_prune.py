"""What retention removes, in which order, and what keeps a backup at the last moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.domain.backup import BackupState, Tier
from app.domain.events import BackupEvent
from app.errors import BackupFolderLostError, BackupPermissionError, CatalogError, ServerMismatchError
from app.operations.backups.inventory import inventory
from app.operations.backups.keep import keep
from app.operations.backups.prune import apply_retention, prune
from app.operations.backups.sync import sync
from tests.fakes.folder import Disk
from tests.fix_memory_site import MemorySite


def removed(site: MemorySite, number: int = 2) -> list[str]:
    return [backup.id for backup in prune(site.keeping(daily=number)).removed]


def days(*numbers: int) -> list[str]:
    return [f"daily/backup-2025-01-{number}" for number in numbers]


def test_a_dry_run_says_what_a_run_then_does(memory_site: MemorySite) -> None:
    memory_site.take_days(4)
    before = memory_site.files()
    planned = prune(memory_site.keeping(daily=2), dry_run=True)
    assert (memory_site.files(), planned.removed) == (before, [])
    assert [backup.id for backup in reversed(planned.plan.pruned)] == removed(memory_site) == days(15, 16)
    assert memory_site.ids() == days(17, 18)
    assert {row.id for row in memory_site.catalog.backups("residency")} == set(days(17, 18))
    assert len(memory_site.files()) == 4
    assert "backup pruned" in memory_site.phrases


def test_a_pinned_backup_outlives_retention_and_the_catalog(memory_site: MemorySite) -> None:
    memory_site.take_days(4)
    keep(memory_site.service, "oldest", "audit")
    assert removed(memory_site) == days(16)
    for row in memory_site.catalog.backups("residency"):
        memory_site.catalog.forget("residency", row.id)
    assert removed(memory_site) == []
    keep(memory_site.service, days(15)[0], None)
    assert removed(memory_site) == days(15)


def test_a_pin_that_was_set_after_the_plan_was_made_counts(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    service = memory_site.keeping(daily=1)
    before = inventory(service)
    keep(memory_site.service, days(15)[0], "audit")
    outcome = apply_retention(service, before)
    assert outcome.removed == []
    assert memory_site.ids() == days(15, 16)


def test_a_backup_that_a_restore_needs_stays(memory_site: MemorySite) -> None:
    memory_site.take_days(3)
    record = memory_site.begin_restore(backup=days(15)[0], safety=days(16)[0])
    assert removed(memory_site, 1) == []
    memory_site.end_restore(record)
    assert removed(memory_site, 1) == days(15, 16)


def test_a_file_of_another_maker_is_never_pruned(memory_site: MemorySite) -> None:
    memory_site.tree.put("daily/backup-2024-01-01.sql", b"SELECT 1;\n", at=datetime(2024, 1, 1, tzinfo=UTC))
    memory_site.take_days(2)
    assert removed(memory_site, 1) == days(15)
    assert "daily/backup-2024-01-01.sql" in memory_site.files()


def test_the_newest_verified_backup_stays_whatever_the_numbers_say(memory_site: MemorySite) -> None:
    memory_site.take_days(3)
    assert removed(memory_site, 0) == days(15, 16)


def test_a_damaged_backup_takes_no_place_of_a_sound_one(memory_site: MemorySite) -> None:
    memory_site.take_days(3)
    memory_site.catalog.record_check(memory_site.find(days(17)[0]), None, "a bit is flipped")
    assert removed(memory_site, 1) == days(15)


def test_one_that_cannot_be_removed_keeps_no_other(memory_site: MemorySite) -> None:
    memory_site.take_days(4)
    real = memory_site.tree.remove

    def remove(file: str) -> None:
        if "01-15" in file:
            raise BackupPermissionError("no right to remove it", "chown")
        real(file)

    memory_site.tree.remove = remove  # type: ignore[method-assign]
    outcome = prune(memory_site.keeping(daily=1))
    assert [backup.id for backup in outcome.removed] == days(16, 17)
    assert outcome.problems == [f"{days(15)[0]}: no right to remove it"]
    memory_site.tree.remove = real  # type: ignore[method-assign]
    assert removed(memory_site, 1) == days(15)  # its row says that it was to go


def test_a_deletion_that_a_crash_cut_short_is_finished(memory_site: MemorySite) -> None:
    memory_site.take_days(3)
    for name, files in ((days(15)[0], True), (days(16)[0], False)):
        backup = memory_site.find(name)
        memory_site.catalog.save(replace(backup, state=BackupState.DELETING))
        if not files:
            memory_site.tree.remove(backup.file)
    assert sorted(removed(memory_site, 7)) == days(15, 16)
    assert memory_site.ids() == days(17)


def test_a_deletion_that_was_cut_short_is_not_finished_where_the_backup_must_stay_by_now(
    memory_site: MemorySite,
) -> None:
    memory_site.take_days(2)
    victim = memory_site.find(days(15)[0])
    memory_site.catalog.save(replace(victim, state=BackupState.DELETING))
    memory_site.tree.remove(days(16)[0] + ".sql")  # now it is the newest that is verified
    assert removed(memory_site, 0) == days(16)
    assert memory_site.find(days(15)[0]).state is BackupState.COMPLETE
    memory_site.begin_restore(backup=days(15)[0])
    memory_site.catalog.save(replace(victim, state=BackupState.DELETING))
    assert removed(memory_site, 0) == []
    memory_site.catalog.save(replace(victim, state=BackupState.DELETING))
    assert sync(memory_site.service).healed == days(15)


def test_a_newer_backup_that_took_the_name_meanwhile_stays(
    memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_site.take_days(2)
    service = memory_site.keeping(daily=1)

    def replace_the_older(*_: object) -> None:
        """After the tree was listed, and before anything is removed."""
        monkeypatch.undo()
        now = memory_site.now
        memory_site.now = now.replace(day=15, hour=5)
        memory_site.rows["people"].append("3\tJoan")
        memory_site.take()
        memory_site.now = now

    monkeypatch.setattr(memory_site.catalog, "keep_manifests", replace_the_older)
    assert prune(service).removed == []
    assert memory_site.find(days(15)[0]).rows == 5


def test_runs_of_more_than_a_year_ago_are_thinned_after_a_backup(memory_site: MemorySite) -> None:
    memory_site.take_days(5)
    memory_site.later(days=400)
    service = memory_site.keeping(daily=1)
    prune(service)
    (event,) = [event for event in memory_site.events if event.name is BackupEvent.RUNS_THINNED]
    assert event.figures == {"runs": 3}
    prune(service)
    assert memory_site.phrases.count("backup old runs forgotten") == 1


def test_on_another_server_nothing_is_removed_and_a_dry_run_says_why(memory_site: MemorySite) -> None:
    memory_site.take_days(3)
    memory_site.server.system_identifier = "7000000000000000002"
    before = memory_site.files()
    with pytest.raises(ServerMismatchError):
        removed(memory_site)
    planned = prune(memory_site.keeping(daily=2), dry_run=True)
    assert "prune would be refused" in planned.problems[0]
    assert memory_site.files() == before


def test_nothing_is_removed_where_the_folder_is_gone(memory_site: MemorySite) -> None:
    memory_site.take_days(3)
    memory_site.tree.mount.disk = Disk()
    with pytest.raises(BackupFolderLostError):
        removed(memory_site)
    assert len(memory_site.catalog.backups("residency")) == 3


def test_a_catalog_that_cannot_be_written_does_not_keep_a_full_disk_full(
    memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_site.take_days(2)

    def refuse(*_: object) -> None:
        raise CatalogError("the disk is full")

    monkeypatch.setattr(memory_site.catalog, "save", refuse)
    removed(memory_site, 1)
    assert list(memory_site.files()) == ["daily/backup-2025-01-16.sql", "daily/backup-2025-01-16.sql.json"]


def test_each_tier_has_a_number_of_its_own(memory_site: MemorySite) -> None:
    for tier in (Tier.MANUAL, Tier.WEEKLY, Tier.DAILY):
        for _ in range(2):
            memory_site.take(tier)
            memory_site.later(days=8)
    outcome = prune(memory_site.keeping(daily=1, weekly=2, manual=0))
    assert {backup.tier for backup in outcome.removed} == {Tier.DAILY, Tier.MANUAL}
    assert len(outcome.removed) == 3
