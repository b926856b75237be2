"""Handlers of Celery's signals: logging, the context of a run, and cancelling."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from types import FrameType
from typing import Any

import structlog
from billiard.exceptions import WorkerLostError
from celery import Celery, current_app, signals
from celery.worker import state

from app.bootstrap import Program
from app.domain.checks import Severity
from app.errors import OUT_OF_MEMORY, BackupCancelledError, BackupInterruptedError, Cancelled
from app.log import log_what_is_printed
from tasks.schedule import CATCH_UP

log = structlog.get_logger(__name__)
_KILLED = {
    "backup": (
        "backup failed: the process was killed",
        f"{OUT_OF_MEMORY}, or lower BACKUP_JOBS; a scheduled run is tried again by itself, any other is not",
    ),
    "restore": (
        "restore failed: the process was killed",
        f"{OUT_OF_MEMORY}; then see where it stands: residency-backup check --repair",
    ),
}

WORKER_STOPS = signal.SIGUSR2
# `revoke --terminate` sends SIGTERM, Celery's soft time limit SIGUSR1.
REASONS: dict[int, BackupCancelledError] = {
    signal.SIGTERM: BackupCancelledError("the run was revoked", "start it again when you want it"),
    signal.SIGUSR1: BackupCancelledError(
        "the run took longer than its time limit", "is the database blocked, or a disk slow? residency-backup check"
    ),
    WORKER_STOPS: BackupInterruptedError(
        "the worker was stopped", "a scheduled run is tried again when it is back, any other is not"
    ),
}


@signals.setup_logging.connect
def own_the_logs(**_: Any) -> None:
    """Send Celery's log lines and Python's warnings through our logging."""
    program: Program = current_app.program  # type: ignore[attr-defined] # ours, see tasks.application
    program.start_logging()
    logging.captureWarnings(capture=True)
    if program.settings.log_format == "json":
        log_what_is_printed()
    for name in ("celery.worker.strategy", "celery.app.trace", "celery.beat"):
        logging.getLogger(name).addFilter(_worth_a_line)
    logging.getLogger("celery.worker.request").addFilter(_not_told_already)


@signals.worker_init.connect
def remember_the_folder(sender: Any, **_: Any) -> None:
    """Remember the folder's marker before the pool is made, so that its processes notice a lost mount."""
    sender.app.program.remember_folder()


@signals.task_prerun.connect
def begin(task_id: str, task: Any, **_: Any) -> None:
    """Bind the run's context, and let a signal cancel it."""
    structlog.contextvars.bind_contextvars(task_id=task_id, task=task.name)
    with contextlib.suppress(ValueError):  # a pool of threads gets no signals
        for number in REASONS:
            signal.signal(number, _cancel)


@signals.task_postrun.connect
def end(**_: Any) -> None:
    """Clear the context, and let SIGTERM end the idle process again."""
    structlog.contextvars.clear_contextvars()
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number in (signal.SIGUSR1, WORKER_STOPS):  # they come too late for this run
            signal.signal(number, signal.SIG_IGN)


@signals.task_failure.connect
def log_killed_run(sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
    """Log that a process of the pool was killed: it cannot do so itself, and Celery's line does not say `backup`."""
    if isinstance(exception, WorkerLostError):
        event, hint = _KILLED["restore" if sender.name.startswith("restore.") else "backup"]
        facts = {"task": sender.name, "task_id": task_id, "error": type(exception).__name__}
        log.error(event, reason=str(exception), hint=hint, **facts)


@signals.worker_shutting_down.connect
def cancel_what_runs(**_: Any) -> None:
    """Cancel the runs when the worker is stopped, so that it does not wait for them."""
    for request in tuple(state.active_requests):
        pid = request.worker_pid
        if pid and pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, WORKER_STOPS)


@signals.celeryd_after_setup.connect
@signals.beat_init.connect
def say_why_the_broker_takes_nothing(**_: Any) -> None:
    """Warn with a hint if the broker accepts no messages: Celery's repeated lines only name classes."""
    program: Program = current_app.program  # type: ignore[attr-defined] # ours, see tasks.application
    for finding in program.ask_broker()():
        if finding.severity is not Severity.OK:
            log.warning("backup broker takes no messages", check=finding.check, reason=finding.message)


@signals.worker_ready.connect
@signals.beat_init.connect
def look_for_what_was_missed(sender: Any, **_: Any) -> None:
    """Look for slots that were missed while the service was down."""
    app: Celery = sender.app
    app.send_task(CATCH_UP, expires=600)


@signals.beat_init.connect
def show_that_beat_lives(sender: Any, **_: Any) -> None:
    """Touch a file after each sent message, at least once a minute, so that a health check can look at its age."""
    program: Program = sender.app.program
    if (file := program.settings.beat_alive_file) is None:
        return

    def touch(**_: Any) -> None:
        try:
            file.touch()
        except OSError as error:
            log.warning("backup schedule cannot touch its file", file=str(file), error=error.strerror)

    signals.after_task_publish.connect(touch, weak=False)


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Drop Celery's lines on the task that runs every minute, unless they report a problem."""
    return record.levelno > logging.INFO or CATCH_UP not in record.getMessage()


def _not_told_already(record: logging.LogRecord) -> bool:
    """Drop Celery's line on a killed process, which has a traceback: see `log_killed_run`."""
    return not (isinstance(record.args, tuple) and any(isinstance(given, WorkerLostError) for given in record.args))


def _cancel(number: int, _: FrameType | None) -> None:
    # A second signal must not interrupt the cleaning up after the first.
    for known_signal in REASONS:
        signal.signal(known_signal, signal.SIG_IGN)
    known = REASONS[number]
    raise Cancelled(type(known)(*known.args))  # a new error for each run, because attributes are set on it
