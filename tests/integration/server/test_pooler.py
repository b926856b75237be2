"""A pooler between the service and the server: one that shares sessions is named at once, another one does no harm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.errors import PoolerError, RestoreError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.restore.preview import diff
from app.postgres.database import Database
from app.postgres.pooler import backend_pid
from app.postgres.target import PostgresTarget
from tests.fix_pooler import pooled
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, make_site


@pytest.fixture
def pool(empty_database: TestDatabase, postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The beginning of a URL: the database by its own name keeps its sessions, by three others they are shared."""
    empty_database.execute("CREATE TABLE people AS SELECT g AS id FROM generate_series(1, 100) g")
    behind = f"dbname={empty_database.name}"
    databases = {
        empty_database.name: "pool_mode=session",
        "postgres": "dbname=postgres",
        "shared": behind,
        "shared_one": f"{behind} pool_size=1",
        "by_statement": f"{behind} pool_mode=statement",
    }
    with pooled(postgres_server, databases) as url:
        yield url


def test_a_pooler_that_shares_sessions_is_named_before_anything_is_done(
    pool: str, empty_database: TestDatabase, tmp_path: Path
) -> None:
    for name, mode in (("shared", "transaction"), ("shared_one", "transaction"), ("by_statement", "statement")):
        database = Database.from_url(pool + name)
        with pytest.raises(PoolerError) as caught, database.connect():
            pytest.fail("a connection came about")
        assert f"a connection pooler in {mode} mode (pgbouncer: pool_mode = {mode})" in caught.value.message
        assert "pool_mode = session" in caught.value.hint
        with pytest.raises(RestoreError, match="a connection pooler in transaction mode"):
            PostgresTarget(database).facts()

    # What the application gets of the pool's sessions is as before: a limit of ours would be its limit.
    with psycopg.connect(pool + "shared", autocommit=True) as application:
        application.execute("BEGIN")
        assert application.execute("SHOW lock_timeout").fetchall() == [("0",)]

    done = make_site(empty_database, tmp_path / "backups", filled=False, url=pool + "shared").cli("create", "manual")
    assert done.code == PoolerError.exit_code
    assert "is a connection pooler in transaction mode" in done.stderr
    assert not list((tmp_path / "backups").rglob("*.sql*"))


def test_a_pooler_that_leaves_a_client_its_session_does_no_harm(
    pool: str, empty_database: TestDatabase, tmp_path: Path
) -> None:
    site: Site = make_site(empty_database, tmp_path / "backups", filled=False, url=pool + empty_database.name)
    service = site.service()
    taken = take_backup(service, BackupRequest(tier=Tier.MANUAL))
    assert taken is not None
    assert (taken.backup.rows, taken.warnings) == (100, [])
    empty_database.execute("DELETE FROM people WHERE id > 90")
    assert diff(service, taken.backup.id, None).total("inserted") == 10

    # Who waits for a session of ours is found by the server's number of it, which the pooler does not tell.
    with Database.from_url(pool + empty_database.name).connect() as connection:
        pid = backend_pid(connection)
        assert pid != connection.info.backend_pid
        assert empty_database.query("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid) == [(1,)]
