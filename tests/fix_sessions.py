"""Sessions of an application beside a backup or a restore: none of them may wait for more than five seconds."""

from __future__ import annotations

import threading
import time
from typing import Self

import psycopg

from tests.fix_postgres import TestDatabase

BOUND = "5s"
_WAITS = "SELECT FROM pg_locks WHERE pid = %s AND NOT granted"


class Beside:
    """A session that runs statements in a thread of its own, each of which the server would end at the bound.

    Attributes:
        error: what the server said; None where all went well.
    """

    def __init__(self, database: TestDatabase, *statements: str) -> None:
        self.error: psycopg.Error | None = None
        self._database = database
        self._statements = statements
        self._connection = psycopg.connect(database.url, autocommit=True, application_name="scheduler")
        self._connection.execute(f"SET statement_timeout = '{BOUND}'".encode())
        self._thread = threading.Thread(target=self._run, name="beside", daemon=True)

    def start(self) -> Self:
        """Begin, without waiting for anything."""
        self._thread.start()
        return self

    def wait_until_it_waits(self) -> Self:
        """Wait until it waits for a lock, or is done."""
        waits = False
        while self._thread.is_alive() and not waits:
            waits = bool(self._database.query(_WAITS, self._connection.info.backend_pid))
            time.sleep(0.01)
        return self

    def wait(self) -> Self:
        """Wait for the end of it."""
        self._thread.join()
        return self

    def _run(self) -> None:
        with self._connection:
            try:
                for statement in self._statements:
                    self._connection.execute(statement.encode())
            except psycopg.Error as error:
                self.error = error


def ours_waits(database: TestDatabase, mode: str) -> None:
    """Wait until a session of the service waits for a lock in a mode."""
    query = """
        SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE NOT granted AND mode = %s AND application_name = 'residency-backup' AND datname = current_database()"""
    while not database.query(query, mode):
        time.sleep(0.01)
