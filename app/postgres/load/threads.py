"""Runs work on several sessions, a thread for each; one failure stops all.

Threads say by an event that they have ended. Up to Python 3.12, a signal during `Thread.join` marks the thread as ended
though it runs, so that nobody would cancel its statement.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence

import psycopg

from app.postgres.session import RestoreSession

_LOOK_SECONDS = 0.2
Stopped = Callable[[], bool]


def run_on_all(sessions: Sequence[RestoreSession], work: Callable[[RestoreSession, Stopped], None]) -> None:
    """Run `work` on all sessions at once, and wait for all.

    Args:
        sessions: that nobody else uses meanwhile.
        work: gets a session, and a function that tells whether to stop.

    Raises:
        Exception: the first that was raised; then the statements of all sessions are cancelled.
    """
    failures: list[BaseException] = []
    lock = threading.Lock()

    def run(session: RestoreSession, ended: threading.Event) -> None:
        try:
            work(session, lambda: bool(failures))
        except BaseException as error:  # noqa: BLE001 -- raised below, in the thread that waits
            with lock:
                failures.append(error)
        finally:
            ended.set()

    ends = [threading.Event() for _ in sessions]
    threads = [
        threading.Thread(target=run, args=(session, ended), name=f"load-{number}")
        for number, (session, ended) in enumerate(zip(sessions, ends, strict=True))
    ]
    try:
        for thread in threads:
            thread.start()
        for ended in ends:
            _wait(ended, sessions, failures)
    except BaseException as error:
        failures.insert(0, error)
        for thread, ended in zip(threads, ends, strict=True):
            if thread.ident is not None:
                _wait(ended, sessions, failures)
        raise
    if failures:
        raise failures[0]


def cancel_until(ended: threading.Event, sessions: Sequence[RestoreSession]) -> None:
    """Cancel statements until a thread has ended: repeatedly, because it may be between two of them."""
    while not ended.is_set():
        _cancel(sessions)
        ended.wait(_LOOK_SECONDS)


def _wait(ended: threading.Event, sessions: Sequence[RestoreSession], failures: Sequence[BaseException]) -> None:
    """Wait until a thread has ended; after a failure, cancel."""
    while not (failures or ended.wait(_LOOK_SECONDS)):
        pass
    cancel_until(ended, sessions)


def _cancel(sessions: Iterable[RestoreSession]) -> None:
    for session in sessions:
        # A closed session has nothing to cancel.
        with contextlib.suppress(psycopg.Error):
            session.connection.cancel_safe(timeout=5)
