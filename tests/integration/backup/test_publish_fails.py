"""A publish that fails takes no proof from an earlier backup; nor does a deletion that a crash cut short."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from app.domain.backup import Backup, BackupState, Origin, Tier
from app.errors import BackupError, BackupPermissionError, BackupStorageError, BackupValidationError, BackupWriteError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find, inventory
from app.operations.backups.keep import keep
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.backups.verify import verify
from app.operations.health.check import repair
from app.operations.service import Service
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, leftovers, make_site
from tests.tiers import thorough_at

DAILY = BackupRequest(tier=Tier.DAILY)
Restore = Callable[[Path], TestDatabase]
# What makes the catalog say what a crash between its row and the removal leaves.
INTERRUPT = "UPDATE backup_files SET state = 'deleting'"


@pytest.fixture
def small(empty_database: TestDatabase, tmp_path: Path) -> Site:
    """A database of one table, and its daily backup of 3 rows; the database has 5."""
    empty_database.execute("CREATE TABLE notes (line text)")
    empty_database.execute("INSERT INTO notes SELECT 'line ' || n FROM generate_series(1, 3) n")
    site = make_site(empty_database, tmp_path / "backups", filled=False)
    assert take_backup(site.service(), DAILY) is not None
    empty_database.execute("INSERT INTO notes VALUES ('more'), ('and more')")
    return site


@contextmanager
def refusing(monkeypatch: pytest.MonkeyPatch, call: str, name: str, number: int, *, times: int = 99) -> Iterator[None]:
    """Within the block, the disk refuses calls that give, or remove, a name of that ending in the folder of a tier."""
    real = getattr(os, call)
    left = [times]

    def refused(*given: object, **more: object) -> object:
        path = str(given[0 if call == "unlink" else 1])
        if "/daily/" in path and path.endswith(name) and left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number), path)
        return real(*given, **more)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refused)
        yield
    assert left[0] < times, "nothing was refused"


def require_proven(site: Site, rows: int) -> Backup:
    """One backup stands, which `list` and `verify` call whole."""
    (backup,) = inventory(site.service())
    assert (backup.is_verified, backup.rows, backup.state) == (True, rows, BackupState.COMPLETE)
    outcome = verify(site.service())
    assert ([each.id for each in outcome.verified], outcome.failed) == ([backup.id], [])
    assert not leftovers(site.backups)
    return backup


@pytest.mark.parametrize(
    ("codec", "number", "error"),
    [
        ("none", errno.EIO, BackupWriteError),
        ("gzip", errno.ENOSPC, BackupStorageError),
        ("none", errno.EACCES, BackupPermissionError),
    ],
)
def test_a_file_that_gets_no_name_leaves_the_earlier_backup_its_proof(
    small: Site, monkeypatch: pytest.MonkeyPatch, restored: Restore, codec: str, number: int, error: type[BackupError]
) -> None:
    before = small.files()
    name = ".sql" if codec == "none" else ".sql.gz"
    with refusing(monkeypatch, "replace", name, number), pytest.raises(error):
        take_backup(small.service(BACKUP_COMPRESSION=codec), DAILY)
    assert small.files() == before
    backup = require_proven(small, 3)
    assert restored(small.backups / backup.file).query("SELECT count(*) FROM notes") == [(3,)]


def test_a_manifest_that_cannot_go_stops_the_publish(small: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = small.files()
    with refusing(monkeypatch, "unlink", ".sql.json", errno.EIO), pytest.raises(BackupWriteError):
        take_backup(small.service(), DAILY)
    assert small.files() == before
    require_proven(small, 3)


def test_a_manifest_that_cannot_be_put_back_waits_for_the_next_look(
    small: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = small.files()
    with (
        refusing(monkeypatch, "replace", ".sql", errno.EIO),
        refusing(monkeypatch, "link", ".sql.json", errno.EIO),
        refusing(monkeypatch, "replace", ".sql.json", errno.EIO),
        pytest.raises(BackupWriteError),
    ):
        take_backup(small.service(), DAILY)
    for path in small.backups.glob("catalog.db*"):  # the waiting manifest is all the proof that there is
        path.unlink()
    assert sync(small.service()).healed == ["daily/" + Path(next(iter(before))).name.partition(".")[0]]
    repair(small.service())
    assert small.files() == before
    require_proven(small, 3)


@pytest.mark.parametrize("way", thorough_at(["repair", "sync", "create"], "repair"))
def test_a_manifest_that_gets_no_name_waits_and_the_warning_says_so(
    small: Site, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    with refusing(monkeypatch, "replace", ".sql.json", errno.EIO, times=1):
        taken = take_backup(small.service(), DAILY)
    assert taken is not None
    (warning,) = taken.warnings
    assert "it waits as .backup-" in warning
    assert "to put it in its place: residency-backup sync" in warning
    for path in small.backups.glob("catalog.db*"):
        path.unlink()
    if way == "create":
        take_backup(small.service(), DAILY)
    else:
        {"repair": repair, "sync": sync}[way](small.service())
    if way == "sync":
        assert find(small.service(), "latest").origin is Origin.DUMP
        repair(small.service())
    require_proven(small, 5)


@pytest.mark.parametrize("suffix", [".sql.gz", ".sql.gz.json"])
def test_a_folder_under_the_new_name_is_refused_before_the_dump(small: Site, suffix: str) -> None:
    (backup,) = inventory(small.service())
    before = small.files()
    (small.backups / f"{backup.id}{suffix}").mkdir()
    with (
        capture_logs() as logs,
        pytest.raises(BackupValidationError, match="is a folder") as refused,
    ):
        take_backup(small.service(BACKUP_COMPRESSION="gzip"), DAILY)
    assert "mv " in refused.value.hint
    assert "backup dumped" not in [each["event"] for each in logs]
    assert small.files() == before
    require_proven(small, 3)


def test_without_room_for_its_manifest_no_backup_takes_the_place_of_a_verified_one(
    small: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = small.files()
    with no_room(monkeypatch):
        with pytest.raises(BackupStorageError, match="no space left"):
            take_backup(small.service(), DAILY)
        assert small.files() == before
        require_proven(small, 3)
        # Where none stands, or no sound one, a backup without a manifest is better than none.
        (backup,) = inventory(small.service())
        (small.backups / backup.file).write_bytes(b"damaged")
        taken = take_backup(small.service(), DAILY)
    assert taken is not None
    assert ["backup manifest not saved" in each for each in taken.warnings] == [True]
    sync(small.service())
    require_proven(small, 5)


@contextmanager
def no_room(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within the block, no manifest can be made: there are no inodes left."""
    real = os.open

    def full(path: str | Path, flags: int, *more: int) -> int:
        if ".sql.json." in str(path) and flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, flags, *more)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        yield


def interrupt(site: Site, where: str = "true") -> None:
    with sqlite3.connect(site.backups / "catalog.db") as catalog:
        catalog.execute(f"{INTERRUPT} WHERE {where}")
    catalog.close()


def finish(service: Service, way: str) -> list[str]:
    """Finish what was cut short; returns the reasons that were logged for what stays."""
    with capture_logs() as logs:
        {"sync": sync, "prune": prune}[way](service)
    return [each["reason"] for each in logs if each["event"].startswith("backup kept: its deletion was cut short")]


@pytest.mark.parametrize("way", ["sync", "prune"])
@pytest.mark.parametrize("manifest", ["there", "gone"])
def test_the_only_verified_backup_stays_although_its_deletion_had_begun(
    small: Site, restored: Restore, way: str, manifest: str
) -> None:
    (backup,) = inventory(small.service())
    if manifest == "gone":
        (small.backups / f"{backup.file}.json").unlink()
    interrupt(small)
    assert finish(small.service(), way) == ["newest verified backup"]
    sync(small.service())
    require_proven(small, 3)
    assert restored(small.backups / backup.file).query("SELECT count(*) FROM notes") == [(3,)]


@pytest.mark.parametrize("way", ["sync", "prune"])
def test_of_two_deletions_that_had_begun_only_what_must_stay_does(small: Site, way: str) -> None:
    """A pinned one stays; one that nothing speaks for goes."""
    service = small.service()
    for day in (10, 11, 12):
        clock = datetime(2025, 1, day, 2, 0, tzinfo=UTC)
        take_backup(replace(service, clock=lambda clock=clock: clock), DAILY)
    keep(service, "daily/backup-2025-01-11", "an audit")
    interrupt(small, "id LIKE '%2025-01-1_'")
    assert finish(service, way) == ["pinned: an audit"]
    ids = [each.id for each in inventory(service)]
    assert ids[1:] == ["daily/backup-2025-01-11"]
    assert {each.state for each in inventory(service)} == {BackupState.COMPLETE}
    assert verify(service, "daily/backup-2025-01-11").failed == []
