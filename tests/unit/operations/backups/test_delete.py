"""A backup is deleted by whoever names it and says why, unless it may be the last, or something needs it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.domain.backup import BackupState, Tier
from app.domain.events import BackupEvent
from app.domain.restore import RestoreState
from app.errors import (
    BackupNotFoundError,
    BackupPermissionError,
    BackupValidationError,
    CatalogError,
    ServerMismatchError,
    ServerUnavailableError,
)
from app.operations.backups.delete import delete
from app.operations.backups.inventory import inventory
from app.operations.backups.keep import keep
from tests.fix_memory_site import MemorySite

OLD, NEW = "daily/backup-2025-01-15", "daily/backup-2025-01-16"
WHY = "holds what must be forgotten"


def refused(site: MemorySite, name: str = OLD, match: str = "") -> str:
    """Why a backup stays; nothing is changed."""
    before = site.files()
    with pytest.raises(BackupValidationError, match=match) as caught:
        delete(site.service, name, WHY)
    assert site.files() == before
    assert site.catalog.deletions("residency") == []
    assert site.events[-1].name is BackupEvent.NOT_DELETED
    return caught.value.hint


def test_a_deleted_backup_is_gone_and_the_log_and_the_catalog_say_who_did_it_and_why(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    done = delete(memory_site.with_options(by="bob@db2"), OLD, WHY)
    assert (done.backup.id, done.warnings, memory_site.ids()) == (OLD, [], [NEW])
    assert [name for name in memory_site.files() if "01-15" in name] == []
    event = memory_site.events[-1]
    assert (event.name, event.backup, event.reason) == (BackupEvent.DELETED, OLD, WHY)
    assert event.figures == {"bytes": done.backup.bytes, "by": "bob@db2"}
    [recorded] = memory_site.catalog.deletions("residency")
    assert (recorded.id, recorded.sha256, recorded.created_at) == (OLD, done.backup.sha256, done.backup.created_at)
    assert (recorded.deleted_by, recorded.reason, recorded.deleted_at) == ("bob@db2", WHY, memory_site.now)


def test_who_asks_for_it_later_is_told_who_deleted_it(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    delete(memory_site.service, OLD, WHY)
    with pytest.raises(BackupNotFoundError, match=f"no such backup: {OLD}: alice@db1 deleted it at 2025-01-16 .*{WHY}"):
        delete(memory_site.service, OLD, WHY)


def test_the_newest_verified_backup_stays(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    assert "residency-backup create manual" in refused(memory_site, NEW, "is the newest verified backup")
    memory_site.catalog.record_check(memory_site.find(), None, "a flipped bit")
    refused(memory_site, OLD, "is the newest verified backup")
    delete(memory_site.service, NEW, "it is damaged")
    assert memory_site.ids() == [OLD]


def test_the_only_full_backup_stays_beside_newer_dumps(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    full = memory_site.take(Tier.FULL).backup.id
    memory_site.later(days=1)
    memory_site.take()
    refused(memory_site, full, "is the newest verified full backup")
    delete(memory_site.service, NEW, WHY)


def test_one_from_the_future_goes_and_protects_no_older_one(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    memory_site.now -= timedelta(days=1)
    refused(memory_site, OLD, "is the newest verified backup")
    delete(memory_site.service, NEW, "the clock was wrong")
    assert memory_site.ids() == [OLD]


def test_if_all_are_from_the_future_the_newest_stays(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    memory_site.now -= timedelta(days=30)
    refused(memory_site, NEW, "is the newest verified backup")


def test_a_pinned_backup_stays_until_it_is_released(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    keep(memory_site.service, OLD, "audit")
    assert refused(memory_site, OLD, "is pinned: audit").endswith(f"residency-backup keep --release {OLD}")
    keep(memory_site.service, OLD, None)
    delete(memory_site.service, OLD, WHY)
    assert memory_site.ids() == [NEW]


def test_what_a_restore_needs_stays(memory_site: MemorySite) -> None:
    memory_site.take_days(3)
    record = memory_site.begin_restore(backup=OLD)
    refused(memory_site, OLD, f"restore {record.id}, which is under way or not recovered, needs it")
    memory_site.end_restore(record, RestoreState.FAILED)
    delete(memory_site.service, OLD, WHY)


def test_what_undoes_a_restore_stays_even_if_its_pin_is_lost(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    done = memory_site.restore(NEW).restore
    assert done.safety is not None
    memory_site.later(hours=1)
    memory_site.take(Tier.MANUAL)
    keep(memory_site.service, done.safety, None)
    refused(memory_site, done.safety, f"what was there before restore {done.id}, until 2025-01-17")
    memory_site.later(hours=24)
    delete(memory_site.service, done.safety, WHY)


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "x" * 300])
def test_a_reason_of_one_line_must_be_given(memory_site: MemorySite, reason: str) -> None:
    memory_site.take_days(2)
    with pytest.raises(BackupValidationError, match="reason"):
        delete(memory_site.service, OLD, reason)
    assert memory_site.ids() == [OLD, NEW]


def test_another_server_deletes_nothing(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    memory_site.server.system_identifier = "7000000000000000002"
    with pytest.raises(ServerMismatchError):
        delete(memory_site.service, OLD, WHY)
    assert memory_site.ids() == [OLD, NEW]


def test_without_the_server_it_goes_by_the_files(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    memory_site.server.fails["identity"] = ServerUnavailableError("the server is down")
    delete(memory_site.service, OLD, WHY)
    assert memory_site.ids() == [NEW]


def test_a_file_that_nothing_describes_is_not_ours_to_delete(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    memory_site.tree.files_of_disk.pop(f"{OLD}.sql.json")
    memory_site.catalog.forget("residency", OLD)
    assert "residency-backup sync" in refused(memory_site, OLD, "nothing says what it is")


def test_a_file_that_cannot_be_removed_is_an_error_and_the_backup_stays_listed(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    memory_site.tree.mount.fails["remove"] = BackupPermissionError("no right to remove it")
    with pytest.raises(BackupPermissionError):
        delete(memory_site.service, OLD, WHY)
    assert memory_site.events[-1].name is BackupEvent.NOT_DELETED
    assert memory_site.catalog.deletions("residency") == []
    assert memory_site.find(OLD).state is BackupState.COMPLETE
    memory_site.tree.mount.fails.clear()
    delete(memory_site.service, OLD, WHY)
    assert memory_site.ids() == [NEW]


def test_a_catalog_that_cannot_be_written_keeps_nothing_from_going(
    memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_site.take_days(2)

    def refuse(*_: object) -> None:
        raise CatalogError("the disk is full")

    monkeypatch.setattr(memory_site.catalog, "record_deletion", refuse)
    done = delete(memory_site.service, OLD, WHY)
    assert done.warnings == [f"the catalog does not say who deleted {OLD}, and why: the disk is full"]
    assert [backup.id for backup in inventory(memory_site.service)] == [NEW]
