"""Celery's configuration, and that importing it has no effect."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import _state
from celery.app.defaults import NAMESPACES, flatten
from kombu.transport.redis import Channel

from app.bootstrap import bootstrap
from tasks import application
from tasks.application import BackupApp, configuration, make_app

HOME = Path(__file__).parents[3]
ENVIRON = {
    "DATABASE_URL": "postgresql://me:s3cr3t@db/app",
    "CELERY_BROKER_URL": "redis://broker.invalid:1/0",
    "BACKUP_TIMEZONE": "Europe/Berlin",
}
CONTRACT = {"backup.daily", "backup.weekly", "backup.monthly", "backup.manual", "backup.verify", "backup.prune"}


def configured(**environ: str) -> dict[str, Any]:
    return configuration(bootstrap(ENVIRON | environ))


@pytest.fixture
def app() -> Iterator[BackupApp]:
    """The application as a worker loads it; the process's current one is put back."""
    before = _state._tls.current_app
    made = make_app(bootstrap(ENVIRON))
    made.loader.import_default_modules()
    made.finalize()
    yield made
    made.close()
    _state._tls.current_app = before


def test_celery_connects_with_the_password_also_if_the_url_is_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", ENVIRON["CELERY_BROKER_URL"])
    before = _state._tls.current_app
    made = make_app(bootstrap(ENVIRON | {"CELERY_BROKER_PASSWORD": "s3cr3t?"}))
    try:
        for connection in (made.connection_for_read(), made.connection_for_write()):
            assert (connection.hostname, connection.password) == ("broker.invalid", "s3cr3t?")
    finally:
        made.close()
        _state._tls.current_app = before


def test_a_run_is_told_to_stop_then_stopped_and_only_then_delivered_again() -> None:
    found = configured()
    soft, hard = found["task_soft_time_limit"], found["task_time_limit"]
    visible = found["broker_transport_options"]["visibility_timeout"]
    assert 0 < soft < hard < visible
    assert hard - soft >= 60  # time to clean up
    assert found["result_backend_transport_options"]["visibility_timeout"] == visible
    assert visible > Channel.visibility_timeout  # Redis delivers again after an hour unless told otherwise


def test_a_run_is_acknowledged_when_it_begins_and_waits_for_no_other() -> None:
    found = configured()
    assert found["task_acks_late"] is False
    assert found["worker_prefetch_multiplier"] == 1


def test_everything_goes_through_one_queue_as_json() -> None:
    found = configured()
    assert application.QUEUE == "backup"
    assert found["task_default_queue"] == "backup"
    assert (found["task_serializer"], found["result_serializer"], found["accept_content"]) == ("json", "json", ["json"])


def test_the_settings_name_broker_results_and_zone() -> None:
    found = configured()
    assert found["broker_url"] == found["result_backend"] == "redis://broker.invalid:1/0"
    assert found["timezone"] == "Europe/Berlin"
    assert configured(CELERY_RESULT_BACKEND="redis://other/1")["result_backend"] == "redis://other/1"
    assert "daily" not in configured(BACKUP_DAILY_CRON="off")["beat_schedule"]


def test_celery_knows_every_name_of_the_configuration(app: BackupApp) -> None:
    assert set(configured()) - {name for name, _ in flatten(NAMESPACES)} == set()
    assert app.conf.task_default_queue == "backup"


def test_every_task_of_the_contract_is_registered_and_everything_scheduled_is_a_task(app: BackupApp) -> None:
    registered = {name for name in app.tasks if not name.startswith("celery.")}
    assert registered >= CONTRACT
    scheduled = {entry["task"] for entry in app.conf.beat_schedule.values()}
    assert scheduled <= registered
    assert scheduled >= {"backup.daily", "backup.weekly", "backup.monthly", "backup.verify"}


def test_every_task_is_sent_to_the_queue(app: BackupApp) -> None:
    for name in CONTRACT:
        assert app.amqp.router.route({}, name)["queue"].name == "backup"


def test_the_programs_settings_come_with_the_application(app: BackupApp) -> None:
    assert app.program.settings.backup_timezone == "Europe/Berlin"
    assert app.program.settings.database.name == "app"


WATCH = """
import os, sys
names = []
class Watched(dict):
    def __getitem__(self, name): names.append(name); return super().__getitem__(name)
    def get(self, name, default=None): names.append(name); return super().get(name, default)
    def __contains__(self, name): names.append(name); return super().__contains__(name)
    def items(self): names.append("everything"); return super().items()
    def copy(self): names.append("everything"); return super().copy()
import json, celery, celery.signals, structlog, sqlalchemy, psycopg, alembic, redis
os.environ = Watched(os.environ)
import tasks
for module in sys.argv[1:]:
    __import__(module)
ours = ("everything", "BACKUP", "RESTORE", "DATABASE", "POSTGRES", "CELERY_BROKER", "CELERY_RESULT", "LOG_")
print(json.dumps([name for name in names if name.startswith(ours)]))
"""


def test_an_import_reads_no_settings_from_the_environment() -> None:
    modules = ["tasks", "tasks.application", "tasks.jobs", "tasks.schedule", "tasks.signals", "app.bootstrap"]
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *modules],
        cwd=HOME,
        env={"BACKUP_KEEP_DAYS": "rubbish", "BACKUP_TIMEZONE": "Mars"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_the_package_has_no_other_name() -> None:
    import tasks  # noqa: PLC0415 -- what is under test

    with pytest.raises(AttributeError):
        _ = tasks.application_or_something
