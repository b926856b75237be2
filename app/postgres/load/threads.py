"""Runs work on several sessions, a thread for each; one failure stops all."""

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

    def run(session: RestoreSession) -> None:
        try:
            work(session, lambda: bool(failures))
        except BaseException as error:  # noqa: BLE001 -- raised below, in the thread that waits
            with lock:
                failures.append(error)

    threads = [
        threading.Thread(target=run, args=(session,), name=f"load-{number}") for number, session in enumerate(sessions)
    ]
    try:
        for thread in threads:
            thread.start()
        _wait(threads, sessions, failures)
    except BaseException as error:
        failures.insert(0, error)
        _wait(threads, sessions, failures)
        raise
    if failures:
        raise failures[0]


def _wait(
    threads: Sequence[threading.Thread], sessions: Sequence[RestoreSession], failures: Sequence[BaseException]
) -> None:
    """Wait for all threads; after a failure, cancel repeatedly, because a thread may be between two statements."""
    for thread in threads:
        while thread.ident is not None and thread.is_alive():
            if failures:
                _cancel(sessions)
            thread.join(_LOOK_SECONDS)


def _cancel(sessions: Iterable[RestoreSession]) -> None:
    for session in sessions:
        # A closed session has nothing to cancel.
        with contextlib.suppress(psycopg.Error):
            session.connection.cancel_safe(timeout=5)
