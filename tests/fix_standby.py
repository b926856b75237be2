"""A real hot standby: a copy of a server that streams what happens there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from app.embedded.postgres import EmbeddedPostgres, Launcher
from app.embedded.server import environment, wait_until
from app.postgres.programs import output_of
from tests.fix_cluster_copies import CopiedPostgres
from tests.fix_postgres import TestDatabase, open_folder

_CAUGHT_UP = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"


class Standby(EmbeddedPostgres):
    """A server that follows another one, and waits for no reader of its own."""

    def __init__(self, folder: Path, primary: EmbeddedPostgres) -> None:
        super().__init__(folder, fast=True)
        self._primary = primary

    def _initialise(self, launcher: Launcher, programs: Path) -> None:
        fresh = self.folder / "data.new"
        url = self._primary.url()
        argv = [str(programs / "pg_basebackup"), "-D", str(fresh), "-d", url, "-c", "fast", "-R", "--no-sync"]
        output_of([*launcher.prefix, *argv], environment())
        subprocess.run(["cp", "-a", self._primary.folder / "password", self._password_file], check=True)
        fresh.rename(self._data)
        self._take_folder(launcher)

    def _options(self, sockets: Path) -> list[str]:
        return [*super()._options(sockets), "--max_standby_streaming_delay=0"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A database on a primary, and the same one on its standby."""

    primary: TestDatabase
    standby: TestDatabase
    server: EmbeddedPostgres

    def catch_up(self) -> None:
        """Wait until the standby has done what the primary has."""
        position = self.primary.query("SELECT pg_current_wal_lsn()::text")[0][0]
        assert wait_until(lambda: self.standby.query(_CAUGHT_UP, position)[0][0], 30)


@contextmanager
def standby_pair(name: str, *statements: str) -> Iterator[Pair]:
    """A primary with a database on which some statements were run, and a standby of it."""
    with open_folder() as folder, CopiedPostgres(folder / "primary", fast=True) as primary:
        with psycopg.connect(primary.url(), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        database = TestDatabase(name, primary.url(name))
        for statement in statements:
            database.execute(statement)
        with Standby(folder / "standby", primary) as standby:
            pair = Pair(database, TestDatabase(name, standby.url(name)), primary)
            pair.catch_up()
            yield pair
