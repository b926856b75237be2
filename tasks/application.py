"""The Celery application and its configuration."""

from __future__ import annotations

from functools import cache
from typing import Any

from celery import Celery

from app.bootstrap import Program, bootstrap
from app.errors import SettingsError
from app.log import tell
from app.settings.environment import process_environment
from tasks.letters import read_carefully
from tasks.schedule import beat_schedule
from tasks.usable import require_usable

QUEUE = "backup"
# A run is asked to stop at the first limit, and killed at the second. The third is much later: after it, the broker
# takes a message for lost and delivers it again. Messages are acknowledged when a run begins, so the third limit only
# applies to messages that wait behind a run.
SOFT_LIMIT_SECONDS = 12 * 3600
HARD_LIMIT_SECONDS = SOFT_LIMIT_SECONDS + 600
VISIBILITY_SECONDS = 2 * HARD_LIMIT_SECONDS
RESULT_DAYS = 7


class BackupApp(Celery):
    """A Celery application with the program that it runs."""

    program: Program


def make_app(program: Program) -> BackupApp:
    """The application for a configured program. Nothing connects yet."""
    app = BackupApp("tasks", include=["tasks.jobs", "tasks.signals"])
    app.program = program
    app.conf.update(configuration(program))
    return app


def configuration(program: Program) -> dict[str, Any]:
    """Celery's settings."""
    settings = program.settings
    broker = settings.celery_broker_url.get_secret_value()
    return {
        "broker_url": broker,
        # Celery takes the variable CELERY_BROKER_URL for `broker_url`, without the password that we put into it.
        "broker_read_url": broker,
        "broker_write_url": broker,
        "result_backend": settings.result_backend,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A backup takes longer than a restart of the broker, and its result must not be lost then.
        "result_backend_always_retry": True,
        "result_backend_max_retries": 30,
        "broker_transport_options": {"visibility_timeout": VISIBILITY_SECONDS},
        "result_backend_transport_options": {"visibility_timeout": VISIBILITY_SECONDS},
        "task_default_queue": QUEUE,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "task_track_started": True,
        "task_soft_time_limit": SOFT_LIMIT_SECONDS,
        "task_time_limit": HARD_LIMIT_SECONDS,
        # Acknowledged at the start, so that the broker does not repeat a run that died with its worker. The catalog
        # knows which slots were due, and schedule.catch_up sends them again.
        "task_acks_late": False,
        "worker_prefetch_multiplier": 1,
        "worker_consumer": "tasks.letters:Consumer",
        "result_expires": RESULT_DAYS * 24 * 3600,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "timezone": settings.backup_timezone,
        "enable_utc": True,
        # Due times are computed and runs are in the catalog, so beat needs no file of its own.
        "beat_scheduler": "tasks.schedule:Beat",
        "beat_schedule": beat_schedule(settings),
    }


@cache
def app_or_exit() -> BackupApp:
    """The application for this process's environment. With bad settings the program ends, exit code 2."""
    try:
        app = make_app(bootstrap())
        read_carefully()
        require_usable(app, app.program.settings)
    except SettingsError as error:
        tell("backup settings", error, process_environment().get("LOG_FORMAT", "").strip())
        raise SystemExit(error.exit_code) from None
    return app
