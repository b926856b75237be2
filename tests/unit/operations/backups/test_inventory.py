"""What backups there are, and which one a name means."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.domain.backup import Origin, Tier
from app.errors import BackupNotFoundError, BackupReadError, BackupValidationError, CatalogError, ManifestError
from app.operations.backups.adopt import adopt
from app.operations.backups.inventory import find, inventory, newest_verified
from app.operations.backups.keep import keep
from tests.fakes.folder import Disk
from tests.fix_memory_site import START, MemorySite

FILE = "daily/backup-2025-01-15.sql"


def test_a_name_may_be_an_id_a_file_a_path_or_an_alias(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    memory_site.later(hours=1)
    memory_site.take(Tier.MANUAL)
    memory_site.take(Tier.SAFETY)
    for name, expected in {
        "daily/backup-2025-01-15": "daily/backup-2025-01-15",
        FILE: "daily/backup-2025-01-15",
        memory_site.tree.location(FILE): "daily/backup-2025-01-15",
        "oldest": "daily/backup-2025-01-15",
        "latest-daily": "daily/backup-2025-01-16",
        "latest": "manual/backup-2025-01-16T030000Z",
        "latest-safety": "safety/backup-2025-01-16T030000Z",
    }.items():
        assert memory_site.find(name).id == expected


@pytest.mark.parametrize("name", ["latest-weekly", "daily/backup-1999-01-01", "", "../etc/passwd", None, 7, ["latest"]])
def test_what_is_not_there_is_said(memory_site: MemorySite, name: object) -> None:
    memory_site.take()
    with pytest.raises(BackupNotFoundError, match="no such backup") as caught:
        find(memory_site.service, name)  # type: ignore[arg-type]
    assert caught.value.hint


def test_a_catalog_that_cannot_be_read_hides_no_backup(
    memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_site.take_days(2)

    def refuse(*_: object) -> None:
        raise CatalogError("the catalog is away")

    monkeypatch.setattr(memory_site.catalog, "backups", refuse)
    assert memory_site.ids() == ["daily/backup-2025-01-15", "daily/backup-2025-01-16"]
    assert memory_site.find().is_verified


def test_a_row_whose_file_is_gone_is_no_backup(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    memory_site.tree.remove("daily/backup-2025-01-16.sql")
    assert memory_site.find().id == "daily/backup-2025-01-15"
    (gone,) = [backup for backup in inventory(memory_site.service) if backup.problem]
    assert (gone.id, gone.problem) == ("daily/backup-2025-01-16", "the file is missing")


def test_a_backup_from_the_future_is_not_the_latest(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.later(days=300)
    memory_site.take(Tier.MANUAL)
    memory_site.now = START + timedelta(hours=1)
    assert memory_site.find().id == "daily/backup-2025-01-15"
    assert newest_verified(memory_site.service, inventory(memory_site.service)) == memory_site.find()
    with pytest.raises(BackupNotFoundError, match="from the future"):
        memory_site.find("latest-manual")


def test_another_databases_backup_is_never_the_latest(memory_site: MemorySite) -> None:
    memory_site.take()
    file = memory_site.find().file
    manifest = memory_site.manifest().model_copy(update={"database": "another"})
    memory_site.tree.write_manifest(file, manifest.to_json().encode())
    memory_site.catalog.forget("residency", "daily/backup-2025-01-15")
    with pytest.raises(BackupNotFoundError):
        memory_site.find()
    assert memory_site.find("daily/backup-2025-01-15").database == "another"


def test_another_servers_backup_is_not_the_latest_once_the_folder_has_a_server(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.take(Tier.MANUAL)
    server = memory_site.manifest("latest-manual").server
    assert server is not None
    manual = memory_site.find("latest-manual")
    other = server.model_copy(update={"system_identifier": "7000000000000000009"})
    manifest = memory_site.manifest("latest-manual").model_copy(update={"server": other})
    memory_site.tree.write_manifest(manual.file, manifest.to_json().encode())
    memory_site.catalog.forget("residency", manual.id)
    assert memory_site.find().id == "daily/backup-2025-01-15"
    with pytest.raises(BackupNotFoundError):
        memory_site.find("latest-manual")


def test_a_file_that_nobody_made_is_no_alias_and_is_found_by_its_name(memory_site: MemorySite) -> None:
    memory_site.tree.put(FILE, b"SELECT 1;\n")
    memory_site.tree.files_of_disk[FILE].owner = "user 1234"
    with pytest.raises(BackupNotFoundError, match="user 1234"):
        memory_site.find()
    assert memory_site.find("daily/backup-2025-01-15").origin is Origin.SCAN


def test_of_two_files_of_an_id_the_one_with_its_manifest_is_the_backup(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.tree.put(f"{FILE}.gz", b"somebody's", at=memory_site.now + timedelta(days=1))
    assert memory_site.find().file == FILE
    assert len(inventory(memory_site.service).other_files()) == 1


def test_a_manifest_of_another_length_is_damage(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.tree.files_of_disk[FILE].content += b"\n"
    assert "bytes instead of" in str(memory_site.find().problem)


def test_a_pair_that_somebody_copied_is_pinned(memory_site: MemorySite) -> None:
    memory_site.take()
    content, manifest = memory_site.files().values()
    memory_site.tree.put("weekly/backup-week-03.sql", content, manifest, memory_site.now)
    copied = memory_site.find("weekly/backup-week-03")
    assert (copied.tier, copied.pinned_reason) == (Tier.WEEKLY, "copied here by somebody")


def test_an_earlier_look_saves_parsing_what_has_not_changed(memory_site: MemorySite) -> None:
    memory_site.take_days(3)
    before = inventory(memory_site.service)
    keep(memory_site.service, "oldest", "audit")
    again = inventory(memory_site.service, before)
    same = {
        file.stored.file: file.described is other.described
        for file, other in zip(again.files(), before.files(), strict=True)
    }
    assert list(same.values()) == [False, True, True]
    assert again.standing("daily/backup-2025-01-15") == memory_site.find("oldest")


def test_a_pin_is_written_into_the_manifest_and_released_again(memory_site: MemorySite) -> None:
    memory_site.take()
    assert keep(memory_site.service, "latest", "audit").pinned_reason == "audit"
    assert memory_site.manifest().pinned_reason == "audit"
    assert [row.pinned_reason for row in memory_site.catalog.backups("residency")] == ["audit"]
    assert keep(memory_site.service, "latest", None).pinned_reason is None
    assert memory_site.phrases[-2:] == ["backup pinned", "backup released"]


def test_a_pin_needs_a_manifest_and_a_line_of_text(memory_site: MemorySite) -> None:
    memory_site.take()
    with pytest.raises(BackupValidationError, match="reason"):
        keep(memory_site.service, "latest", "two\nlines")
    del memory_site.tree.files_of_disk[f"{FILE}.json"]
    with pytest.raises(ManifestError):
        keep(memory_site.service, "latest", "audit")
    with pytest.raises(BackupNotFoundError):
        keep(memory_site.service, "daily/backup-1999-01-01", "audit")


def test_a_server_is_adopted_when_the_database_is_typed_out(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.server.system_identifier = "7000000000000000002"
    for confirm in (None, "another"):
        with pytest.raises(BackupValidationError, match="nothing was changed") as caught:
            adopt(memory_site.service, confirm)
        assert "--confirm residency" in caught.value.hint
    adopted = adopt(memory_site.service, "residency")
    assert adopted.changed
    assert adopted.before is not None
    assert (adopted.before.system_identifier, adopted.now.system_identifier) == (
        "7000000000000000001",
        "7000000000000000002",
    )
    assert not adopt(memory_site.service, "residency").changed
    memory_site.later(days=1)
    memory_site.take()


def test_a_new_folder_is_adopted_and_what_was_in_the_old_one_is_forgotten(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    memory_site.tree.mount.disk = Disk()
    with pytest.raises(BackupValidationError, match="taken for a new one"):
        adopt(memory_site.service, None, new_folder=True)
    adopted = adopt(memory_site.service, "residency", new_folder=True)
    assert sorted(adopted.forgotten) == ["daily/backup-2025-01-15", "daily/backup-2025-01-16"]
    memory_site.take()


def test_a_manifest_that_cannot_be_read_hides_no_other(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    memory_site.tree.files_of_disk[f"{FILE}.json"].problem = BackupReadError("no right to read", "chmod")
    assert memory_site.ids() == ["daily/backup-2025-01-15", "daily/backup-2025-01-16"]
