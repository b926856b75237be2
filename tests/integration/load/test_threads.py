"""What several sessions do at once ends with the first failure, or with a signal."""

from __future__ import annotations

import time

import pytest

from app.postgres.database import Database
from app.postgres.load.threads import Stopped, run_on_all
from app.postgres.session import RestoreSession, restore_session
from tests.fix_interrupt import interrupt_in
from tests.fix_postgres import TestDatabase

SLEEPING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND query LIKE 'SELECT pg_sleep%' AND state = 'active'"""


def _sleep(session: RestoreSession, _: Stopped) -> None:
    session.run(b"SELECT pg_sleep(600)", "a long statement")


def test_a_signal_cancels_what_the_last_session_does(empty_database: TestDatabase) -> None:
    with restore_session(Database.from_url(empty_database.url), 1) as session:
        interrupt_in("run_on_all")
        with pytest.raises(KeyboardInterrupt):
            run_on_all([session], _sleep)
        while empty_database.query(SLEEPING) != [(0,)]:
            time.sleep(0.01)
        assert session.connection.execute("SELECT 1").fetchone() == (1,)
