"""Celery's signals: logs, the context of a run, and its cancelling."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from types import FrameType
from typing import Any

import structlog
from celery import Celery, current_app, signals
from celery.worker import state

from app.bootstrap import Program
from app.errors import BackupCancelledError
from tasks.schedule import CATCH_UP

log = structlog.get_logger(__name__)


@signals.setup_logging.connect
def own_the_logs(**_: Any) -> None:
    """Celery's own lines go where ours go."""
    program: Program = current_app.program  # type: ignore[attr-defined] # ours, see tasks.application
    program.start_logging()
    for name in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(name).addFilter(_worth_a_line)


@signals.task_prerun.connect
def begin(task_id: str, task: Any, **_: Any) -> None:
    """Bind the run's context, and let a signal cancel it."""
    structlog.contextvars.bind_contextvars(task_id=task_id, task=task.name)
    with contextlib.suppress(ValueError):  # a pool of threads gets no signals
        signal.signal(signal.SIGTERM, _cancel)
        signal.signal(signal.SIGUSR1, _time_is_up)


@signals.task_postrun.connect
def end(**_: Any) -> None:
    """Forget the context; an idle process ends on SIGTERM as ever."""
    structlog.contextvars.clear_contextvars()
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@signals.worker_shutting_down.connect
def cancel_what_runs(**_: Any) -> None:
    """Pass the worker's SIGTERM on: its runs stop and clean up, instead of being waited for."""
    for request in tuple(state.active_requests):
        pid = request.worker_pid
        if pid and pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)


@signals.worker_ready.connect
@signals.beat_init.connect
def look_for_what_was_missed(sender: Any, **_: Any) -> None:
    """A slot missed while the service was down is made up for as soon as it is back."""
    app: Celery = sender.app
    app.send_task(CATCH_UP, expires=600)


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Celery's lines on a task that runs every minute are worth reading only when something is wrong with it."""
    return record.levelno > logging.INFO or CATCH_UP not in record.getMessage()


def _cancel(_: int, __: FrameType | None) -> None:
    # A second signal must not interrupt the cleaning up after the first.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise BackupCancelledError("the run was cancelled", "start it again when you want it")


def _time_is_up(_: int, __: FrameType | None) -> None:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    raise BackupCancelledError(
        "the run took longer than its time limit", "is the database blocked, or the disk too slow?"
    )
