"""What a run may take the place of, and what is kept beside it or under another name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.backup import Tier
from app.domain.restore import RestoreState
from app.errors import BackupPermissionError, BackupValidationError, BackupWriteError, CatalogError
from app.operations.backups.adopt import adopt
from app.operations.backups.keep import keep
from tests.fix_memory_site import START, MemorySite

MANY = [f"{number}\tsomebody" for number in range(5000)]


def refused(site: MemorySite, words: str, tier: Tier = Tier.DAILY) -> None:
    """A run is refused with these words, and changes nothing."""
    before = site.files()
    with pytest.raises(BackupValidationError, match=words):
        site.take(tier)
    assert site.files() == before


def test_a_second_run_of_the_period_replaces_the_first(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.rows["people"].append("3\tJoan")
    memory_site.later(hours=1)
    memory_site.take()
    assert memory_site.ids() == ["daily/backup-2025-01-15"]
    assert memory_site.find().rows == 5


def test_a_pinned_backup_stays_and_the_way_out_is_named(memory_site: MemorySite) -> None:
    memory_site.take()
    keep(memory_site.service, "latest", "audit")
    refused(memory_site, "is pinned, and this run would replace it")


def test_a_backup_that_a_restore_needs_stays(memory_site: MemorySite) -> None:
    memory_site.take()
    record = memory_site.begin_restore(backup="daily/backup-2025-01-15")
    refused(memory_site, "a restore that is under way needs")
    memory_site.end_restore(record)
    memory_site.take()


def test_another_databases_backup_stays(memory_site: MemorySite) -> None:
    memory_site.take()
    edit(memory_site, "daily/backup-2025-01-15", database="another")
    refused(memory_site, "is a backup of database another")


def edit(site: MemorySite, backup: str, **facts: object) -> None:
    """Make the manifest of a backup say something else, and the catalog nothing."""
    file = site.find(backup).file
    site.tree.write_manifest(file, site.manifest(backup).model_copy(update=facts).to_json().encode())
    site.catalog.forget("residency", backup)


def test_a_file_of_somebody_else_stays(memory_site: MemorySite) -> None:
    memory_site.tree.put("daily/backup-2025-01-15.sql", b"SELECT 1;\n")
    refused(memory_site, "is no backup of this service")


@pytest.mark.parametrize("name", ["daily/backup-2025-01-15.sql", "daily/backup-2025-01-15.sql.json"])
def test_a_folder_of_the_name_stays(memory_site: MemorySite, name: str) -> None:
    memory_site.tree.mount.disk.folders.add(name)
    refused(memory_site, "is a folder")


def test_an_empty_database_replaces_no_backup_that_has_tables(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.rows.clear()
    refused(memory_site, "has no tables")
    memory_site.later(days=1)
    memory_site.take()  # tomorrow's name is free


def test_a_fuller_backup_is_kept_beside_pinned(memory_site: MemorySite) -> None:
    memory_site.rows["people"] = list(MANY)
    memory_site.take()
    memory_site.rows["people"] = MANY[:3]
    memory_site.later(hours=1)
    taken = memory_site.take()
    assert memory_site.ids() == ["daily/backup-2025-01-15", "manual/backup-2025-01-15T020000Z"]
    older = memory_site.find("manual/backup-2025-01-15T020000Z")
    assert (older.rows, older.tier, older.is_verified) == (5002, Tier.MANUAL, True)
    assert "was daily/backup-2025-01-15" in str(older.pinned_reason)
    assert [said for said in taken.warnings if "keep --release manual/backup-2025-01-15T020000Z" in said]
    assert {row.id for row in memory_site.catalog.backups("residency")} == set(memory_site.ids())


def test_a_fuller_backup_that_cannot_be_moved_stands_as_it_was(memory_site: MemorySite) -> None:
    memory_site.rows["people"] = list(MANY)
    memory_site.take()
    before = memory_site.files()
    memory_site.rows["people"] = MANY[:3]

    memory_site.tree.mount.fails["rename"] = BackupWriteError("I/O error", "look at the disk")
    with pytest.raises(BackupWriteError):
        memory_site.take()
    assert memory_site.files() == before


def test_a_lost_servers_last_backup_is_kept_beside_that_of_the_one_which_took_its_place(
    memory_site: MemorySite,
) -> None:
    memory_site.take()
    memory_site.server.system_identifier = "7000000000000000002"
    adopt(memory_site.service, "residency")
    memory_site.take()
    assert len(memory_site.ids()) == 2
    assert "of another server" in str(memory_site.find("manual/backup-2025-01-15T020000Z").pinned_reason)


def test_last_years_week_gets_its_year_when_this_years_is_written(memory_site: MemorySite) -> None:
    memory_site.take(Tier.WEEKLY)
    memory_site.now = datetime(2026, 1, 14, 2, tzinfo=UTC)
    memory_site.take(Tier.WEEKLY)
    assert memory_site.ids() == ["weekly/backup-2025-week-03", "weekly/backup-week-03"]
    assert memory_site.find("weekly/backup-2025-week-03").period == "2025-W03"
    assert {row.id for row in memory_site.catalog.backups("residency")} == set(memory_site.ids())


def test_this_years_week_is_replaced_by_its_own(memory_site: MemorySite) -> None:
    memory_site.take(Tier.WEEKLY)
    memory_site.later(hours=3)
    memory_site.take(Tier.WEEKLY)
    assert memory_site.ids() == ["weekly/backup-week-03"]


def test_a_week_of_another_year_that_cannot_be_renamed_is_not_replaced(memory_site: MemorySite) -> None:
    memory_site.take(Tier.WEEKLY)
    memory_site.tree.put("weekly/backup-2025-week-03.sql", b"somebody's\n")
    before = memory_site.files()
    memory_site.now = datetime(2026, 1, 14, 2, tzinfo=UTC)
    with pytest.raises(BackupWriteError, match="exists"):
        memory_site.take(Tier.WEEKLY)
    assert memory_site.files() == before


def test_the_catalog_that_cannot_note_a_renamed_week_is_a_warning(
    memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_site.take(Tier.WEEKLY)
    memory_site.now = datetime(2026, 1, 14, 2, tzinfo=UTC)

    def refuse(*_: object) -> None:
        raise CatalogError("the catalog is away")

    with monkeypatch.context() as patch:
        patch.setattr(memory_site.catalog, "save", refuse)
        memory_site.take(Tier.WEEKLY)
    assert "weekly/backup-2025-week-03" in memory_site.ids()
    assert "backup catalog not saved" in memory_site.phrases


def test_a_full_backup_of_another_server_stays(memory_site: MemorySite) -> None:
    memory_site.take(Tier.FULL)
    before = memory_site.files()
    backup = memory_site.find("latest-full").id
    server = memory_site.manifest(backup).server
    assert server is not None
    edit(memory_site, backup, server=server.model_copy(update={"system_identifier": "7000000000000000009"}))
    with pytest.raises(BackupValidationError, match="is of another server"):
        memory_site.take(Tier.FULL)
    assert memory_site.files().keys() == before.keys()


def test_a_row_alone_takes_no_name(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.tree.remove("daily/backup-2025-01-15.sql")
    memory_site.later(hours=1)
    assert memory_site.take().backup.created_at == START + timedelta(hours=1)


def test_a_backup_whose_deletion_was_cut_short_may_be_replaced(memory_site: MemorySite) -> None:
    record = memory_site.begin_restore(backup="daily/backup-2025-01-14")
    memory_site.end_restore(record, RestoreState.FAILED)
    backup = memory_site.take().backup
    memory_site.catalog.save(replace(backup, verified_at=None))
    memory_site.take()
    assert memory_site.find().is_verified


def test_the_free_space_is_looked_at_before_the_dump(memory_site: MemorySite) -> None:
    memory_site.tree.mount.fails["probe"] = BackupPermissionError("no right to write", "chown")
    with pytest.raises(BackupPermissionError):
        memory_site.take()
    assert memory_site.files() == {}
