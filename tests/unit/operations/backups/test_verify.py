"""Backups are read back and compared with their manifests; what was found is remembered of these very bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.domain.backup import Codec, Tier
from app.errors import (
    BackupError,
    BackupNotFoundError,
    BackupReadError,
    BackupValidationError,
    CatalogError,
    DiskReadError,
    ManifestError,
)
from app.operations.backups.keep import keep
from app.operations.backups.prune import prune
from app.operations.backups.verify import require_all, verify
from app.operations.service import Progress
from tests.fakes.folder import MemoryFile
from tests.fix_memory_site import START, MemorySite

FILE = "daily/backup-2025-01-15.sql"
BAD_DISK = DiskReadError("I/O error", "look at the disk")


class During(Progress):
    """Does something once, when the first bytes pass."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = [act]

    def advance(self, amount: int) -> None:
        assert amount
        while self.act:
            self.act.pop()()


def content(site: MemorySite, change: Callable[[bytes], bytes], file: str = FILE) -> None:
    """The bytes of a file change, and nothing says so."""
    old = site.tree.files_of_disk[file]
    site.tree.files_of_disk[file] = MemoryFile(change(old.content), old.at)


def flip(data: bytes) -> bytes:
    at = data.index(b"Ada")
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[MemorySite], object]] = {
    "a flipped bit": lambda site: content(site, flip),
    "a file that was cut": lambda site: content(site, lambda data: data[:-20]),
    "a longer file": lambda site: content(site, lambda data: data + b"\n"),
    "an empty file": lambda site: content(site, lambda _: b""),
}


@pytest.mark.parametrize("codec", Codec)
def test_sound_backups_verify(memory_site: MemorySite, codec: Codec) -> None:
    memory_site.service = memory_site.with_options(codec=codec)
    memory_site.take_days(2)
    memory_site.take(Tier.FULL)
    memory_site.later(hours=5)
    outcome = verify(memory_site.service)
    assert (len(outcome.verified), outcome.failed) == (3, [])
    require_all(outcome)
    assert {row.verified_at for row in memory_site.catalog.backups("residency")} == {memory_site.now}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_told_and_remembered(memory_site: MemorySite, name: str) -> None:
    memory_site.take_days(2)
    DAMAGE[name](memory_site)
    outcome = verify(memory_site.service)
    ((backup, error),) = outcome.failed
    assert (backup.id, [each.id for each in outcome.verified]) == (
        "daily/backup-2025-01-15",
        ["daily/backup-2025-01-16"],
    )
    assert isinstance(error, BackupReadError | BackupValidationError)
    assert "backup not verified" in memory_site.phrases
    assert not memory_site.find("daily/backup-2025-01-15").is_verified
    with pytest.raises(type(error)):
        require_all(outcome)


def test_all_damaged_ones_are_named_in_one_error(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    for file in (FILE, FILE.replace("15", "16")):
        content(memory_site, flip, file)
    with pytest.raises(BackupValidationError, match=r"2 backups are damaged: .*01-1.*; .*01-1"):
        require_all(verify(memory_site.service))


def test_a_repaired_file_verifies_again(memory_site: MemorySite) -> None:
    memory_site.take()
    content(memory_site, flip)
    verify(memory_site.service)
    content(memory_site, lambda data: data.replace(b"@da", b"Ada"))
    assert verify(memory_site.service).failed == []
    assert memory_site.find().is_verified


@pytest.mark.parametrize(
    ("break_it", "expected"),
    [
        (lambda site: site.tree.files_of_disk.pop(f"{FILE}.json"), ManifestError),
        (lambda site: site.tree.write_manifest(FILE, b"{"), ManifestError),
        (
            lambda site: setattr(site.tree.files_of_disk[FILE], "problem", DiskReadError("I/O error", "x")),
            DiskReadError,
        ),
    ],
    ids=["no manifest", "a corrupt manifest", "a disk that refuses"],
)
def test_what_is_no_damage_of_the_bytes_is_not_remembered_as_such(
    memory_site: MemorySite, break_it: Callable[[MemorySite], object], expected: type[BackupError]
) -> None:
    memory_site.take()
    break_it(memory_site)
    ((_, error),) = verify(memory_site.service).failed
    assert type(error) is expected
    assert [row.problem for row in memory_site.catalog.backups("residency")] == [None]


def test_one_may_be_verified_by_its_name(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    assert [each.id for each in verify(memory_site.service, "oldest").verified] == ["daily/backup-2025-01-15"]
    with pytest.raises(BackupNotFoundError):
        verify(memory_site.service, "daily/backup-1999-01-01")


def test_a_pin_that_is_set_meanwhile_is_not_lost(memory_site: MemorySite) -> None:
    memory_site.take()
    verify(memory_site.service, None, During(lambda: keep(memory_site.service, "latest", "audit")))
    assert memory_site.find().pinned_reason == "audit"


def test_what_is_replaced_meanwhile_is_looked_at_again(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.rows["people"].append("3\tJoan")
    outcome = verify(memory_site.service, None, During(memory_site.take))
    assert [backup.rows for backup in outcome.verified] == [5]
    assert outcome.failed == []


def test_what_is_pruned_meanwhile_is_left_out_unless_it_was_asked_for(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    service = memory_site.keeping(daily=1)
    outcome = verify(service, None, During(lambda: prune(service)))
    assert [backup.id for backup in outcome.verified] == ["daily/backup-2025-01-16"]
    assert outcome.failed == []
    memory_site.take_days(2)
    asked = verify(service, "oldest", During(lambda: prune(service)))
    assert [type(error).__mro__[1] for _, error in asked.failed] == [BackupNotFoundError]


def test_what_was_made_but_lacks_something_is_a_warning(memory_site: MemorySite) -> None:
    memory_site.source.lacking.append("table public.spatial is an extension's")
    memory_site.take()
    outcome = verify(memory_site.service)
    assert len(outcome.warnings) == 1
    assert outcome.failed == []


def test_a_catalog_that_cannot_be_written_is_a_warning(
    memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_site.take()

    def refuse(*_: object) -> None:
        raise CatalogError("the disk is full")

    monkeypatch.setattr(memory_site.catalog, "record_check", refuse)
    outcome = verify(memory_site.service)
    assert ([each.id for each in outcome.verified], len(outcome.warnings)) == (["daily/backup-2025-01-15"], 1)


def test_a_backup_verifies_without_the_database(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.server.databases.clear()
    memory_site.now = START
    assert len(verify(memory_site.service).verified) == 1
