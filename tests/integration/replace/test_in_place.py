"""Replace in place: one transaction of the live database, for a role that may not create another."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from app.archive.manifest import ServerFacts
from app.archive.reader import Archive
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres, binaries
from app.errors import (
    BackupCancelledError,
    Cancelled,
    RestoreBusyError,
    RestoreDataError,
    RestorePermissionError,
    RestoreValidationError,
    TargetUnavailableError,
)
from app.ports.target import LoadOptions
from app.postgres import lock_retries
from app.postgres.database import Database
from app.postgres.load.loader import load
from tests.fix_archives import archive_of, as_role, foreign, target, text_of, whole
from tests.fix_matrix import Major, at_home, running_major, torment
from tests.fix_postgres import TestDatabase, scratch_database
from tests.tiers import majors, sample_of, thorough_at

MAJORS = majors(18)
PG_DUMP = str(binaries() / "pg_dump")
CONTENT = """
    CREATE SCHEMA app; CREATE TABLE app.users (id serial PRIMARY KEY, name text NOT NULL, h public.hstore);
    INSERT INTO app.users (name, h) SELECT 'secret ' || i, 'a=>1' FROM generate_series(1, 500) i;
    CREATE TABLE notes (id int PRIMARY KEY, "user" int REFERENCES app.users, "text" text);
    INSERT INTO notes SELECT i, i % 500 + 1, repeat('note', i % 50) FROM generate_series(1, 3000) i;
    CREATE INDEX ON notes ("user"); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE TYPE mood AS ENUM ('a', 'b'); CREATE VIEW seen AS SELECT * FROM notes;
    SELECT lo_from_bytea(4711, 'large'), lo_from_bytea(4712, decode(repeat('ab', 2500000), 'hex')), lo_create(4713);"""
DAMAGE = """
    DELETE FROM notes WHERE id > 10; DROP TABLE app.users CASCADE; CREATE SCHEMA "more ""x"; DROP FUNCTION f();
    CREATE TABLE "more ""x".t (m mood); ALTER TYPE mood ADD VALUE 'c'; CREATE MATERIALIZED VIEW late AS SELECT 1 AS a;
    CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int);
    CREATE AGGREGATE counted (*) (SFUNC = int8inc, STYPE = int8, INITCOND = '0');
    CREATE PROCEDURE p(a int) LANGUAGE sql AS 'SELECT 1'; CREATE SEQUENCE loose; CREATE TYPE pair AS (a int, b mood);
    SELECT lo_unlink(4711), lo_from_bytea(99, 'other'); CREATE STATISTICS st ON id, "user" FROM notes;
    CREATE OPERATOR === (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int); CREATE COLLATION own FROM "C";
    CREATE TEXT SEARCH CONFIGURATION search (COPY = simple); CREATE TEXT SEARCH DICTIONARY dict (TEMPLATE = simple);
    CREATE CAST (pair AS text) WITH INOUT; CREATE TYPE span AS RANGE (subtype = float8);
    CREATE CONVERSION conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
    ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT ALL ON SEQUENCES TO PUBLIC"""


@pytest.fixture(scope="module", params=MAJORS, ids=lambda each: f"PostgreSQL {each}")
def major(request: pytest.FixtureRequest) -> Iterator[Major]:
    with running_major(request.param) as found:
        yield found


@pytest.fixture
def owned(postgres_server: EmbeddedPostgres) -> Iterator[TestDatabase]:
    """A database of a role that may not create another; an extension in it belongs to the superuser."""
    with scratch_database(postgres_server) as database:
        with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
            connection.execute("CREATE ROLE keeper LOGIN PASSWORD 'secret'")
            connection.execute(f"ALTER DATABASE {database.name} OWNER TO keeper".encode())
            connection.execute(f"REVOKE CONNECT ON DATABASE {database.name} FROM PUBLIC".encode())
        database.execute("CREATE EXTENSION hstore; COMMENT ON EXTENSION hstore IS 'not the keeper''s'")
        its = TestDatabase(database.name, as_role(database.url, "keeper"))
        its.execute(CONTENT)
        yield its
        database.execute("DROP OWNED BY keeper CASCADE")
        database.execute(f"ALTER DATABASE {database.name} OWNER TO postgres")
        with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
            connection.execute("DROP ROLE keeper")


def restore(database: TestDatabase, archive: Archive, facts: ServerFacts | None) -> tuple[list[str], str]:
    said: list[str] = []
    remarks = target(database, 1).replace_in_place(archive, facts, said.append)
    (transaction,) = said
    return remarks, transaction


def state(database: TestDatabase) -> object:
    return whole(database, PG_DUMP)


@pytest.mark.parametrize("codec", sample_of([Codec.ZSTD, Codec.NONE], chosen=(0,)))
def test_everything_that_pg_dump_carries_is_replaced(
    major: Major, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(major, monkeypatch)
    pg_dump = str(major.programs / "pg_dump")
    with major.database("torture") as database, major.database("twin") as twin:
        torment(major, database)
        archive, facts = archive_of(database, codec)
        load(Database.from_url(twin.url), archive, 2)
        expected = whole(twin, pg_dump)
        remarks, transaction = restore(database, archive, facts)
        assert remarks == []
        assert whole(database, pg_dump) == expected
        assert target(database).committed(transaction) is True
        assert target(database).prove("torture", archive, LoadOptions(facts=facts), lambda _: None) == []


def test_an_owner_without_createdb_replaces_what_is_there(owned: TestDatabase) -> None:
    archive, facts = archive_of(owned)
    before = state(owned)
    owned.execute(DAMAGE)
    assert not target(owned).facts().may_create
    remarks, transaction = restore(owned, archive, facts)
    assert state(owned) == before
    assert target(owned).committed(transaction) is True
    assert any("EXTENSION hstore is left as it is" in each for each in remarks)
    analyzed = "SELECT reltuples FROM pg_class WHERE relname = 'notes'"
    assert owned.query(analyzed) == [(3000,)]


def test_a_foreign_dump_is_restored_in_place_too(owned: TestDatabase) -> None:
    archive, _ = archive_of(owned)
    before = state(owned)
    owned.execute(DAMAGE)
    restore(owned, foreign(text_of(archive)), None)
    assert state(owned) == before


LAST = b"--\n-- PostgreSQL database dump complete\n"
FAULTS = {
    "a syntax error": (LAST, b"CREATE TABLE x NONSENSE;\n" + LAST, RestoreDataError, "syntax error"),
    "a duplicate key": (b"\n2999\t", b"\n3000\t", RestoreDataError, "could not create unique index"),
    "a missing parent": (b"\n2999\t500\t", b"\n2999\t999\t", RestoreDataError, "violates foreign key"),
    "a wrong value": (b"\n2999\t500\t", b"\nsecret\t500\t", RestoreDataError, r"line \d+ of its rows, column id"),
    "a missing role": (LAST, b"ALTER TABLE public.notes OWNER TO nobody_here;\n" + LAST, RestoreDataError, "role"),
    "a foreign owner": (LAST, b"ALTER TABLE public.notes OWNER TO postgres;\n" + LAST, RestorePermissionError, "ROLE"),
    "a command": (LAST, b"\\! id\n" + LAST, RestoreValidationError, "psql command"),
    "an early commit": (LAST, b"COMMIT;\nCREATE TABLE x NONSENSE;\n" + LAST, RestoreDataError, "syntax error"),
}  # fmt: skip
_LIKE_OTHERS = ("a foreign owner", "a missing role", "a wrong value", "a missing parent", "a syntax error")


@pytest.mark.parametrize("fault", thorough_at(FAULTS, *_LIKE_OTHERS))
def test_a_failure_in_the_middle_leaves_everything_as_it_was(owned: TestDatabase, fault: str) -> None:
    old, new, error, message = FAULTS[fault]
    archive, _ = archive_of(owned)
    text = text_of(archive)
    assert old in text
    owned.execute(DAMAGE)
    before = state(owned)
    with pytest.raises(error, match=message) as caught:
        restore(owned, foreign(text.replace(old, new, 1)), None)
    assert caught.value.hint
    assert "secret" not in caught.value.message
    assert state(owned) == before
    nobody_is_left(owned)


def test_what_the_proof_finds_is_rolled_back(owned: TestDatabase) -> None:
    archive, facts = archive_of(owned)
    before = state(owned)
    rows = [each for each in text_of(archive).split(b"\n") if each.startswith(b"2999\t")]
    changed = foreign(text_of(archive).replace(rows[0], rows[0] + b"x"))
    with pytest.raises(RestoreDataError, match=r"rows of table public\.notes differ") as caught:
        restore(owned, Lying(changed, archive), facts)
    assert caught.value.hint
    assert state(owned) == before


class Lying(Archive):
    """An archive whose text is another than its digests say."""

    def __init__(self, text: Archive, digests: Archive) -> None:
        super().__init__(text._open, Codec.NONE, replace(text.index, tables=digests.index.tables))


def test_what_happens_before_the_commit_rolls_back(owned: TestDatabase) -> None:
    archive, facts = archive_of(owned)
    owned.execute(DAMAGE)
    before = state(owned)
    said: list[str] = []

    def refuse(transaction: str) -> None:
        said.append(transaction)
        assert target(owned).committed(transaction) is None  # it runs
        raise Cancelled(BackupCancelledError("cancelled"))

    with pytest.raises(Cancelled):
        target(owned).replace_in_place(archive, facts, refuse)
    assert state(owned) == before
    assert target(owned).committed(said[0]) is False
    assert target(owned).committed("2000000000") is False  # was never begun


def test_a_lost_connection_is_a_passing_failure(owned: TestDatabase) -> None:
    archive, facts = archive_of(owned)
    before = state(owned)

    def kill(_: str) -> None:
        owned.query(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state = 'idle in transaction'"
        )

    with pytest.raises(TargetUnavailableError) as caught:
        target(owned).replace_in_place(archive, facts, kill)
    assert caught.value.hint
    assert state(owned) == before


def test_a_locked_table_is_an_error_of_its_own(owned: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_retries, "LOCK_WAIT_MS", 300)
    archive, facts = archive_of(owned)
    before = state(owned)
    with psycopg.connect(owned.url) as reader:
        reader.execute("SELECT FROM notes LIMIT 1")
        with pytest.raises(RestoreBusyError, match="lock timeout") as caught:
            restore(owned, archive, facts)
        assert "pg_stat_activity" in caught.value.hint
        reader.rollback()
    assert state(owned) == before


def test_a_cancelled_restore_waits_for_nothing(owned: TestDatabase) -> None:
    archive, facts = archive_of(owned)
    before = state(owned)
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

    def cancel(*_: object) -> None:
        raise Cancelled(BackupCancelledError("cancelled"))

    def interrupt() -> None:
        while not owned.query(waiting):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGUSR1)

    thread = threading.Thread(target=interrupt)
    handler = signal.signal(signal.SIGUSR1, cancel)
    try:
        with psycopg.connect(owned.url) as reader:
            reader.execute("SELECT FROM notes LIMIT 1")
            thread.start()
            with pytest.raises(Cancelled):
                restore(owned, archive, facts)
            thread.join()
            reader.rollback()
    finally:
        signal.signal(signal.SIGUSR1, handler)
    nobody_is_left(owned)
    assert state(owned) == before


def test_what_is_somebody_elses_is_not_dropped(owned: TestDatabase, postgres_server: EmbeddedPostgres) -> None:
    admin = TestDatabase(owned.name, postgres_server.url(owned.name))
    archive, facts = archive_of(owned)
    admin.execute("CREATE SCHEMA foreign_soil; CREATE TABLE foreign_soil.t (a int)")
    before = whole(admin, PG_DUMP)
    with pytest.raises(RestorePermissionError, match="foreign_soil") as caught:
        restore(owned, archive, facts)
    assert caught.value.hint
    assert whole(admin, PG_DUMP) == before


def test_a_subscription_is_not_dropped(owned: TestDatabase, postgres_server: EmbeddedPostgres) -> None:
    admin = TestDatabase(owned.name, postgres_server.url(owned.name))
    archive, facts = archive_of(owned)
    admin.execute(
        "CREATE SUBSCRIPTION sub CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p"
        " WITH (connect = false, slot_name = NONE)"
    )
    try:
        with pytest.raises(RestoreValidationError, match="sub") as caught:
            restore(admin, archive, facts)
        assert 'DROP SUBSCRIPTION "sub"' in caught.value.hint
    finally:
        admin.execute("DROP SUBSCRIPTION sub")


def test_a_server_killed_while_it_restores_has_what_it_had(own_postgres_server: EmbeddedPostgres) -> None:
    server = own_postgres_server
    with scratch_database(server) as database:
        database.execute("CREATE EXTENSION hstore")
        database.execute(CONTENT)
        archive, facts = archive_of(database)
        database.execute("DELETE FROM notes")
        database.execute(
            "CHECKPOINT"
        )  # in a transaction of its own: the server does not wait for commits to reach the disk
        before = state(database)
        said: list[str] = []

        def kill(transaction: str) -> None:
            said.append(transaction)
            server.kill()

        with pytest.raises(TargetUnavailableError):
            target(database).replace_in_place(archive, facts, kill)
        server.start()
        assert state(database) == before
        assert target(database).committed(said[0]) is False
        restore(database, archive, facts)
        assert database.query("SELECT count(*) FROM notes") == [(3000,)]


def nobody_is_left(database: TestDatabase) -> None:
    left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    for _ in range(50):
        if database.query(left) == [(0,)]:
            return
        database.query("SELECT pg_sleep(0.1)")
    pytest.fail("connections are still open")
