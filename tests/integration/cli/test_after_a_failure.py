"""What is said and done after a failure: true texts, no leftovers, and another try where what failed may pass."""

from __future__ import annotations

import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app import documents
from app.domain.backup import Origin, Tier
from app.domain.restore import Mode, Restore, RestoreState, Step
from app.embedded.postgres import EmbeddedPostgres
from app.errors import DatabaseMissingError, RestoreRollbackError, ServerUnavailableError, TargetUnavailableError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find
from app.operations.backups.leftovers import find_leftovers
from app.operations.backups.sync import sync
from app.operations.health.check import repair
from app.operations.restore import run as restoring
from app.operations.restore.recover import recover_all, recover_untouched
from app.operations.service import Service
from app.postgres import waiting_connector
from app.postgres.programs import run
from app.storage import disk
from app.storage.local import LocalTree
from tests.fix_damaged import Damaged, execute, make_damaged, require_nothing_left
from tests.fix_killed import killed
from tests.fix_postgres import scratch_database
from tests.fix_service import At, Site, make_site
from tests.tiers import thorough_at

MANUAL = BackupRequest(tier=Tier.MANUAL)
KILLED = """
import os, signal, sys
from pathlib import Path
from app.domain.backup import Tier
from app.storage import disk
from app.storage.local import LocalTree
tree = LocalTree(Path(sys.argv[1]))
tree.probe(Tier.DAILY)
disk.sync_folder = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # what is written is whole, and has no name yet
disk.sync = disk.sync_folder
{act}
"""


@pytest.fixture
def lost(own_postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Damaged]:
    """A site on a server of its own, which may go away."""
    with scratch_database(own_postgres_server) as database:
        yield make_damaged(make_site(database, tmp_path / "backups"), own_postgres_server)


@pytest.mark.parametrize(
    "way",
    thorough_at([repair, recover_untouched, recover_all], repair, recover_untouched),
    ids=["repair", "the schedule's tick", "recover"],
)
def test_after_a_clean_up_that_failed_its_text_does_not_stay(
    lost: Damaged, monkeypatch: pytest.MonkeyPatch, way: Callable[[Service], list[str]]
) -> None:
    monkeypatch.setattr(restoring, "PATIENCE_SECONDS", 0)
    with pytest.raises(RestoreRollbackError):
        lost.run(progress=At(lost.server.kill, phase="load"), mode="replace")
    (record,) = lost.records()
    assert record.state is RestoreState.ABANDONED
    assert "could not be cleaned up" in (record.message or "")
    lost.server.restart()
    said = way(lost.service())
    (record,) = lost.records()
    assert record.state is RestoreState.FAILED
    assert record.message is not None
    assert record.message.startswith("it failed in step 'loading': ")
    assert record.message.endswith("; the live database is as before")
    assert "cleaned up" not in record.message
    assert record.hint == "restore again"
    if way is not recover_untouched:
        assert any(
            "could not be cleaned up after step 'loading': failed; the live database is as" in each for each in said
        )
    assert lost.content() == lost.broken
    require_nothing_left(lost)


def test_a_clean_up_that_the_network_cuts_off_is_tried_again(lost: Damaged) -> None:
    def gone_for_a_moment() -> None:
        lost.server.kill()
        back.start()

    back = threading.Thread(target=lost.server.restart)
    with pytest.raises(TargetUnavailableError):
        lost.run(progress=At(gone_for_a_moment, phase="load"), mode="replace")
    back.join()
    (record,) = lost.records()
    assert record.state is RestoreState.FAILED
    require_nothing_left(lost)


def test_a_restore_that_died_early_says_that_the_live_database_is_as_before(damaged: Damaged) -> None:
    assert killed(damaged, "restore", {"mode": "replace"}, {"record": 1, "when": "before"})
    (said,) = [each for each in repair(damaged.service()) if each.startswith("restore ")]
    assert "whose process died in step 'checking': failed; the live database is as before" in said
    assert damaged.content() == damaged.broken


@pytest.mark.parametrize(
    "act",
    ["tree.probe(Tier.DAILY)", "tree.write_manifest('daily/backup-2025-01-15.sql', b'{}')"],
    ids=["probe", "manifest"],
)
def test_what_a_killed_process_was_writing_for_a_moment_is_left_over_at_once(site: Site, act: str) -> None:
    argv = [sys.executable, "-c", KILLED.format(act=act), str(site.backups)]
    assert run(argv, site.process_env()).code == -signal.SIGKILL
    (left,) = site.backups.rglob("*.partial")
    assert find_leftovers(site.service()) == [f"daily/{left.name}"]
    assert f"leftover removed: daily/{left.name}" in repair(site.service())
    assert not left.exists()


def test_what_a_living_process_writes_for_a_moment_is_no_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, seen = LocalTree(tmp_path), list[int]()
    tree.probe(Tier.DAILY)
    sync_folder = disk.sync_folder

    def look(folder: Path) -> None:
        seen.append(len(list(folder.glob(".*.partial"))))
        assert list(tree.leftovers()) == []
        sync_folder(folder)

    monkeypatch.setattr(disk, "sync_folder", look)
    tree.probe(Tier.DAILY)
    assert 1 in seen


def renamed(server: EmbeddedPostgres, old: str, new: str) -> None:
    execute(server, f'ALTER DATABASE "{old}" RENAME TO "{new}"')


def test_a_backup_that_meets_a_renaming_waits_for_the_database(
    site: Site, postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, waited = site.database.name, list[float]()
    renamed(postgres_server, name, f"{name}_away")

    def comes_back(seconds: float) -> None:
        if not waited:
            renamed(postgres_server, f"{name}_away", name)
        waited.append(seconds)

    monkeypatch.setattr(waiting_connector, "time", types.SimpleNamespace(monotonic=lambda: 0.0, sleep=comes_back))
    taken = take_backup(site.service(), MANUAL)
    assert taken is not None
    assert taken.backup.is_verified
    assert len(waited) == 1


def test_a_backup_whose_database_a_restore_has_taken_away_names_that_restore(
    site: Site, postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_connector, "_SECONDS", 0.0)
    name, service = site.database.name, site.service()
    now = service.clock()
    record = Restore(id="0123456789ab", database=name, mode=Mode.REPLACE, backup="x", started_at=now, heartbeat_at=now)
    service.restores.begin_restore(record)
    renamed(postgres_server, name, f"{name}_away")
    try:
        with pytest.raises(DatabaseMissingError, match="does not exist"):
            take_backup(service, MANUAL)
        service.restores.save_restore(replace(record, step=Step.SWAPPING))
        with pytest.raises(ServerUnavailableError, match="restore 0123456789ab puts another database") as caught:
            take_backup(service, MANUAL)
        assert "residency-backup restores" in caught.value.hint
    finally:
        renamed(postgres_server, f"{name}_away", name)


def test_a_backup_that_is_not_proven_is_not_good(site: Site) -> None:
    taken = take_backup(site.service(), MANUAL)
    assert taken is not None
    assert documents.backup(taken.backup)["good"] is True
    (site.backups / f"{taken.backup.file}.json").unlink()
    (site.backups / "catalog.db").unlink()
    sync(site.service())
    found = find(site.service(), "latest")
    assert (found.origin, documents.backup(found)["good"]) == (Origin.SCAN, False)
