"""The catalog is made to say what the files say, and a file without a manifest gets one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from app.domain.backup import Backup, Codec, Origin, Tier
from app.errors import BackupFolderLostError, BackupPermissionError, BackupReadError
from app.operations.backups.descriptions import BEGINNING
from app.operations.backups.keep import keep
from app.operations.backups.sync import sync
from app.operations.backups.verify import verify
from app.operations.service import Progress
from app.storage.names import manifest_of, temporary
from tests.fakes.folder import Disk, MemoryFile
from tests.fix_memory_site import START, MemorySite

FILE = "daily/backup-2025-01-15.sql"
FOREIGN = (
    b"CREATE TABLE public.a (x int);\n\nCOPY public.a (x) FROM stdin;\n1\n2\n\\.\n\n"
    b"--\n-- PostgreSQL database dump complete\n--\n"
)


class During(Progress):
    """Does something once, when the first bytes pass."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = [act]

    def advance(self, amount: int) -> None:
        assert amount
        while self.act:
            self.act.pop()()


def rows(site: MemorySite) -> list[Backup]:
    return list(site.catalog.backups("residency"))


def lose_catalog(site: MemorySite) -> None:
    for row in rows(site):
        site.catalog.forget("residency", row.id)


def test_a_catalog_that_is_lost_is_rebuilt_from_the_manifests(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    memory_site.take(Tier.FULL)
    before = rows(memory_site)
    lose_catalog(memory_site)
    outcome = sync(memory_site.service)
    assert (len(outcome.added), outcome.healed, outcome.forgotten, outcome.problems) == (3, [], [], [])
    assert rows(memory_site) == before


def test_what_is_in_step_is_left_alone(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    before = memory_site.files()
    outcome = sync(memory_site.service)
    assert [outcome.added, outcome.healed, outcome.forgotten, outcome.problems] == [[], [], [], []]
    assert memory_site.files() == before


@pytest.mark.parametrize("tier", [Tier.DAILY, Tier.FULL])
def test_a_manifest_that_is_lost_is_rebuilt_and_proven_by_the_catalog(memory_site: MemorySite, tier: Tier) -> None:
    backup = memory_site.take(tier).backup
    del memory_site.tree.files_of_disk[f"{backup.file}.json"]
    assert len(verify(memory_site.service).failed) == 1
    assert sync(memory_site.service).healed == [backup.id]
    healed = memory_site.find(backup.id)
    assert (healed.origin, healed.is_verified, healed.sha256) == (Origin.DUMP, True, backup.sha256)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": 1}'])
def test_a_corrupt_manifest_is_rebuilt_too(memory_site: MemorySite, content: bytes) -> None:
    memory_site.take()
    memory_site.tree.write_manifest(FILE, content)
    assert sync(memory_site.service).healed == ["daily/backup-2025-01-15"]
    assert memory_site.find().is_verified


def test_damage_behind_the_facts_of_a_long_manifest_is_mended(memory_site: MemorySite) -> None:
    memory_site.take()
    lines = memory_site.tree.read_manifest(FILE) or b""
    padding = b" " * BEGINNING
    long = lines.replace(b' "tables": ', padding + b' "tables": ').replace(b'"segments"', padding + b'"segments"')
    memory_site.tree.write_manifest(FILE, long)
    assert sync(memory_site.service).healed == []
    memory_site.tree.write_manifest(FILE, long.replace(b'"xxh128": "', b'"xxh128": "0'))
    assert len(verify(memory_site.service).failed) == 1
    assert sync(memory_site.service).healed == ["daily/backup-2025-01-15"]
    assert verify(memory_site.service).failed == []


def test_a_manifest_of_a_newer_version_is_left_alone_and_told_of(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.tree.write_manifest(FILE, b'{"format": 99}')
    assert "format 99" in sync(memory_site.service).problems[0]
    assert memory_site.tree.read_manifest(FILE) == b'{"format": 99}'


def test_a_file_of_another_maker_is_indexed_and_counts_as_found(memory_site: MemorySite) -> None:
    memory_site.tree.put(FILE, FOREIGN, at=START)
    assert sync(memory_site.service).healed == ["daily/backup-2025-01-15"]
    found = memory_site.find("daily/backup-2025-01-15")
    assert (found.origin, found.rows, found.is_verified, found.codec) == (Origin.SCAN, 2, False, Codec.NONE)


def test_a_file_that_was_cut_off_is_told_of(memory_site: MemorySite) -> None:
    memory_site.tree.put(FILE, FOREIGN[:60], at=START)
    memory_site.tree.put(FILE.replace("15", "16"), FOREIGN[:-40], at=START)
    outcome = sync(memory_site.service)
    assert len(outcome.problems) == 2
    assert outcome.healed == []
    assert rows(memory_site) == []


def test_a_row_whose_file_is_gone_is_forgotten(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    memory_site.tree.remove(FILE)
    assert sync(memory_site.service).forgotten == ["daily/backup-2025-01-15"]
    assert [row.id for row in rows(memory_site)] == ["daily/backup-2025-01-16"]


def test_not_everything_is_forgotten_where_all_files_are_gone(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    for backup in rows(memory_site):
        memory_site.tree.remove(backup.file)
    assert "is it mounted?" in sync(memory_site.service).problems[0]
    memory_site.tree.mount.disk = Disk()
    with pytest.raises(BackupFolderLostError):
        sync(memory_site.service)
    assert len(rows(memory_site)) == 2


def test_a_manifest_that_waits_is_put_in_its_place_if_it_is_of_these_bytes(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    for file in (FILE, FILE.replace("15", "16")):
        manifest = memory_site.tree.files_of_disk.pop(f"{file}.json")
        waiting = str(
            temporary(manifest_of(memory_site.tree.root / file), "0123456789ab").relative_to(memory_site.tree.root)
        )
        memory_site.tree.files_of_disk[waiting] = manifest
    old = memory_site.tree.files_of_disk[FILE]
    memory_site.tree.files_of_disk[FILE] = MemoryFile(old.content.replace(b"Ada", b"Eva"), old.at)
    outcome = sync(memory_site.service)
    assert "daily/backup-2025-01-16" in outcome.healed
    assert memory_site.find("daily/backup-2025-01-16").is_verified
    assert memory_site.find("daily/backup-2025-01-15").origin is Origin.SCAN  # other bytes: only found


def test_what_a_run_that_died_has_replaced_goes(memory_site: MemorySite) -> None:
    memory_site.take()
    old = memory_site.tree.files_of_disk[FILE]
    memory_site.service = memory_site.with_options(codec=Codec.ZSTD)
    memory_site.later(hours=1)
    first = rows(memory_site)[0]
    memory_site.take()
    memory_site.tree.files_of_disk[FILE] = old
    new = rows(memory_site)[0]
    memory_site.catalog.save(first)
    outcome = sync(memory_site.service)
    assert FILE in outcome.forgotten or any(FILE in said for said in outcome.problems)
    assert memory_site.find().sha256 == new.sha256


def test_a_file_beside_a_backup_that_is_not_it_is_told_of_and_stays(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.tree.put(f"{FILE}.gz", b"somebody's")
    assert f"{FILE}.gz bears the name of the backup" in sync(memory_site.service).problems[0]
    assert f"{FILE}.gz" in memory_site.files()


def test_a_manifest_is_not_put_beside_other_bytes(memory_site: MemorySite) -> None:
    memory_site.take()
    del memory_site.tree.files_of_disk[f"{FILE}.json"]
    memory_site.rows["people"].append("3\tJoan")
    outcome = sync(memory_site.service, During(memory_site.take))
    assert outcome.problems == []
    assert verify(memory_site.service).failed == []
    assert memory_site.find().rows == 5


def test_a_pin_of_the_manifest_counts_and_comes_back(memory_site: MemorySite) -> None:
    memory_site.take()
    keep(memory_site.service, "latest", "audit")
    memory_site.catalog.pin("residency", "daily/backup-2025-01-15", None, None)
    assert memory_site.find().pinned_reason == "audit"
    lose_catalog(memory_site)
    sync(memory_site.service)
    assert rows(memory_site)[0].pinned_reason == "audit"


def test_what_no_run_is_known_to_have_made_is_taken_in_only_if_somebody_says_so(memory_site: MemorySite) -> None:
    memory_site.take()
    content, manifest = memory_site.files().values()
    lose_catalog(memory_site)
    later = FILE.replace("15", "20")
    memory_site.tree.put(later, content, manifest)
    memory_site.tree.files_of_disk[FILE].owner = "user 1234"
    outcome = sync(memory_site.service, trusting=False)
    assert f"{FILE}: found, it belongs to user 1234" in outcome.problems[0]
    assert "daily/backup-2025-01-15" in sync(memory_site.service).added


def test_what_cannot_be_read_hides_no_other(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    lose_catalog(memory_site)
    memory_site.tree.files_of_disk[f"{FILE}.json"].problem = BackupReadError("no right to read", "chmod")
    outcome = sync(memory_site.service)
    assert outcome.added == ["daily/backup-2025-01-16"]
    assert "no right to read" in outcome.problems[0]


def test_a_manifest_that_cannot_be_written_is_told_of(memory_site: MemorySite) -> None:
    memory_site.tree.put(FILE, FOREIGN, at=START + timedelta(hours=1))
    memory_site.tree.mount.fails["manifest"] = BackupPermissionError("no right to write", "chown")
    assert sync(memory_site.service).problems == [f"{FILE}: no right to write"]


def test_a_damaged_length_is_said(memory_site: MemorySite) -> None:
    memory_site.take()
    old = memory_site.tree.files_of_disk[FILE]
    memory_site.tree.files_of_disk[FILE] = MemoryFile(old.content[:-1], old.at)
    sync(memory_site.service)
    assert "bytes, its manifest says" in str(rows(memory_site)[0].problem)
