"""The service as processes: a worker and beat over a real broker, told what to do as an admin would."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import psycopg
import pytest
from celery import Celery
from pytest_celery import CeleryTestSetup

from app.domain.backup import Tier
from app.domain.slots import Slot, SlotRecord, SlotState
from app.errors import BackupCancelledError, BackupNotFoundError, BackupPermissionError, BackupRunningError
from app.operations.backup.catch_up import due_slots
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import inventory
from app.postgres.programs import run
from tests.fix_celery import NOTHING_DUE, PATIENCE, LocalNode, NodeFactory, eventually
from tests.fix_fork import CELERY, run_forked
from tests.fix_held import at_work, held
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, fill_wide, gone_soon, leftovers, require_same_content, stalled

pytestmark = pytest.mark.e2e
Restore = Callable[[Path], TestDatabase]
PROGRAMS = {"pg_dump", "psql"}  # of a dump; one may have ended
# Due every three seconds. The slot is the day's, and so is run once all the same.
SOON = "*/3 * * * * *"


@pytest.fixture
def site_env(site: Site, broker_url: str) -> dict[str, str]:
    """The settings of the site's processes; nothing comes due by itself."""
    return {**site.env, **NOTHING_DUE, "CELERY_BROKER_URL": broker_url, "LOG_LEVEL": "INFO"}


@pytest.fixture
def celery_worker_env(site_env: dict[str, str], celery_backend_cluster: object) -> dict[str, str]:
    """The worker of `celery_setup` works for the site."""
    return {**site_env, "BACKUP_WEEKLY_CRON": "0 3 * * 0"}


@pytest.fixture
def sender(broker_url: str) -> Celery:
    """Sends tasks by name and reads their results."""
    app = Celery("sender", broker=broker_url, backend=broker_url)
    app.conf.task_default_queue = "backup"
    yield app
    app.close()


def test_an_admins_call_makes_a_backup_and_returns_what_the_contract_says(
    celery_setup: CeleryTestSetup, site: Site, restored: Restore
) -> None:
    assert celery_setup.ready(control=True)
    result = celery_setup.app.send_task("backup.daily").get(timeout=PATIENCE)
    assert set(result) == {"backup", "path", "bytes", "rows", "tables", "seconds"}
    assert result["backup"] == f"daily/backup-{datetime.now(UTC).date()}"
    assert Path(result["path"]).stat().st_size == result["bytes"]
    again = celery_setup.app.send_task("backup.daily").get(timeout=PATIENCE)
    assert again["backup"] == result["backup"], "a call always makes a backup now"
    require_same_content(site.database, restored(Path(again["path"])))
    labelled = celery_setup.app.send_task("backup.manual", kwargs={"label": "why"}).get(timeout=PATIENCE)
    assert labelled["backup"].startswith("manual/")
    verified = celery_setup.app.send_task("backup.verify").get(timeout=PATIENCE)
    assert verified == {"verified": [labelled["backup"], result["backup"]], "failed": []}
    pruned = celery_setup.app.send_task("backup.prune", kwargs={"dry_run": True}).get(timeout=PATIENCE)
    assert {each["backup"] for each in pruned["kept"]} == {labelled["backup"], result["backup"]}
    assert all(each["reasons"] for each in pruned["kept"])
    assert pruned["pruned"] == []


def test_a_failed_task_raises_the_typed_error_with_its_hint(
    site: Site, site_env: dict[str, str], celery_node: NodeFactory, sender: Celery
) -> None:
    url = psycopg.conninfo.make_conninfo(site.database.url, password="canary-4711")
    worker = celery_node("worker", {**site_env, "DATABASE_URL": url})
    with pytest.raises(BackupPermissionError, match="password authentication failed") as caught:
        sender.send_task("backup.daily").get(timeout=PATIENCE)
    assert caught.value.hint
    with pytest.raises(BackupNotFoundError):
        sender.send_task("backup.verify", kwargs={"backup": "daily/backup-1999-01-01"}).get(timeout=PATIENCE)
    assert "backup failed" in worker.logs()
    assert "canary-4711" not in worker.logs()
    assert site.files() == {}


def test_the_documented_call_works_to_the_letter(
    site: Site, site_env: dict[str, str], celery_node: NodeFactory, restored: Restore
) -> None:
    worker = celery_node("worker", site_env)
    argv = [sys.executable, "-m", "celery", "-A", "tasks", "call", "backup.weekly"]
    called = run(argv, site.process_env(**site_env), timeout=PATIENCE)
    assert called.code == 0, called.stderr
    assert len(called.stdout.strip()) == 36, "the task's id"
    eventually(lambda: list(site.backups.glob("weekly/*.json")), "the backup")
    eventually(lambda: "succeeded" in worker.logs(), "the end of the task")
    (file,) = site.backups.glob("weekly/backup-week-??.sql")
    require_same_content(site.database, restored(file))
    by = f"task {called.stdout.strip()} from {os.uname().nodename}"
    assert [backup.made_by for backup in inventory(site.service())] == [by]
    assert f"by='{by}'" in worker.logs()
    story = [line for line in worker.logs().splitlines() if "backup" in line.lower()]
    for event in ("backup started", "backup created", "backup verified"):
        assert sum(event in line for line in story) == 1
    assert "schedule.catch_up" not in "".join(line for line in story if "[info" in line and "task=" in line)


def test_beat_fires_and_two_beats_and_two_workers_make_one_backup(
    site: Site, site_env: dict[str, str], celery_node: NodeFactory, restored: Restore
) -> None:
    env = {**site_env, "BACKUP_DAILY_CRON": SOON}
    nodes = [celery_node("worker", env), celery_node("worker", env), celery_node("beat", env), celery_node("beat", env)]
    eventually(lambda: list(site.backups.glob("daily/*.json")), "the daily backup")
    for beat in nodes[2:]:
        eventually(lambda beat=beat: beat.logs().count("Sending due task daily") > 1, "each beat to fire twice")
    eventually(lambda: logs(nodes).count("run already") > 1, "the other messages")
    eventually(lambda: "backup created" in logs(nodes), "the line, which comes after the file and the slot's end")
    assert logs(nodes).count("backup created") == 1
    (backup,) = inventory(site.service())
    assert (backup.made_by or "").startswith("schedule, task ")
    require_same_content(site.database, restored(site.backups / backup.file))


def logs(nodes: list[LocalNode]) -> str:
    """What all nodes logged."""
    return "".join(node.logs() for node in nodes)


def test_a_slot_missed_while_the_service_was_down_is_made_up_for_once(
    site: Site, site_env: dict[str, str], celery_node: NodeFactory
) -> None:
    env = {**site_env, "BACKUP_DAILY_CRON": "0 0 * * *"}
    service = site.service(BACKUP_DAILY_CRON="0 0 * * *")
    now = service.clock()
    service.catalog.pass_slot(service.database, Slot.at(Tier.DAILY, now - timedelta(days=5)), now)
    nodes = [celery_node("worker", env), celery_node("beat", env)]
    eventually(lambda: "backup created" in logs(nodes), "the backup that was missed")
    nodes += [celery_node("worker", env)]
    eventually(lambda: "schedule.catch_up" in nodes[-1].logs() or nodes[-1].ready(), "the second look")
    time.sleep(1)
    assert logs(nodes).count("backup created") == 1
    (backup,) = inventory(service)
    assert (backup.id, (backup.made_by or "")[:14]) == (f"daily/backup-{now.date()}", "schedule, task")


@pytest.fixture
def busy(site: Site, site_env: dict[str, str], celery_node: NodeFactory, sender: Celery) -> tuple[LocalNode, str]:
    """A worker in the middle of a dump, with an older backup beside it; the worker, and the task's id."""
    take_backup(site.service(), BackupRequest(tier=Tier.WEEKLY))
    fill_wide(site.database, rows=40_000)
    worker = celery_node("worker", {**site_env, "BACKUP_COMPRESSION": "gzip", "BACKUP_COMPRESSION_LEVEL": "9"})
    task = sender.send_task("backup.daily")
    eventually(lambda: any(Path(each).stat().st_size > 100_000 for each in leftovers(site.backups)), "the dump")
    return worker, task.id


def worker_env(site: Site, sender: Celery) -> dict[str, str]:
    """The environment of a celery command beside the worker."""
    return site.process_env(CELERY_BROKER_URL=sender.conf.broker_url)


def nothing_is_left(site: Site) -> bool:
    """No partial file, no pg_dump, no running row, the older backup whole."""
    return (
        not leftovers(site.backups)
        and gone_soon(site.database)
        and not site.service().catalog.running(site.database.name)
        and [each.tier for each in inventory(site.service())] == [Tier.WEEKLY]
    )


def test_a_revoked_task_kills_its_dump_and_leaves_nothing(
    site: Site, busy: tuple[LocalNode, str], sender: Celery, restored: Restore
) -> None:
    worker, task = busy
    with stalled(site.database):
        with pytest.raises(BackupRunningError):
            sender.send_task("backup.daily").get(timeout=PATIENCE)
        words = ("control", "terminate", "SIGTERM", task)
        done = run_forked(CELERY, ["-A", "tasks", *words], worker_env(site, sender), timeout=PATIENCE)
        assert done.code == 0, done.stderr
    eventually(lambda: not leftovers(site.backups), "the end of the dump")
    eventually(lambda: nothing_is_left(site), "the cleaning up")
    eventually(lambda: "BackupCancelledError" in worker.logs(), "the error's name, which comes after the cleaning up")
    site.database.execute("DROP TABLE wide")
    taken = sender.send_task("backup.daily").get(timeout=2 * PATIENCE)
    require_same_content(site.database, restored(Path(taken["path"])))
    with held(site.database, "question"):
        preview = sender.send_task("restore.preview", kwargs={"backup": taken["backup"]})
        eventually(lambda: len(at_work(site.database)) > 0, "a question to the server")
        os.kill(preview.info["pid"], signal.SIGUSR1)  # as when its time is over
        with pytest.raises(BackupCancelledError, match="longer than its time limit"):
            preview.get(timeout=PATIENCE)
        assert not at_work(site.database)


def test_a_worker_that_is_stopped_kills_its_dump_and_leaves_nothing(site: Site, busy: tuple[LocalNode, str]) -> None:
    worker, _ = busy
    began = time.monotonic()
    os.kill(worker.pid, signal.SIGTERM)
    eventually(lambda: worker.status != "running", "the worker's end")
    assert time.monotonic() - began < PATIENCE
    assert nothing_is_left(site)
    assert "BackupInterruptedError" in worker.logs()


def test_a_killed_worker_frees_its_slot_and_the_next_run_clears_up(
    site: Site, site_env: dict[str, str], celery_node: NodeFactory, restored: Restore
) -> None:
    fill_wide(site.database, rows=40_000)
    env = {**site_env, "BACKUP_COMPRESSION": "gzip", "BACKUP_COMPRESSION_LEVEL": "9"}
    settings = {**env, "BACKUP_DAILY_CRON": SOON}
    nodes = [celery_node("worker", settings), celery_node("beat", settings)]
    eventually(lambda: any(Path(each).stat().st_size > 100_000 for each in leftovers(site.backups)), "the dump")
    for node in nodes:
        node.kill()
    assert len(leftovers(site.backups)) == 1
    assert gone_soon(site.database)
    service = site.service(BACKUP_DAILY_CRON=settings["BACKUP_DAILY_CRON"])
    slot = service.options.schedules[Tier.DAILY].last_due(service.clock())

    def record() -> SlotRecord:
        assert due_slots(service) == [], "not at once: what killed it may still be there"
        found = service.catalog.slot(service.database, Tier.DAILY, slot.period)
        assert found is not None
        return found

    eventually(lambda: record().state is SlotState.FAILED, "the killed process counts as dead")
    assert (record().transient, record().attempts) == (True, 1)
    assert record().may_run(service.clock() + timedelta(minutes=3))
    site.database.execute("DROP TABLE wide")
    taken = take_backup(service, BackupRequest(tier=Tier.DAILY))
    assert taken is not None
    assert not leftovers(site.backups)
    require_same_content(site.database, restored(site.backups / taken.backup.file))


def test_a_killed_child_of_the_pool_is_told_and_the_worker_goes_on(
    site: Site, busy: tuple[LocalNode, str], sender: Celery
) -> None:
    worker, task = busy
    programs = [each for each in psutil.Process(worker.pid).children(recursive=True) if each.name() in PROGRAMS]
    programs[0].parent().kill()
    with pytest.raises(Exception, match="SIGKILL"):
        sender.AsyncResult(task).get(timeout=PATIENCE)
    eventually(lambda: "backup failed: the process was killed" in worker.logs(), "the line for the operator")
    site.database.execute("DROP TABLE wide")
    taken = sender.send_task("backup.daily").get(timeout=2 * PATIENCE)
    assert taken["backup"].startswith("daily/")
    assert worker.logs().count("[error ") == 1, "and Celery's own says it no second time"
    assert not leftovers(site.backups)


def test_with_json_every_line_is_an_object_celerys_own_too(
    site: Site, site_env: dict[str, str], celery_node: NodeFactory, sender: Celery
) -> None:
    worker = celery_node("worker", {**site_env, "LOG_FORMAT": "json"})
    sender.send_task("backup.manual").get(timeout=PATIENCE)
    eventually(lambda: "succeeded" in worker.logs(), "the end of the task")
    lines = [line for line in worker.logs().splitlines() if line.startswith("{")]
    events = [json.loads(line) for line in lines]
    assert any(each["event"] == "backup created" and each["task_id"] and each["tier"] == "manual" for each in events)
    assert any(each["logger"].startswith("celery") for each in events)
    after_banner = worker.logs().split("ready.", 1)[1].splitlines()[1:]
    assert after_banner
    assert all(line.startswith("{") for line in after_banner if line.strip())
