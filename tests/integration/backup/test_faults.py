"""Faults: each has its own error, leaves no partial file and no wrong row, and touches no older backup."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from app.embedded.postgres import EmbeddedPostgres
from app.errors import (
    BackupError,
    BackupStorageError,
    BackupValidationError,
)
from app.operations.backup.take import take_backup
from app.operations.backups.inventory import inventory
from app.operations.backups.sync import sync
from app.operations.health.check import check
from app.postgres.dump import source as dump
from app.storage.local import LocalTree
from tests.fix_fork import COMMAND_LINE, TEXT, Forked, run_forked, start_forked
from tests.fix_guarded import DAILY, Restore, fails
from tests.fix_postgres import scratch_database
from tests.fix_service import At, Site, fill_wide, gone_soon, leftovers, require_same_content
from tests.tiers import sample_of


def test_an_unknown_type_is_refused_by_name(guarded: Site) -> None:
    before = guarded.files()
    done = guarded.cli("create", "yearly")
    assert done.code == 13
    assert "yearly" in done.stderr
    assert "daily, weekly, monthly, manual" in done.stderr
    assert guarded.files() == before


def test_a_backup_folder_that_is_a_file(site: Site) -> None:
    site.backups.write_text("not a folder")
    done = site.cli("create", "daily", BACKUP_CATALOG_URL=f"sqlite:///{site.backups.parent}/c.db")
    assert done.code == 14
    assert "not a directory" in done.stderr.lower()
    assert site.backups.read_text() == "not a folder"


@pytest.mark.parametrize("place", sample_of(["tree", "tree/daily"], [1]))
def test_a_read_only_folder_names_who_lacks_the_right(site: Site, ordinary: tuple[str, ...], place: str) -> None:
    folder = site.backups.parent / place
    (site.backups.parent / "tree/daily").mkdir(parents=True)
    if place == "tree":
        folder = site.backups.parent / "closed/tree"
        folder.parent.mkdir()
        closed = folder.parent
    else:
        closed = folder
    closed.chmod(0o500)
    root = folder if place == "tree" else folder.parent
    try:
        catalog = f"sqlite:///{site.backups.parent}/c.db"
        done = site.cli("create", "daily", prefix=ordinary, BACKUP_DIR=str(root), BACKUP_CATALOG_URL=catalog)
    finally:
        closed.chmod(0o700)
    assert done.code == 12, done.stderr
    assert "BackupPermissionError" in done.stderr
    assert not leftovers(root)


def test_a_disk_that_fills_up_during_the_dump(guarded: Site) -> None:
    fill_wide(guarded.database)
    before = guarded.files()
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, 4 << 20)); from app.cli import main; main()"
    )
    done = run_forked(TEXT, [limited, "create", "daily"], guarded.process_env(), timeout=60)
    assert done.code == 14, done.stderr
    assert "no space left" in done.stderr
    assert guarded.files() == before
    assert not guarded.service().catalog.running(guarded.database.name)


def test_a_catalog_lost_after_the_dump_costs_a_warning_and_sync_heals_it(
    site: Site, own_postgres_server: EmbeddedPostgres, restored: Restore
) -> None:
    with scratch_database(own_postgres_server) as elsewhere:
        url = elsewhere.url
        service = site.service(BACKUP_CATALOG_URL=url)
        fault = At(own_postgres_server.kill, phase="read back")
        taken = take_backup(service, DAILY, fault)
        assert fault.done
        assert taken is not None
        assert any("catalog" in warning for warning in taken.warnings)
        require_same_content(site.database, restored(site.backups / taken.backup.file))
        own_postgres_server.restart()
        healed = site.service(BACKUP_CATALOG_URL=url)
        assert healed.catalog.backups(site.database.name) == []
        assert sync(healed).added == [taken.backup.id]
        assert [each.id for each in healed.catalog.backups(site.database.name)] == [taken.backup.id]


def test_an_unreachable_catalog_is_an_error_before_anything_is_done(site: Site) -> None:
    done = site.cli("create", "daily", BACKUP_CATALOG_URL="postgresql://nobody:canary-4711@127.0.0.1:1/none")
    assert done.code == 1
    assert "CatalogError" in done.stderr
    assert "canary-4711" not in done.stderr
    assert site.files() == {}


def start_and_wait_for_partial(site: Site) -> Forked:
    """A `create` process in the middle of its dump."""
    env = site.process_env(BACKUP_COMPRESSION="gzip", BACKUP_COMPRESSION_LEVEL="9")
    with Path(os.devnull).open("wb") as nowhere:
        process = start_forked(COMMAND_LINE, ["create", "daily"], env, nowhere, nowhere, session=True)
    end = time.monotonic() + 30
    while not any(Path(each).stat().st_size > 100_000 for each in leftovers(site.backups)):
        assert process.poll() is None, "it ended before the fault"
        assert time.monotonic() < end
        time.sleep(0.01)
    return process


def test_a_process_killed_in_the_middle_frees_its_place_and_its_leftover_is_removed(
    guarded: Site, restored: Restore
) -> None:
    fill_wide(guarded.database)
    before = guarded.files()
    process = start_and_wait_for_partial(guarded)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    left = leftovers(guarded.backups)
    assert len(left) == 1
    assert gone_soon(guarded.database), "its pg_dump goes on"
    assert any(each.check == "leftovers" and each.severity == "warning" for each in check(guarded.service()))
    assert {name: digest for name, digest in guarded.files().items() if "partial" not in name} == before
    taken = take_backup(guarded.service(), DAILY)
    assert taken is not None
    assert not leftovers(guarded.backups)
    require_same_content(guarded.database, restored(guarded.backups / taken.backup.file))


@pytest.mark.parametrize(("number", "code"), sample_of([(signal.SIGTERM, 130), (signal.SIGINT, 130)], [1]))
def test_a_cancelled_process_kills_its_dump_and_leaves_nothing(guarded: Site, number: int, code: int) -> None:
    fill_wide(guarded.database)
    before = guarded.files()
    process = start_and_wait_for_partial(guarded)
    os.kill(process.pid, number)
    assert process.wait(20) == code
    assert guarded.files() == before
    assert not leftovers(guarded.backups)
    assert gone_soon(guarded.database)
    assert not guarded.service().catalog.running(guarded.database.name)


def test_a_dump_that_lacks_a_table_is_no_backup(guarded: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        dump, "pg_dump_arguments", lambda *each: [*ARGUMENTS(*each), "--exclude-table-data=public.people"]
    )
    before = guarded.files()
    with pytest.raises(BackupError, match=r"public\.people"):
        take_backup(guarded.service(), DAILY)
    assert guarded.files() == before


ARGUMENTS = dump.pg_dump_arguments


def test_a_disk_that_does_not_keep_what_is_written_is_found_by_reading_back(
    guarded: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = guarded.files()
    real = os.fsync

    def flip(descriptor: int) -> None:
        real(descriptor)
        size = os.fstat(descriptor).st_size
        if size > 100_000:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            with path.open("r+b") as file:
                file.seek(size // 2)
                byte = file.read(1)
                file.seek(size // 2)
                file.write(bytes([byte[0] ^ 1]))

    monkeypatch.setattr(os, "fsync", flip)
    with pytest.raises(BackupError, match="does not give back what was written") as caught:
        take_backup(guarded.service(), DAILY)
    assert caught.value.exit_code == 17
    monkeypatch.undo()
    assert guarded.files() == before
    assert all(each.is_verified for each in inventory(guarded.service()))


def test_five_mistakes_in_a_settings_file_are_all_named(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    mistakes = {
        "BACKUP_TIMEZONE": "Mars/Olympus",
        "BACKUP_DAILY_CRON": "every day",
        "BACKUP_KEEP_DAYS": "-1",
        "BACKUP_COMPRESSION": "rar",
        "LOG_LEVEL": "LOUD",
    }
    file.write_text("".join(f"{name}={value}\n" for name, value in mistakes.items()))
    env = {name: value for name, value in site.process_env().items() if name not in mistakes}
    done = run_forked(COMMAND_LINE, ["--env-file", str(file), "list"], env, timeout=60)
    assert done.code == 2
    for name in mistakes:
        assert name in done.stderr
    assert "5 settings" in done.stderr


def test_two_databases_in_one_tree_do_not_replace_each_others_backups(
    guarded: Site, postgres_server: EmbeddedPostgres
) -> None:
    with scratch_database(postgres_server) as other:
        error = fails(guarded, BackupValidationError, DATABASE_URL=other.url)
    assert guarded.database.name in error.message
    assert "BACKUP_DIR" in error.hint


def test_a_dump_that_outgrows_its_forecast_stops_before_the_reserve_is_gone(
    guarded: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_wide(guarded.database, rows=30_000)  # the free space is looked at now and then
    service = guarded.service()
    before, free = guarded.files(), service.tree.free_bytes()

    def lose_space() -> None:
        monkeypatch.setattr(LocalTree, "free_bytes", lambda _: 0)

    fault = At(lose_space)
    with pytest.raises(BackupStorageError, match="filling up"):
        take_backup(service, DAILY, fault)
    assert fault.done
    assert free > 0
    assert guarded.files() == before


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 10_000])
def test_a_catalog_that_is_no_database_says_how_to_go_on_and_hides_no_backup(guarded: Site, content: bytes) -> None:
    for path in guarded.backups.glob("catalog.db-*"):
        path.unlink()
    (guarded.backups / "catalog.db").write_bytes(content)
    listed = guarded.cli("list")
    assert listed.code == 0
    assert "daily/backup-" in listed.stdout
    done = guarded.cli("create", "daily")
    if not content:
        assert done.code == 0, "an empty file is a new catalog"
        return
    assert done.code == 1
    assert "CorruptCatalogError" in done.stderr
    assert "residency-backup sync" in done.stderr
    (guarded.backups / "catalog.db").unlink()
    assert guarded.cli("sync").code == 0
    assert guarded.cli("create", "daily").code == 0


def test_a_folder_with_odd_characters_holds_its_catalog_too(site: Site) -> None:
    odd = site.backups.parent / "odd ?x=1 %41 # folder"
    done = site.cli("create", "daily", BACKUP_DIR=str(odd))
    assert done.code == 0, done.stderr
    assert (odd / "catalog.db").exists()
    assert [path.name for path in site.backups.parent.iterdir() if path != odd] == []
