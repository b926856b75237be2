"""A replace from its beginning to its rollback, on the server's side; and what the server's errors mean."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from app.embedded.postgres import EmbeddedPostgres, binaries
from app.errors import (
    RestoreBusyError,
    RestoreDataError,
    RestoreError,
    RestorePermissionError,
    RestoreStorageError,
    RestoreValidationError,
    TargetUnavailableError,
)
from app.ports.target import LoadOptions, Target
from app.postgres.database import Database
from app.postgres.session import restore_session
from app.postgres.target import PostgresTarget
from tests.fix_archives import archive_of, as_role, database, whole
from tests.fix_postgres import TestDatabase, scratch_database

PG_DUMP = str(binaries() / "pg_dump")
CONTENT = """
    CREATE TABLE a (id serial PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
    INSERT INTO a (v) SELECT repeat('v', i % 90) FROM generate_series(1, 50000) i; CREATE INDEX ON a (v);
    INSERT INTO b SELECT i, i FROM generate_series(1, 9000) i; SELECT lo_from_bytea(4711, 'large')"""
# SQLSTATE -> the error, and a word of its hint
MEANINGS = {
    "42501": (RestorePermissionError, "owner"),
    "55P03": (RestoreBusyError, "pg_locks"),
    "40P01": (RestoreBusyError, "stop whatever writes"),
    "55006": (RestoreBusyError, "pg_prepared_xacts"),
    "53100": (RestoreStorageError, "free space"),
    "53200": (RestoreDataError, "memory"),
    "57P01": (TargetUnavailableError, "log"),
    "XX000": (RestoreDataError, "server's"),
}


@pytest.fixture
def live(postgres_server: EmbeddedPostgres) -> Iterator[TestDatabase]:
    """The database of a role that may create others; closed to writers for the restore, as people do."""
    with scratch_database(postgres_server) as found:
        admin = database(postgres_server, "postgres")
        admin.execute("CREATE ROLE restorer LOGIN CREATEDB PASSWORD 'secret'")
        admin.execute(f"ALTER DATABASE {found.name} OWNER TO restorer")
        its = TestDatabase(found.name, as_role(found.url, "restorer"))
        its.execute(CONTENT)
        its.execute(f"ALTER DATABASE {found.name} SET default_transaction_read_only = on")
        yield its
        for name in (found.name, f"{found.name}_new", f"{found.name}_old"):
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute("DROP ROLE restorer")


def test_a_replace_of_a_closed_database_step_by_step_and_back(live: TestDatabase) -> None:
    archive, facts = archive_of(live)
    before = whole(live, PG_DUMP)
    live.execute("BEGIN READ WRITE; DELETE FROM b; DROP TABLE a CASCADE; COMMIT")
    damaged = whole(live, PG_DUMP)
    target: Target = PostgresTarget(Database.from_url(live.url), 2)  # type: ignore[assignment] # merging is to come
    new, old = f"{live.name}_new", f"{live.name}_old"
    target.create(new, facts)
    loaded = target.load(new, archive, LoadOptions(facts=facts), lambda _: None)
    assert sum(loaded.rows.values()) == 59000
    assert target.prove(new, archive, LoadOptions(facts=facts), lambda _: None) == []
    target.swap(new, live.name, old)
    assert whole(live, PG_DUMP) == before
    target.swap(old, live.name, new)
    assert whole(live, PG_DUMP) == damaged
    target.drop(new)
    assert target.databases().keys() & {new, old} == set()
    assert not [each for each in threading.enumerate() if each.name.startswith(("load-", "range-", "restore-", "p"))]


def test_a_load_takes_as_many_connections_as_there_are(live: TestDatabase) -> None:
    archive, facts = archive_of(live)
    live.execute(f"BEGIN READ WRITE; ALTER DATABASE {live.name} CONNECTION LIMIT 3; COMMIT")
    target = PostgresTarget(Database.from_url(live.url), 8)
    target.create(f"{live.name}_new", facts)
    target.load(f"{live.name}_new", archive, LoadOptions(facts=facts), lambda _: None)
    assert target.prove(f"{live.name}_new", archive, LoadOptions(facts=facts), lambda _: None) == []


def test_a_database_that_is_not_empty_is_not_loaded_into(live: TestDatabase) -> None:
    archive, facts = archive_of(live)
    with pytest.raises(RestoreValidationError, match="not empty") as caught:
        PostgresTarget(Database.from_url(live.url)).load(live.name, archive, LoadOptions(facts=facts), lambda _: None)
    assert caught.value.hint


def test_a_database_that_is_missing_is_no_place_to_restore_to(live: TestDatabase) -> None:
    archive, facts = archive_of(live)
    target = PostgresTarget(Database.from_url(live.url))
    for act in (
        lambda: target.load("none_such", archive, LoadOptions(facts=facts), lambda _: None),
        lambda: target.prove("none_such", archive, LoadOptions(facts=facts), lambda _: None),
    ):
        with pytest.raises(RestoreError, match="none_such") as caught:
            act()
        assert caught.value.hint


@pytest.mark.parametrize("code", MEANINGS)
def test_what_the_server_says_has_one_meaning(empty_database: TestDatabase, code: str) -> None:
    error, hint = MEANINGS[code]
    raising = f"DO $$ BEGIN RAISE 'it fails' USING ERRCODE = '{code}'; END $$"
    with (
        restore_session(Database.from_url(empty_database.url), 1) as its,
        pytest.raises(error, match=r"a test: .*it fails") as caught,
    ):
        its.run(raising.encode(), "a test")
    assert type(caught.value) is error
    assert hint in caught.value.hint


def test_a_transaction_is_known_while_it_runs_and_after(empty_database: TestDatabase) -> None:
    target = PostgresTarget(Database.from_url(empty_database.url))
    mine = "SELECT pg_current_xact_id()::text"
    with psycopg.connect(empty_database.url) as connection:
        for end, outcome in ((connection.commit, True), (connection.rollback, False)):
            ((transaction,),) = connection.execute(mine).fetchall()
            assert target.committed(transaction) is None
            end()
            assert target.committed(transaction) is outcome
    assert target.committed("2000000000") is False
    assert target.committed("4") is None  # so old that the server forgot
