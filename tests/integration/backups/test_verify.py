"""Damage is found, named, remembered, and never becomes the reason that a good backup goes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.errors import (
    BackupError,
    BackupNotFoundError,
    BackupReadError,
    BackupValidationError,
    ManifestError,
    NewerManifestError,
)
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find, inventory
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.backups.verify import require_all, verify
from tests.fix_postgres import TestDatabase
from tests.fix_prepared import Kept, kept
from tests.fix_service import Site, require_same_content
from tests.tiers import pairs

Damage = Callable[[Path, Path], None]


CODECS = ["none", "gzip", "zstd"]


def truncate(file: Path, _: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 2 // 3])


def empty(file: Path, _: Path) -> None:
    file.write_bytes(b"")


def flip(file: Path, _: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def swap(file: Path, other: Path) -> None:
    shutil.copy(other, file)


def append(file: Path, _: Path) -> None:
    with file.open("ab") as stream:
        stream.write(b"DROP TABLE people;\n")


@pytest.fixture(scope="module", params=CODECS)
def pair_once(
    postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Kept[tuple[str, str]]]:
    """What `pair` is a copy of, with the names of the two files."""

    def prepare(site: Site) -> tuple[str, str]:
        service = site.service(BACKUP_COMPRESSION=request.param)
        weekly = take_backup(service, BackupRequest(tier=Tier.WEEKLY))
        site.database.execute("UPDATE people SET updated_at = updated_at + interval '1 day'")
        daily = take_backup(service, BackupRequest(tier=Tier.DAILY))
        assert daily is not None
        assert weekly is not None
        return daily.backup.file, weekly.backup.file

    with kept(postgres_server, tmp_path_factory.mktemp("pair"), prepare) as made:
        yield made


@pytest.fixture
def pair(pair_once: Kept[tuple[str, str]], tmp_path: Path) -> Iterator[tuple[Site, Path, Path]]:
    """A site with a daily and a weekly backup of different content; their files."""
    daily, weekly = pair_once.prepared
    with pair_once.copy(tmp_path / "backups") as site:
        yield site, site.backups / daily, site.backups / weekly


@pytest.mark.parametrize(
    ("pair_once", "damage"),
    pairs(CODECS, [truncate, empty, flip, swap, append]),
    indirect=["pair_once"],
    scope="module",
)
def test_a_damaged_file_is_found_and_remembered_and_the_others_are_not_blamed(
    pair: tuple[Site, Path, Path], damage: Damage
) -> None:
    site, daily, weekly = pair
    damage(daily, weekly)
    service = site.service()
    outcome = verify(service)
    assert [each.tier for each in outcome.verified] == [Tier.WEEKLY]
    ((damaged, error),) = outcome.failed
    assert damaged.tier is Tier.DAILY
    assert isinstance(error, BackupReadError | BackupValidationError)
    with pytest.raises(type(error)):
        require_all(outcome)
    assert find(service, "latest-daily").problem == error.message
    assert not find(service, "latest-daily").is_verified
    done = site.cli("verify", "latest-daily", "--json")
    assert done.code in {13, 16}
    assert json.loads(done.stdout)["failed"][0]["error"] == type(error).__name__


def test_a_damaged_file_names_its_segment_and_table(pair: tuple[Site, Path, Path]) -> None:
    site, daily, weekly = pair
    flip(daily, weekly)
    ((_, error),) = verify(site.service(), "latest-daily").failed
    assert "segment" in error.message
    assert "table data of public." in error.message


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda path: path.unlink(), ManifestError),
        (lambda path: path.write_text("{"), ManifestError),
        (lambda path: path.write_text(path.read_text().replace('"rows": ', '"rows": 1')), ManifestError),
        (lambda path: path.write_text(path.read_text().replace('"format": 2', '"format": 3')), NewerManifestError),
    ],
    ids=["missing", "not JSON", "changed", "newer"],
)
def test_a_manifest_that_proves_nothing_is_an_error_and_the_file_still_restores(
    site: Site, restored: Callable[[Path], TestDatabase], spoil: Callable[[Path], None], expected: type[BackupError]
) -> None:
    taken = take_backup(site.service(), BackupRequest(tier=Tier.DAILY))
    assert taken is not None
    file = site.backups / taken.backup.file
    manifest = file.with_name(f"{file.name}.json")
    spoil(manifest)
    spoilt = manifest.read_bytes() if manifest.exists() else None
    ((_, error),) = verify(site.service(), "latest").failed
    assert type(error) is expected
    assert error.hint
    require_same_content(site.database, restored(file))
    outcome = sync(site.service())
    if expected is NewerManifestError:
        assert outcome.problems
        assert manifest.read_bytes() == spoilt, "what a newer version wrote is not ours to overwrite"
    else:
        assert outcome.healed == [taken.backup.id]
        assert verify(site.service(), "latest").failed == []
        assert find(site.service(), "latest").origin == "dump", "the catalog knew its SHA-256"


def test_damage_done_while_the_manifest_was_lost_is_not_sealed_by_sync(site: Site) -> None:
    taken = take_backup(site.service(), BackupRequest(tier=Tier.DAILY))
    assert taken is not None
    file = site.backups / taken.backup.file
    file.with_name(f"{file.name}.json").unlink()
    flip(file, file)
    sync(site.service())
    assert find(site.service(), "latest").origin == "scan"


def test_a_file_that_was_cut_off_is_not_taken_in(site: Site) -> None:
    taken = take_backup(site.service(), BackupRequest(tier=Tier.DAILY))
    assert taken is not None
    file = site.backups / taken.backup.file
    file.with_name(f"{file.name}.json").unlink()
    truncate(file, file)
    outcome = sync(site.service())
    assert outcome.healed == []
    assert len(outcome.problems) == 1
    assert not file.with_name(f"{file.name}.json").exists()


def test_damaged_newer_backups_do_not_push_out_the_last_good_one(site: Site) -> None:
    service = site.service(BACKUP_KEEP_DAYS="1")
    start = datetime(2025, 1, 10, 2, tzinfo=UTC)
    take_backup(replace(service, clock=lambda: start), BackupRequest(tier=Tier.DAILY))
    generous = site.service(BACKUP_KEEP_DAYS="9")
    for day in (1, 2):
        now = start + timedelta(days=day)
        take_backup(replace(generous, clock=lambda now=now: now), BackupRequest(tier=Tier.DAILY))
        file = site.backups / f"daily/backup-2025-01-1{day}.sql"
        flip(file, file)
    assert len(verify(service).failed) == 2
    outcome = prune(service)
    assert outcome.removed == []
    assert outcome.plan.reasons["daily/backup-2025-01-10"] == ("daily 1 of 1", "newest verified backup")
    assert (site.backups / "daily/backup-2025-01-10.sql").exists()


def test_a_row_without_its_file_is_no_backup(site: Site) -> None:
    service = site.service()
    taken = take_backup(service, BackupRequest(tier=Tier.DAILY))
    assert taken is not None
    (site.backups / taken.backup.file).unlink()
    ((_, error),) = verify(service).failed
    assert isinstance(error, BackupNotFoundError)
    with pytest.raises(BackupNotFoundError):
        find(service, "latest")
    assert [each.problem for each in inventory(service)] == ["the file is missing"]


def test_an_unknown_backup_is_not_found(site: Site) -> None:
    done = site.cli("verify", "daily/backup-1999-01-01")
    assert done.code == 10
    assert "BackupNotFoundError" in done.stderr


def test_a_newer_file_of_the_wrong_size_does_not_cost_the_last_good_one(site: Site) -> None:
    service = site.service(BACKUP_KEEP_DAYS="1")
    start = datetime(2025, 1, 10, 2, tzinfo=UTC)
    take_backup(replace(service, clock=lambda: start), BackupRequest(tier=Tier.DAILY))
    generous = site.service(BACKUP_KEEP_DAYS="9")
    take_backup(replace(generous, clock=lambda: start + timedelta(days=1)), BackupRequest(tier=Tier.DAILY))
    (site.backups / "daily/backup-2025-01-11.sql").write_bytes(b"")
    assert not find(service, "latest").is_verified
    assert prune(service).removed == []
