"""Wherever a publish is killed, no backup loses its proof, and no list tells old facts of new bytes."""

from __future__ import annotations

import gzip
import itertools
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from app.archive.manifest import parse_manifest
from app.domain.backup import Origin, Tier
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find, inventory
from app.operations.backups.sync import sync
from app.operations.backups.verify import verify
from app.operations.health.check import check, repair
from app.storage.draft import LocalDraft
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, leftovers, make_site
from tests.tiers import sample_of

DAILY = BackupRequest(tier=Tier.DAILY)
STEPS = ("replace", "rename", "link", "unlink", "fsync")
OLD, NEW = 3, 5
Restore = Callable[[Path], TestDatabase]


@pytest.fixture
def small(empty_database: TestDatabase, tmp_path: Path) -> Site:
    """A database of one table, and its daily backup of OLD rows; the database has NEW ones."""
    empty_database.execute("CREATE TABLE notes (line text)")
    site = make_site(empty_database, tmp_path / "backups", filled=False)
    add_rows(site, OLD)
    assert take_backup(site.service(), DAILY) is not None
    add_rows(site, NEW - OLD)
    return site


def add_rows(site: Site, count: int) -> None:
    site.database.execute(f"INSERT INTO notes SELECT 'line ' || n FROM generate_series(1, {count}) n")


@dataclass(frozen=True)
class Wreck:
    """What a process leaves that is killed at one step of a publish."""

    site: Site

    def copy(self, name: str) -> Site:
        """Another, for each way out of it."""
        return moved(self.site, self.site.backups.with_name(f"{self.site.backups.name}-{name}"))


def moved(site: Site, folder: Path, **settings: str) -> Site:
    """The site with a copy of its backups."""
    shutil.copytree(site.backups, folder)
    return replace(site, backups=folder, env={**site.env, **settings, "BACKUP_DIR": str(folder)})


def wrecks(site: Site, **settings: str) -> list[Wreck]:
    """What a `create` leaves that is killed before its first step of publishing, before its second, ...; each once.

    One process does: it puts a copy of everything aside at each step, and is killed before the last one.
    """
    other = moved(site, site.backups.with_name("killed"), **settings)
    child = os.fork()
    if child == 0:
        try:
            _copy_at_each_step(other.backups)
            take_backup(other.service(), DAILY)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    copies = sorted(other.backups.parent.glob("killed-*"))
    assert len(copies) > 3, "the steps were not counted"
    return [Wreck(replace(other, backups=copy, env={**other.env, "BACKUP_DIR": str(copy)})) for copy in copies]


def _copy_at_each_step(folder: Path) -> None:
    """Copy a folder before each call within `publish` that changes names on the disk; die when it has ended."""
    steps = itertools.count(1)
    publish = LocalDraft.publish
    seen = set()

    def copied() -> None:
        state = tuple(sorted((path.name, path.stat().st_size) for path in folder.rglob("backup-*")))
        state += tuple(sorted((path.name, path.stat().st_size) for path in folder.rglob(".backup-*")))
        if state not in seen:
            seen.add(state)
            shutil.copytree(folder, folder.with_name(f"killed-{next(steps):02}"))

    def stepping(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            copied()
            return real(*args, **kwargs)

        return call

    def publishing(*args: object, **kwargs: object) -> object:
        for step in STEPS:
            setattr(os, step, stepping(getattr(os, step)))
        publish(*args, **kwargs)  # type: ignore[arg-type]
        copied()
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    LocalDraft.publish = publishing  # type: ignore[method-assign,assignment]


def rows_in(file: Path) -> int:
    text = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    return text.count(b"\nline ")


def require_true_facts(site: Site) -> int:
    """The list has one backup, and says of it what its file holds, or that it does not know; returns its rows."""
    (backup,) = inventory(site.service())
    rows = rows_in(site.backups / backup.file)
    assert backup.rows in {rows, None}
    assert backup.rows == rows or not backup.is_verified
    assert backup.problem is None
    return rows


def require_whole(site: Site, restored: Restore, seen: dict[str, int]) -> int:
    """One backup stands, proven to be what was dumped, and stock psql restores it; returns its rows."""
    service = site.service()
    rows = require_true_facts(site)
    (backup,) = inventory(service)
    assert (backup.origin, backup.is_verified, backup.rows) == (Origin.DUMP, True, rows)
    assert not leftovers(site.backups)
    assert verify(service).failed == []
    assert [each.message for each in check(service) if each.severity == "warning"] == []
    files = sorted(each.name for each in (site.backups / "daily").iterdir())
    assert files == [Path(backup.file).name, f"{Path(backup.file).name}.json"]
    if backup.sha256 not in seen:
        plain = site.backups / "plain.sql"
        content = (site.backups / backup.file).read_bytes()
        plain.write_bytes(gzip.decompress(content) if backup.file.endswith(".gz") else content)
        seen[backup.sha256] = restored(plain).query("SELECT count(*) FROM notes")[0][0]
        plain.unlink()
    assert seen[backup.sha256] == rows
    return rows


@pytest.mark.parametrize("codec", sample_of(["none", "gzip"], [1]))
def test_wherever_a_publish_is_killed_the_backup_keeps_its_proof(small: Site, restored: Restore, codec: str) -> None:
    seen: dict[str, int] = {}
    outcomes = set()
    for wreck in wrecks(small, BACKUP_COMPRESSION=codec):
        told = require_true_facts(wreck.site)
        repaired = wreck.copy("repaired")
        repair(repaired.service())
        outcomes.add(require_whole(repaired, restored, seen))
        synced = wreck.copy("synced")
        sync(synced.service())
        (backup,) = inventory(synced.service())
        assert (backup.origin, backup.rows) == (Origin.DUMP, told)
        again = wreck.copy("again")
        assert take_backup(again.service(), DAILY) is not None
        assert require_whole(again, restored, seen) == NEW
    assert outcomes == {OLD, NEW}


def test_a_manifest_that_waits_is_recognised_by_its_length_and_believed_by_its_digest(small: Site) -> None:
    wreck = next(each for each in wrecks(small) if rows_in(each.site.backups / daily(each.site)) == NEW)
    (backup,) = inventory(wreck.site.service())
    assert (backup.rows, backup.origin, backup.is_verified) == (NEW, Origin.SCAN, False)
    other = wreck.copy("other")
    file = other.backups / daily(other)
    content = bytearray(file.read_bytes())
    content[content.index(b"line 1") + 5] ^= 1
    file.write_bytes(content)
    repair(other.service())
    assert find(other.service(), "latest").origin is Origin.SCAN


def daily(site: Site) -> str:
    return inventory(site.service())[0].file


def test_the_first_backup_of_a_name_keeps_its_proof_too(small: Site) -> None:
    shutil.rmtree(small.backups)
    small.backups.mkdir()
    for wreck in wrecks(small):
        found = inventory(wreck.site.service())
        assert all(each.rows == NEW and not each.is_verified for each in found if not each.verified_at)
        repair(wreck.site.service())
        assert [(each.rows, each.origin, each.is_verified) for each in inventory(wreck.site.service())] in (
            [],
            [(NEW, Origin.DUMP, True)],
        )
        assert not leftovers(wreck.site.backups)


def test_a_manifest_left_under_the_earlier_kind_of_name_is_found(small: Site) -> None:
    service = small.service()
    (backup,) = inventory(service)
    manifest = small.backups / f"{backup.file}.json"
    stem = Path(backup.id).name
    manifest.rename(manifest.with_name(f".{stem}.json.abcdefabcdef.partial"))
    for path in small.backups.glob("catalog.db*"):
        path.unlink()
    assert sync(small.service()).healed == [backup.id]
    assert parse_manifest(manifest.read_bytes(), "it").sha256 == backup.sha256
