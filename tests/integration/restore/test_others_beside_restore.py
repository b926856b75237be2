"""Strong locks on live tables beside an open transaction: who comes after us is not held up by our waiting."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest

from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreBusyError
from app.postgres import lock_retries
from app.postgres.database import Database
from app.postgres.dump import watch
from app.postgres.merge.plan import Planner
from app.postgres.replace import swap
from app.postgres.replace.in_place import replace_in_place
from tests.fix_merge import archive_of, beside, merge, request, undo
from tests.fix_postgres import TestDatabase, copy_of_all_tables, scratch_database
from tests.fix_sessions import Beside, ours_waits

SCHEMA = """
    CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
    CREATE TABLE shifts (id int PRIMARY KEY, person int REFERENCES people, note text);
    INSERT INTO people (name) SELECT 'person ' || i FROM generate_series(1, 20) i;
    INSERT INTO shifts SELECT i, 1 + i % 20, 'note' FROM generate_series(1, 50) i"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_retries, "ATTEMPT_MS", 300)
    monkeypatch.setattr(lock_retries, "PAUSE_SECONDS", 0.1)


@pytest.fixture
def database(empty_database: TestDatabase) -> TestDatabase:
    empty_database.execute(SCHEMA)
    return empty_database


@contextmanager
def running(work: Callable[[], object]) -> Iterator[None]:
    """Work in a thread that must come to a good end."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 -- it is raised by the test
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield
    thread.join()
    assert not errors


@pytest.mark.parametrize("by", ["merge", "undo", "in place"])
def test_a_strong_lock_that_waits_for_an_open_transaction_holds_up_no_third(database: TestDatabase, by: str) -> None:
    archive, before = archive_of(database), copy_of_all_tables(database.url)
    database.execute("DELETE FROM shifts")
    if by == "undo":
        _, script = merge(database, archive, request())
        before['"public"."shifts"'] = (0, before['"public"."shifts"'][1])
    work: dict[str, Callable[[], object]] = {
        "merge": lambda: merge(database, archive, request()),
        "undo": lambda: undo(database, script),
        "in place": lambda: replace_in_place(Database.from_url(database.url), archive, None, lambda _: None),
    }
    mode = "AccessExclusiveLock" if by == "in place" else "ShareRowExclusiveLock"
    writes = "SELECT FROM shifts" if by == "in place" else "UPDATE shifts SET note = note WHERE false"
    with psycopg.connect(database.url) as other:
        other.execute(writes.encode())
        with running(work[by]):
            ours_waits(database, mode)
            third = Beside(database, writes).start().wait()
            other.commit()
    assert third.error is None
    assert {name: its[0] for name, its in copy_of_all_tables(database.url).items()} == {
        name: its[0] for name, its in before.items()
    }


def test_a_merge_that_must_alter_a_table_locks_it_at_the_start_of_the_next_attempt(database: TestDatabase) -> None:
    archive, before = archive_of(database), copy_of_all_tables(database.url)
    database.execute("CREATE RULE heard AS ON UPDATE TO people DO ALSO SELECT 1; UPDATE people SET name = 'x'")
    with psycopg.connect(database.url) as other:
        other.execute("SELECT FROM people")
        with running(lambda: merge(database, archive, request())):
            ours_waits(database, "AccessExclusiveLock")
            third = Beside(database, "SELECT FROM people LIMIT 1", "UPDATE people SET name = name WHERE false")
            assert third.start().wait().error is None
            other.commit()
    assert copy_of_all_tables(database.url) == before


def test_who_stands_in_the_way_of_a_merge_is_named(database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_retries, "LOCK_WAIT_MS", 300)
    archive = archive_of(database)
    database.execute("DELETE FROM shifts")
    with psycopg.connect(database.url, application_name="import") as other:
        other.execute("INSERT INTO people (name) VALUES ('secret value')")
        with pytest.raises(RestoreBusyError) as caught:
            merge(database, archive, request())
        assert f"table public.people is locked by pid {other.info.backend_pid} (application import, INSERT)" in (
            caught.value.message
        )
        assert "secret" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("table", ["people", "bare"])  # of the second no definition is read, only its columns
def test_who_has_a_table_locked_before_a_merge_begins_is_waited_for_and_named(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    database.execute("CREATE TABLE bare (a int); INSERT INTO bare VALUES (1)")
    archive = archive_of(database)
    database.execute("DELETE FROM shifts; DELETE FROM bare")
    with psycopg.connect(database.url, application_name="import") as other:
        other.execute(f"LOCK TABLE {table}".encode())
        with monkeypatch.context() as short:
            short.setattr("app.postgres.dump.give_way.SECONDS", 0.1)
            with pytest.raises(RestoreBusyError) as caught:
                merge(database, archive, request())
        pid = other.info.backend_pid
        held = f"table public.{table} stayed locked by pid {pid} (application import, LOCK TABLE"
        assert held in caught.value.message
        unlocked = threading.Timer(3.0, other.rollback)
        unlocked.start()
        report, _ = merge(database, archive, request())
        assert report.total("inserted") == 51
        unlocked.join()


def test_a_preview_gives_way_to_who_wants_to_alter_what_it_reads(
    database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "GIVE_WAY_SECONDS", 0.2)
    archive, altering = archive_of(database), list[Beside]()
    database.execute("DELETE FROM shifts")
    real = Planner.plan

    def slow(self: Planner) -> None:
        real(self)
        if not altering:
            altering.append(Beside(database, "ALTER TABLE shifts ADD COLUMN more int").start().wait_until_it_waits())
            self._session.execute("SELECT pg_sleep(100)", "a long comparison")

    monkeypatch.setattr(Planner, "plan", slow)
    with beside(database, archive, request()) as found:
        changes = found.preview()
    assert altering[0].wait().error is None
    assert changes.total("inserted") == 50


def test_a_swap_lets_those_who_connect_in_between(
    postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock on the database that somebody holds makes the swap wait, and who connects queues behind that."""
    monkeypatch.setattr(swap, "LOCK_WAIT_MS", 300)
    with scratch_database(postgres_server) as live, scratch_database(postgres_server) as new:
        old, maintenance_database = f"{live.name}_undo", TestDatabase("postgres", postgres_server.url())
        with psycopg.connect(postgres_server.url()) as other:
            other.execute(f"COMMENT ON DATABASE {live.name} IS 'mine'".encode())
            with running(lambda: swap.swap(Database.from_url(live.url), new.name, live.name, old)):
                waits = (
                    "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'object' AND mode = 'AccessExclusiveLock'"
                )
                while not maintenance_database.query(waits):
                    time.sleep(0.01)
                with psycopg.connect(live.url, connect_timeout=5) as third:
                    assert not third.closed
                other.commit()
        with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {old}".encode())


def test_an_inverse_of_an_attempt_that_was_repeated_is_whole(database: TestDatabase) -> None:
    archive = archive_of(database)
    database.execute("CREATE RULE heard AS ON UPDATE TO people DO ALSO SELECT 1; UPDATE people SET name = 'x'")
    changed = copy_of_all_tables(database.url)
    inverse = io.BytesIO()
    with psycopg.connect(database.url) as other, beside(database, archive, request()) as found:
        other.execute("SELECT FROM people")

        def work() -> None:
            found.apply(inverse, lambda _: None)

        with running(work):
            ours_waits(database, "AccessExclusiveLock")
            other.commit()
    undo(database, inverse.getvalue())
    assert copy_of_all_tables(database.url) == changed
