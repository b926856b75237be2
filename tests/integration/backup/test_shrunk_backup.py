"""A run whose backup holds a fraction of the one before keeps that beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.archive.manifest import parse_manifest
from app.domain.backup import Codec, Tier
from app.errors import BackupStorageError
from app.operations.backup.publish import BackupResult
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find, inventory
from app.operations.backups.keep import keep
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.backups.verify import verify
from tests.fix_fork import TEXT, run_forked
from tests.fix_postgres import TestDatabase, copy_of_all_tables
from tests.fix_service import Site, leftovers, make_site

DAILY = BackupRequest(tier=Tier.DAILY)


@pytest.fixture
def small(empty_database: TestDatabase, tmp_path: Path) -> Site:
    """Three tables of some rows."""
    for table in ("a", "b", "c"):
        empty_database.execute(f"CREATE TABLE {table} AS SELECT g AS id FROM generate_series(1, 100) g")
    return make_site(empty_database, tmp_path / "backups", filled=False)


def taken(site: Site, tier: Tier = Tier.DAILY, **settings: str) -> BackupResult:
    made = take_backup(site.service(**settings), BackupRequest(tier=tier))
    assert made is not None
    return made


@pytest.mark.parametrize(("tier", "codec"), [(Tier.DAILY, Codec.NONE), (Tier.WEEKLY, Codec.ZSTD)])
def test_fewer_than_half_of_the_rows_keep_the_backup_before(
    small: Site, tier: Tier, codec: Codec, restored: Callable[[Path], TestDatabase]
) -> None:
    before = copy_of_all_tables(small.database.url)
    old = taken(small, tier, BACKUP_COMPRESSION=codec).backup
    small.database.execute("DELETE FROM a; DELETE FROM b")

    made = taken(small, tier)

    service = small.service()
    assert made.backup.id == old.id
    [warning] = made.warnings
    kept = next(each for each in inventory(service) if each.tier is Tier.MANUAL)
    assert f"keep --release {kept.id}" in warning
    assert "300 rows before, 100 now" in warning
    assert (kept.sha256, kept.rows, kept.is_verified, kept.created_at) == (old.sha256, 300, True, old.created_at)
    assert kept.pinned_reason is not None
    assert old.id in kept.pinned_reason
    assert copy_of_all_tables(restored(small.backups / kept.file).url) == before
    manifest = parse_manifest((small.backups / f"{kept.file}.json").read_bytes(), kept.file)
    assert (manifest.tier, manifest.period, manifest.pinned_reason) == (Tier.MANUAL, kept.period, kept.pinned_reason)
    assert not verify(service).failed
    assert {each.id for each in service.catalog.backups(small.database.name)} == {old.id, kept.id}
    assert not sync(service).problems
    assert prune(small.service(BACKUP_KEEP_MANUAL="0")).plan.pruned == ()
    assert find(service, "latest").id == made.backup.id
    keep(service, kept.id, None)
    assert [each.id for each in prune(small.service(BACKUP_KEEP_MANUAL="0")).removed] == [kept.id]


def test_the_command_says_so(small: Site) -> None:
    taken(small)
    small.database.execute("DROP TABLE a, b")
    done = small.cli("create", "daily", "--json")
    assert done.code == 3, done.stderr
    assert "3 tables before, 1 now" in json.loads(done.stdout)["warnings"][0]
    assert "backup kept beside the one that replaces it" in done.stderr


def test_what_is_an_ordinary_days_work_replaces_the_backup_before(small: Site) -> None:
    taken(small)
    small.database.execute(
        "DELETE FROM a WHERE id > 50; DELETE FROM b WHERE id > 50; DROP TABLE c; CREATE TABLE c(id int)"
    )
    small.database.execute("INSERT INTO c SELECT generate_series(1, 50)")
    assert taken(small).warnings == []
    assert [each.tier for each in inventory(small.service())] == [Tier.DAILY]


def test_two_that_are_kept_do_not_take_one_anothers_name(small: Site) -> None:
    old = taken(small).backup
    files = [small.backups / old.file, small.backups / f"{old.file}.json"]
    contents = [file.read_bytes() for file in files]
    small.database.execute("DELETE FROM a; DELETE FROM b")
    taken(small)
    # The same instant once more: somebody put the backup back.
    service = small.service()
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    sync(service)
    taken(small)
    assert len([each for each in inventory(service) if each.tier is Tier.MANUAL]) == 2


def test_a_run_that_fails_before_its_name_moves_nothing(small: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    taken(small)
    before = small.files()
    small.database.execute("DELETE FROM a; DELETE FROM b")
    service = small.service()
    (small.backups / "manual").write_text("in the way")
    with pytest.raises(BackupStorageError, match="manual"):
        take_backup(service, DAILY)
    (small.backups / "manual").unlink()
    assert small.files() == before
    assert leftovers(small.backups) == []
    assert taken(small).warnings


def test_a_crash_between_the_two_names_loses_neither(small: Site) -> None:
    """The older one has moved, the new one has no name yet: then the process is gone."""
    old = taken(small).backup
    small.database.execute("DELETE FROM a; DELETE FROM b")
    program = (
        "import os\nfrom app.storage.draft import LocalDraft\n"
        "LocalDraft.publish = lambda *_, **__: os._exit(9)\nfrom app.cli import main\nmain()"
    )
    assert run_forked(TEXT, [program, "create", "daily"], small.process_env(), timeout=60).code == 9
    service = small.service()
    [kept] = [each for each in inventory(service) if each.problem is None]
    assert (kept.sha256, kept.pinned_reason is not None, kept.tier) == (old.sha256, True, Tier.MANUAL)
    assert taken(small).backup.id == old.id
    assert {each.id for each in inventory(small.service())} == {old.id, kept.id}
    assert leftovers(small.backups) == []


def test_a_clock_is_no_part_of_it(small: Site) -> None:
    """Another period has a name of its own: nothing is replaced, and nothing kept beside."""
    service = small.service()
    take_backup(replace(service, clock=lambda: datetime(2025, 1, 15, tzinfo=UTC)), DAILY)
    small.database.execute("DELETE FROM a; DELETE FROM b")
    made = take_backup(replace(service, clock=lambda: datetime(2025, 1, 16, tzinfo=UTC)), DAILY)
    assert made is not None
    assert made.warnings == []
