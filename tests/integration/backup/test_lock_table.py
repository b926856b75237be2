"""A server with room for few locks: a backup works if a stock pg_dump does; else it says what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.domain.backup import Tier
from app.domain.restore import Mode
from app.embedded.postgres import binaries
from app.errors import LockTableFullError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.restore.request import RestoreRequest
from app.operations.restore.run import restore
from app.ports.source import ChangedError
from app.postgres.database import Database
from app.postgres.dump.early_reads import AttemptHistory, EarlyReader, require_as_shown
from app.postgres.dump.snapshot import exported_snapshot
from app.postgres.programs import output_of
from tests.fix_cluster_copies import CopiedPostgres
from tests.fix_postgres import TestDatabase, open_folder, scratch_database
from tests.fix_service import make_site

FITS_ONCE = 110  # tables whose locks the server below has room for, but not for several sessions


class NarrowPostgres(CopiedPostgres):
    """A server with room for some 140 locks."""

    def _options(self, sockets: Path) -> list[str]:
        few = ("max_locks_per_transaction=10", "max_connections=12", "max_wal_senders=0", "max_worker_processes=2")
        none = ("autovacuum=off", "autovacuum_worker_slots=1")
        return [*super()._options(sockets), *(f"--{setting}" for setting in (*few, *none))]


@pytest.fixture
def narrow() -> Iterator[TestDatabase]:
    """A database of such a server with as many tables as a stock pg_dump just manages."""
    with open_folder() as folder, NarrowPostgres(folder / "pg", fast=True) as server, scratch_database(server) as found:
        make_tables(found, 0, FITS_ONCE)
        yield found


def make_tables(database: TestDatabase, first: int, end: int) -> None:
    """Tables of one row each; not all in one transaction, which would run out of locks itself."""
    for start in range(first, end, 40):
        database.execute(";".join(f"CREATE TABLE t{n} AS SELECT {n} AS id" for n in range(start, min(start + 40, end))))


def test_a_backup_needs_no_more_locks_than_a_stock_pg_dump(narrow: TestDatabase, tmp_path: Path) -> None:
    output_of([str(binaries() / "pg_dump"), "-f", "/dev/null", "-d", narrow.url])
    service = make_site(narrow, tmp_path / "backups", filled=False).service()
    taken = take_backup(service, BackupRequest(tier=Tier.MANUAL))
    assert taken is not None
    assert (taken.backup.tables, taken.backup.rows, taken.warnings) == (FITS_ONCE, FITS_ONCE, [])
    asked = RestoreRequest.parse(service, backup=taken.backup.id, mode=Mode.REPLACE, confirm=narrow.name)
    assert not restore(service, asked).warnings

    make_tables(narrow, FITS_ONCE, 3 * FITS_ONCE)
    with pytest.raises(LockTableFullError) as caught:
        take_backup(service, BackupRequest(tier=Tier.MANUAL))
    assert "the server's table of locks is full (max_locks_per_transaction)" in caught.value.message
    assert "ALTER SYSTEM SET max_locks_per_transaction = " in caught.value.hint
    assert len(caught.value.message) < 600  # none of the names that pg_dump lists


def test_a_table_that_is_rewritten_before_pg_dump_has_locked_it_is_noticed(empty_database: TestDatabase) -> None:
    empty_database.execute("CREATE TABLE people AS SELECT 1 AS id")
    database = Database.from_url(empty_database.url)
    with (
        database.connect() as connection,
        exported_snapshot(connection, EarlyReader(None, AttemptHistory()), unlocked=True) as snapshot,
    ):
        assert snapshot.unlocked
        require_as_shown(connection)
        empty_database.execute("INSERT INTO people VALUES (2); ANALYZE people")
        require_as_shown(connection)
        empty_database.execute("TRUNCATE people")
        assert connection.execute("SELECT count(*) FROM public.people").fetchall() == [(0,)]  # as if it had been empty
        with pytest.raises(ChangedError, match="altered before pg_dump locked it"):
            require_as_shown(connection)
