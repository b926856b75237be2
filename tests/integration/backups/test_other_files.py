"""A person's files beside the backups: each is named, none is taken for a backup, and none is ever removed."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.domain.backup import Backup, Origin, Tier
from app.errors import BackupValidationError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find, inventory
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.backups.verify import verify
from app.operations.health.check import check
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, leftovers, make_site

DAILY = BackupRequest(tier=Tier.DAILY)
ROWS = 7


@pytest.fixture
def small(empty_database: TestDatabase, tmp_path: Path) -> Site:
    empty_database.execute("CREATE TABLE notes (line text); INSERT INTO notes SELECT 'x' FROM generate_series(1, 7)")
    return make_site(empty_database, tmp_path / "backups", filled=False)


def taken(site: Site, **settings: str) -> Backup:
    made = take_backup(site.service(**settings), DAILY)
    assert made is not None
    assert made.warnings == []
    return made.backup


def packed(site: Site, backup: Backup) -> Path:
    """What `gzip -k` makes."""
    file = site.backups / backup.file
    copy = file.with_name(f"{file.name}.gz")
    copy.write_bytes(gzip.compress(file.read_bytes()))
    return copy


def unpacked(site: Site, backup: Backup) -> Path:
    """What `gunzip -k` makes."""
    file = site.backups / backup.file
    copy = file.with_suffix("")
    copy.write_bytes(gzip.decompress(file.read_bytes()))
    return copy


def warnings(site: Site) -> list[str]:
    return [each.message for each in check(site.service()) if each.severity == "warning"]


@pytest.mark.parametrize(("codec", "copy"), [("none", packed), ("gzip", unpacked)])
def test_a_copy_that_a_person_packed_is_named_and_stays(
    small: Site, restored: Callable[[Path], TestDatabase], codec: str, copy: Callable[[Site, Backup], Path]
) -> None:
    settings = {"BACKUP_COMPRESSION": codec}
    backup = taken(small, **settings)
    other = copy(small, backup)
    content = other.read_bytes()
    service = small.service(**settings)
    for _ in range(2):
        (listed,) = inventory(service)
        assert (listed.file, listed.rows, listed.is_verified, listed.problem) == (backup.file, ROWS, True, None)
        (said,) = warnings(small)
        assert f"daily/{other.name}" in said
        assert verify(service).failed == []
        outcome = sync(service)
        assert (outcome.healed, outcome.added, outcome.forgotten) == ([], [], [])
        assert [f"daily/{other.name}" in problem for problem in outcome.problems] == [True]
    again = taken(small, **settings)
    assert again.id == backup.id
    prune(small.service(BACKUP_KEEP_DAYS="0", **settings))
    assert other.read_bytes() == content
    assert find(service, "latest") == again
    assert not leftovers(small.backups)
    plain = other if codec == "gzip" else small.backups / again.file
    assert restored(plain).query("SELECT count(*) FROM notes") == [(ROWS,)]


def test_a_change_of_compression_replaces_the_backup_and_no_copy_of_it(small: Site) -> None:
    backup = taken(small)
    other = packed(small, backup)
    content = other.read_bytes()
    again = taken(small, BACKUP_COMPRESSION="zstd")
    files = sorted(path.name for path in (small.backups / "daily").iterdir())
    assert files == sorted([other.name, Path(again.file).name, f"{Path(again.file).name}.json"])
    assert other.read_bytes() == content


def test_a_run_does_not_take_the_name_of_a_persons_file(small: Site) -> None:
    backup = taken(small)
    other = packed(small, backup)
    before = small.files()
    with pytest.raises(BackupValidationError, match=f"{other.name} is no backup of this service") as raised:
        take_backup(small.service(BACKUP_COMPRESSION="gzip"), DAILY)
    assert f"mv {other} {other}.other" in raised.value.hint
    assert small.files() == before


def test_what_was_indexed_as_found_is_a_persons_file_too(small: Site) -> None:
    service = small.service()
    backup = taken(small)
    content = (small.backups / backup.file).read_bytes()
    service.tree.remove(backup.file)
    service.catalog.forget(service.database, backup.id)
    (small.backups / backup.file).write_bytes(content)
    assert sync(service).healed == [backup.id]
    with pytest.raises(BackupValidationError, match="no backup of this service"):
        take_backup(service, DAILY)
    assert (small.backups / backup.file).read_bytes() == content


def test_a_copy_whose_backup_is_gone_is_a_file_that_was_found(small: Site) -> None:
    backup = taken(small)
    other = packed(small, backup)
    small.service().tree.remove(backup.file)
    service = small.service()
    (listed,) = inventory(service)
    assert (listed.file, listed.origin, listed.problem) == (f"daily/{other.name}", Origin.SCAN, None)
    for _ in range(2):
        sync(service)
        (listed,) = inventory(service)
        assert (listed.file, listed.origin, listed.rows, listed.problem) == (
            f"daily/{other.name}",
            Origin.SCAN,
            ROWS,
            None,
        )
        assert [each.file for each in service.catalog.backups(service.database)] == [f"daily/{other.name}"]
    again = taken(small)
    assert ([*inventory(service)], other.exists()) == ([again], True)


def test_a_copied_manifest_does_not_make_a_backup_of_another_file(small: Site) -> None:
    backup = taken(small)
    other = packed(small, backup)
    shutil.copy(small.backups / f"{backup.file}.json", f"{other}.json")
    assert [*inventory(small.service())] == [backup]
    again = taken(small)
    assert [*inventory(small.service())] == [again]
    assert other.exists()


def test_of_two_files_with_manifests_the_catalogs_is_the_backup_and_both_are_a_runs_to_replace(small: Site) -> None:
    first = taken(small)
    saved = small.backups.with_name("saved")
    shutil.copytree(small.backups / "daily", saved)
    second = taken(small, BACKUP_COMPRESSION="zstd")
    shutil.copytree(saved, small.backups / "daily", dirs_exist_ok=True)
    assert [*inventory(small.service())] == [second]
    (said,) = warnings(small)
    assert first.file in said
    assert sync(small.service()).forgotten == []
    third = taken(small)
    assert [*inventory(small.service())] == [third]
    names = [path.name for path in (small.backups / "daily").iterdir() if path.suffix != ".json"]
    assert names == [Path(third.file).name]


def test_the_command_line_names_the_other_file(small: Site) -> None:
    other = packed(small, taken(small))
    listed = small.cli("list")
    assert listed.code == 0
    assert f"daily/{other.name}" in listed.stderr
    assert [each["file"] for each in json.loads(small.cli("list", "--json").stdout)] == [
        f"daily/{other.name}".removesuffix(".gz")
    ]


def test_a_backup_that_a_person_copied_to_another_name_is_theirs(small: Site) -> None:
    """As pg_back #11: what the tool did not put there, retention removes not."""
    start = datetime(2025, 3, 10, 12, tzinfo=UTC)
    service = small.service(BACKUP_KEEP_DAYS="1", BACKUP_KEEP_MANUAL="1")
    first = take_backup(replace(service, clock=lambda: start), DAILY)
    assert first is not None
    copy = small.backups / "manual/backup-2025-03-10T130000Z.sql"
    copy.parent.mkdir()
    for suffix in ("", ".json"):
        shutil.copy(small.backups / f"{first.backup.file}{suffix}", f"{copy}{suffix}")
    sync(service)
    for day in (1, 2):
        later = replace(service, clock=lambda day=day: start + timedelta(days=day))
        assert take_backup(later, DAILY) is not None
        assert take_backup(later, BackupRequest(tier=Tier.MANUAL)) is not None
        sync(later)
        prune(later)
    assert copy.exists()
    listed = find(service, "manual/backup-2025-03-10T130000Z")
    assert (listed.tier, listed.period, listed.origin) == (Tier.MANUAL, "2025-03-10T130000Z", Origin.DUMP)
    assert listed.pinned_reason == "copied here by somebody"
    assert [each.id for each in inventory(service) if each.tier is Tier.DAILY] == ["daily/backup-2025-03-12"]
    assert verify(service).failed == []


def test_files_that_were_copied_without_their_times_are_as_old_as_their_names_say(small: Site) -> None:
    """As btrfs-backup-ng #56: a file of unknown age is not the newest because it was copied now."""
    start = datetime(2025, 3, 10, 12, tzinfo=UTC)
    service = small.service()
    for day in range(3):
        take_backup(replace(service, clock=lambda day=day: start + timedelta(days=day)), DAILY)
    for path in small.backups.glob("catalog.db*"):
        path.unlink()
    for path in small.backups.glob("daily/*.json"):
        path.unlink()
    for age, name in enumerate(["2025-03-12", "2025-03-10", "2025-03-11"]):
        when = datetime.now(UTC).timestamp() - 600 + age
        os.utime(small.backups / f"daily/backup-{name}.sql", (when, when))
    assert find(small.service(), "latest").id == "daily/backup-2025-03-12"
    assert find(small.service(), "oldest").id == "daily/backup-2025-03-10"
    sync(small.service())
    assert find(small.service(), "latest").id == "daily/backup-2025-03-12"
    assert take_backup(replace(small.service(), clock=lambda: start + timedelta(days=9)), DAILY) is not None
    assert find(small.service(), "latest").id == "daily/backup-2025-03-19"
