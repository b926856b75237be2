"""The folder of backups is empty of a sudden: its mount is gone. No backup goes to what is below it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery

from app.domain.backup import Tier
from app.errors import BackupFolderLostError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import inventory
from app.postgres.programs import ProgramResult, run
from app.storage.folder import MARKER
from tests.fix_celery import NOTHING_DUE, NodeFactory
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, make_site, require_same_content
from tests.tiers import sample_of

MANUAL = BackupRequest(tier=Tier.MANUAL)
PATIENCE = 40.0
CREATE = shlex.join([sys.executable, "-c", "from app.cli import main; main()", "create", "daily"])


@pytest.fixture
def small(empty_database: TestDatabase, tmp_path: Path) -> Site:
    """A database of one table; what programs remember is the test's own."""
    empty_database.execute("CREATE TABLE people AS SELECT g AS id FROM generate_series(1, 100) g")
    site = make_site(empty_database, tmp_path / "backups", filled=False)
    return Site(site.database, site.backups, {**site.env, "BACKUP_STATE_DIR": str(tmp_path / "state")})


def unmount(site: Site) -> Path:
    """Take the folder away, as an unmount does: below it stands an empty one."""
    away = site.backups.with_name("away")
    site.backups.rename(away)
    site.backups.mkdir()
    return away


def in_namespace(env: dict[str, str], script: str) -> ProgramResult:
    """Run a script that may mount and unmount; 99 is what it exits with where it may not all the same."""
    argv = ["unshare", "--user", "--map-root-user", "--mount"]
    if run([*argv, "true"]).code:
        pytest.skip("no right to mount anything here")
    done = run([*argv, "sh", "-c", script], env, timeout=100)
    if done.code == 99:
        pytest.skip("no right to mount anything here")
    return done


def mount(site: Site, away: Path) -> None:
    site.backups.rmdir()  # it must be empty still
    away.rename(site.backups)


def test_an_empty_folder_that_held_backups_is_refused_and_stays_empty(small: Site) -> None:
    assert small.cli("create", "daily").code == 0
    away = unmount(small)

    for words in (("create", "daily"), ("list",), ("prune",), ("sync",), ("check", "--repair"), ("restores",)):
        done = small.cli(*words)
        assert done.code == BackupFolderLostError.exit_code, (words, done.stdout, done.stderr)
        assert "mount it again" in done.stderr
        assert f"residency-backup adopt --new-folder --confirm {small.database.name}" in done.stderr
    checked = small.cli("check", "--json")
    assert checked.code == BackupFolderLostError.exit_code
    assert [each["check"] for each in json.loads(checked.stdout)["findings"]] == ["folder", "broker"]
    assert list(small.backups.iterdir()) == []

    mount(small, away)
    assert small.cli("create", "daily").code == 0
    assert small.cli("check").code != BackupFolderLostError.exit_code


def test_a_folder_that_is_missing_is_not_made_anew(small: Site) -> None:
    assert small.cli("create", "daily").code == 0
    small.backups.rename(small.backups.with_name("away"))
    assert small.cli("create", "daily").code == BackupFolderLostError.exit_code
    assert not small.backups.exists()


def test_a_real_mount_that_is_gone(small: Site) -> None:
    mounted = small.backups.with_name("disk")
    backups = mounted / "backups"
    script = f"""
        set -u; mkdir {mounted}; mount -t tmpfs none {mounted} || exit 99
        {CREATE} || exit 98
        find {backups} -name '*.sql' | grep -q daily || exit 97
        umount {mounted} || exit 96
        {CREATE}; echo "code $?"
        find {mounted}
    """
    done = in_namespace(small.process_env(BACKUP_DIR=str(backups)), script)
    assert done.code == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == [f"code {BackupFolderLostError.exit_code}", str(mounted)]
    assert f"it was on the mount {mounted}, which is not mounted now" in done.stderr


@pytest.mark.parametrize("linked", sample_of([True, False], [0]))
def test_an_old_tree_below_a_mount_does_not_hide_that_it_is_gone(small: Site, tmp_path: Path, *, linked: bool) -> None:
    """As seen elsewhere: BACKUP_DIR is a link into a disk's folder, and the folder below the mount has an old tree."""
    disk = tmp_path / "the disk" if linked else small.backups
    folder = disk / "dir" if linked else disk
    if linked:
        folder.mkdir(parents=True)
        small.backups.symlink_to(folder)
    # A version before this one has written to the bare mount point, long ago; or a stranger to it has.
    assert small.cli("create", "manual", BACKUP_STATE_DIR=str(tmp_path / "elsewhere")).code == 0
    before = small.files()
    script = (
        f"mount -t tmpfs none '{disk}' || exit 99; mkdir -p '{folder}'; {CREATE} || exit 98; umount '{disk}'; {CREATE}"
    )
    done = in_namespace(small.process_env(), script)
    assert done.code == BackupFolderLostError.exit_code, done.stderr
    assert not linked or f"it was on the mount {disk}" in done.stderr
    assert small.files() == before


def test_a_new_folder_is_taken_when_somebody_says_so(small: Site, restored: Callable[[Path], TestDatabase]) -> None:
    assert small.cli("create", "daily").code == 0
    old = json.loads((small.backups / MARKER).read_text())
    unmount(small)

    assert small.cli("adopt", "--new-folder").code == 13
    assert list(small.backups.iterdir()) == []
    done = small.cli("adopt", "--new-folder", "--confirm", small.database.name)
    assert done.code == 0, done.stderr

    assert json.loads((small.backups / MARKER).read_text())["id"] != old["id"]
    made = small.cli("create", "daily", "--json")
    assert made.code == 0, made.stderr
    require_same_content(restored(Path(json.loads(made.stdout)["path"])), small.database)


def test_who_remembers_nothing_takes_an_empty_folder_for_a_new_one(small: Site, tmp_path: Path) -> None:
    assert small.cli("create", "daily").code == 0
    unmount(small)
    assert small.cli("create", "daily", BACKUP_STATE_DIR=str(tmp_path / "another")).code == 0


def test_a_catalog_that_stands_elsewhere_remembers(small: Site, tmp_path: Path) -> None:
    apart = {"BACKUP_CATALOG_URL": f"sqlite:///{tmp_path}/catalog.db"}
    service = small.service(**apart, BACKUP_STATE_DIR=str(tmp_path / "one"))
    assert take_backup(service, MANUAL) is not None
    away = unmount(small)
    later = small.service(**apart, BACKUP_STATE_DIR=str(tmp_path / "two"))
    with pytest.raises(BackupFolderLostError, match="the catalog knows 1 backup"):
        take_backup(later, MANUAL)
    assert list(small.backups.iterdir()) == []
    mount(small, away)
    assert take_backup(later, MANUAL) is not None


def test_a_copy_without_its_hidden_files_and_another_disk_are_taken(small: Site, tmp_path: Path) -> None:
    service = small.service()
    assert take_backup(service, MANUAL) is not None
    (small.backups / MARKER).unlink()
    assert take_backup(service, MANUAL) is not None
    first = unmount(small)
    # Disks that take turns: this one has a marker of its own.
    assert take_backup(small.service(BACKUP_STATE_DIR=str(tmp_path / "other")), MANUAL) is not None
    assert take_backup(small.service(), MANUAL) is not None
    second = small.backups.rename(small.backups.with_name("second"))
    first.rename(small.backups)
    assert take_backup(small.service(), MANUAL) is not None
    assert len([each for each in inventory(small.service()) if each.is_verified]) == 3
    assert second.exists()


@pytest.mark.e2e
def test_a_running_worker_remembers_by_itself(
    small: Site, celery_node: NodeFactory, broker_url: str, sender: Celery
) -> None:
    nowhere = "/proc/nowhere"
    assert small.cli("create", "daily", BACKUP_STATE_DIR=nowhere).code == 0
    env = {**small.env, **NOTHING_DUE, "CELERY_BROKER_URL": broker_url, "BACKUP_STATE_DIR": nowhere}
    worker = celery_node("worker", {**env, "BACKUP_DAILY_CRON": "0 2 * * *"})
    away = unmount(small)

    with pytest.raises(BackupFolderLostError):
        sender.send_task("backup.daily").get(timeout=PATIENCE)
    with pytest.raises(BackupFolderLostError):
        sender.send_task("schedule.catch_up").get(timeout=PATIENCE)

    assert list(small.backups.iterdir()) == []
    assert "adopt --new-folder" in worker.logs()
    mount(small, away)
    result = sender.send_task("backup.daily").get(timeout=PATIENCE)
    assert Path(result["path"]).exists()
