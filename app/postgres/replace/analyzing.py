"""Runs ANALYZE beside the proof of a restored database, if it cannot change what is proven.

A proof begins when all rows are loaded and all indexes and constraints are built: whatever the file runs could change a
table that was proven before. A materialized view, a trigger's or an index's function, and an event trigger may write to
any table, and only the server knows which do. Of the load's own steps only ANALYZE comes later. It writes statistics,
which no dump has, and calls functions of users in three cases only: for expressions of indexes and of statistics
objects, and if the operators of a type's sort order are users' own. If the database has such functions and one of
these, the load ends with ANALYZE, before the proof begins.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import structlog

from app.errors import BackupError, RestoreError
from app.postgres.database import Database
from app.postgres.load.loader import reset_file_settings
from app.postgres.load.statistics import analyze, calls_functions
from app.postgres.load.threads import cancel_until
from app.postgres.session import RestoreSession, restore_session
from app.postgres.without_login_triggers import without_login_triggers

log = structlog.get_logger(__name__)


@contextmanager
def analyzing(database: Database, name: str) -> Iterator[None]:
    """A block that proves a database, beside which ANALYZE runs, unless the load did that. It ends with the block.

    Args:
        database: any one of the server.
        name: of the restored one.

    Raises:
        RestorePermissionError, TargetUnavailableError: the database cannot be connected to.
    """
    with restore_session(without_login_triggers(database, name), 1) as session:
        reset_file_settings([session])  # an empty search_path: names below are the server's
        beside = nullcontext() if calls_functions(session) else _beside(session)
        with beside:
            yield


@contextmanager
def _beside(session: RestoreSession) -> Iterator[None]:
    unwanted, ended = threading.Event(), threading.Event()

    def work() -> None:
        try:
            analyze([session])
        except (RestoreError, BackupError) as error:
            if not unwanted.is_set():
                log.warning("restore leaves tables without statistics", reason=error.message)
        finally:
            ended.set()

    threading.Thread(target=work, name="restore-statistics", daemon=True).start()
    try:
        yield
        ended.wait()
    except BaseException:  # of the proof, or a signal while this waits
        unwanted.set()
        cancel_until(ended, [session])
        raise
