"""The swap of two databases: in a moment, whoever is connected, and done or not done whatever dies."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from app.embedded.postgres import EmbeddedPostgres
from app.errors import (
    BackupCancelledError,
    Cancelled,
    RestoreBusyError,
    RestorePermissionError,
    RestoreValidationError,
    TargetUnavailableError,
)
from app.postgres.database import Database
from app.postgres.replace import swap as swapping
from app.postgres.replace.swap import swap
from app.postgres.target import PostgresTarget
from tests.fix_archives import Names, as_role, database, three_databases
from tests.fix_cluster_copies import CopiedPostgres
from tests.fix_postgres import TestDatabase

SAID = "SELECT name FROM said"
STANDING = "SELECT datname FROM pg_database WHERE datname = ANY (%s)"
CLIENTS = 20


@pytest.fixture
def names(postgres_server: EmbeddedPostgres) -> Iterator[Names]:
    with three_databases(postgres_server) as found:
        yield found


@pytest.fixture
def role(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A role that may create databases, and no more."""
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE swapper LOGIN CREATEDB PASSWORD 'secret'")
        yield "swapper"
        connection.execute("DROP ROLE swapper")


@pytest.fixture
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swapping, "GIVE_UP_SECONDS", 1.0)


def live(server: EmbeddedPostgres, names: Names) -> Database:
    return Database.from_url(server.url(names.live))


def standing(server: EmbeddedPostgres, names: Names) -> set[str]:
    rows = database(server, "postgres").query(STANDING, [names.live, names.new, names.old])
    return {name for (name,) in rows}


def assert_before(server: EmbeddedPostgres, names: Names) -> None:
    assert standing(server, names) == {names.live, names.new}
    assert database(server, names.live).query(SAID) == [(names.live,)]


def assert_after(server: EmbeddedPostgres, names: Names) -> None:
    assert standing(server, names) == {names.live, names.old}
    assert database(server, names.live).query(SAID) == [(names.new,)]
    assert database(server, names.old).query(SAID) == [(names.live,)]


def test_two_databases_change_places_and_back(postgres_server: EmbeddedPostgres, names: Names) -> None:
    target = PostgresTarget(live(postgres_server, names))
    seconds = target.swap(names.new, names.live, names.old)
    assert seconds > 0
    assert_after(postgres_server, names)
    target.swap(names.old, names.live, names.new)
    assert_before(postgres_server, names)


def test_a_live_database_that_is_missing_just_gets_the_new_one(postgres_server: EmbeddedPostgres, names: Names) -> None:
    database(postgres_server, "postgres").execute(f"DROP DATABASE {names.live}")
    swap(live(postgres_server, names), names.new, names.live, names.old)
    assert standing(postgres_server, names) == {names.live}
    assert database(postgres_server, names.live).query(SAID) == [(names.new,)]


def test_busy_sessions_come_back_to_the_new_data(postgres_server: EmbeddedPostgres, names: Names) -> None:
    over = threading.Event()
    seen: list[list[str]] = [[] for _ in range(CLIENTS)]

    def client(answers: list[str]) -> None:
        """What an application's pool does: connect again at once, and again."""
        while not over.is_set():
            with (
                contextlib.suppress(psycopg.OperationalError),
                psycopg.connect(postgres_server.url(names.live), autocommit=True) as connection,
            ):
                while not over.is_set():
                    (answer,) = connection.execute(SAID).fetchone() or ("",)
                    if not answers or answers[-1] != answer:
                        answers.append(answer)

    threads = [threading.Thread(target=client, args=(answers,)) for answers in seen]
    for thread in threads:
        thread.start()
    try:
        wait(lambda: all(seen))
        seconds = swap(live(postgres_server, names), names.new, names.live, names.old)
        wait(lambda: all(answers[-1] == names.new for answers in seen))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert seen == [[names.live, names.new]] * CLIENTS  # nobody saw the old data after the new
    assert seconds < 2
    assert_after(postgres_server, names)


def wait(condition: object, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.usefixtures("_no_patience")
def test_a_session_that_the_role_may_not_end_is_named_and_nobody_else_is_ended(
    postgres_server: EmbeddedPostgres, role: str, names: Names
) -> None:
    admin = database(postgres_server, "postgres")
    for name in (names.live, names.new):
        admin.execute(f"ALTER DATABASE {name} OWNER TO {role}")
    its = Database.from_url(as_role(postgres_server.url(names.live), role))
    with (
        psycopg.connect(postgres_server.url(names.live), application_name="stubborn") as session,
        psycopg.connect(its.conninfo, password=its.password, autocommit=True) as other,
    ):
        with pytest.raises(RestoreBusyError, match=f"pid {session.info.backend_pid} of user postgres") as caught:
            swap(its, names.new, names.live, names.old)
        assert "nothing was renamed" in caught.value.message
        assert caught.value.hint
        assert other.execute("SELECT 1").fetchone() == (1,)
        assert_before(postgres_server, names)
    swap(its, names.new, names.live, names.old)
    assert_after(postgres_server, names)


@pytest.mark.usefixtures("_no_patience")
def test_a_role_without_rights_is_told_so_and_nothing_is_renamed(
    postgres_server: EmbeddedPostgres, role: str, names: Names
) -> None:
    its = Database.from_url(as_role(postgres_server.url(names.live), role))
    with pytest.raises(RestorePermissionError, match="must be owner") as caught:
        swap(its, names.new, names.live, names.old)
    assert "CREATEDB" in caught.value.hint
    assert_before(postgres_server, names)


def test_what_does_not_stand_as_expected_is_said(postgres_server: EmbeddedPostgres, names: Names) -> None:
    its = live(postgres_server, names)
    with pytest.raises(RestoreValidationError, match="there is no database") as caught:
        swap(its, "none_such", names.live, names.old)
    assert caught.value.hint
    with pytest.raises(RestoreValidationError, match="already") as caught:
        swap(its, names.new, names.live, "template1")
    assert caught.value.hint
    assert_before(postgres_server, names)


def test_a_cancelled_swap_lets_everybody_in_again(
    postgres_server: EmbeddedPostgres, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions that the swap would wait for are kept alive; the cancellation comes while it waits."""
    monkeypatch.setattr(swapping, "_END", "SELECT %s")
    admin = database(postgres_server, "postgres")

    def cancel(*_: object) -> None:
        raise Cancelled(BackupCancelledError("cancelled"))

    def interrupt() -> None:
        waiting = "SELECT FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE%%RENAME%%' AND state = 'active'"
        wait(lambda: admin.query(waiting))
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, cancel)
    thread = threading.Thread(target=interrupt)
    try:
        with psycopg.connect(postgres_server.url(names.live)):
            thread.start()
            with pytest.raises(Cancelled):
                swap(live(postgres_server, names), names.new, names.live, names.old)
            thread.join()
            assert_before(postgres_server, names)
            renaming = "SELECT FROM pg_stat_activity WHERE query LIKE 'ALTER DATABASE%%RENAME%%' AND state = 'active'"
            wait(lambda: not admin.query(renaming), 2)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert not [each for each in threading.enumerate() if each.name == "restore-swap"]
    swap(live(postgres_server, names), names.new, names.live, names.old)
    assert_after(postgres_server, names)


class Prepared(CopiedPostgres):
    """A server that takes prepared transactions."""

    def _options(self, sockets: object) -> list[str]:
        return [*super()._options(sockets), "--max_prepared_transactions=5"]  # type: ignore[arg-type]


@pytest.mark.usefixtures("_no_patience")
def test_a_prepared_transaction_is_named(server_folder: object) -> None:
    with Prepared(server_folder / "postgres", fast=True) as server, three_databases(server) as names:  # type: ignore[operator]
        its = PostgresTarget(live(server, names))
        prepare(database(server, names.live), "left behind")
        assert its.facts().prepared == ("left behind",)
        with pytest.raises(RestoreBusyError, match="prepared transaction left behind") as caught:
            its.swap(names.new, names.live, names.old)
        assert "ROLLBACK PREPARED" in caught.value.hint
        prepare(database(server, names.new), "in the new one")
        with pytest.raises(RestoreBusyError, match="prepared transaction") as caught:
            its.drop(names.new)
        assert caught.value.hint
        for name, gid in ((names.live, "left behind"), (names.new, "in the new one")):
            database(server, name).execute(f"ROLLBACK PREPARED '{gid}'")
        assert_before(server, names)
        its.swap(names.new, names.live, names.old)
        assert_after(server, names)


def prepare(where: TestDatabase, gid: str) -> None:
    where.execute(f"BEGIN; INSERT INTO said VALUES ('never'); PREPARE TRANSACTION '{gid}'")


def test_a_server_killed_at_any_moment_has_done_all_of_it_or_nothing(own_postgres_server: EmbeddedPostgres) -> None:
    server = own_postgres_server
    outcomes = set()
    with three_databases(server) as names:
        for delay in (0.0, 0.01, 0.02, 0.04, 0.06, 0.08, 0.12, 0.16):
            error: list[BaseException] = []

            def attempt(errors: list[BaseException] = error) -> None:
                try:
                    swap(live(server, names), names.new, names.live, names.old)
                except TargetUnavailableError as failure:
                    errors.append(failure)

            busy = psycopg.connect(server.url(names.live))  # what makes the rename wait a little
            thread = threading.Thread(target=attempt)
            thread.start()
            time.sleep(delay)
            server.kill()
            thread.join()
            with contextlib.suppress(psycopg.Error):
                busy.close()
            server.start()
            done = names.old in standing(server, names)
            (assert_after if done else assert_before)(server, names)
            assert error or done
            outcomes.add(done)
            if done:
                swap(live(server, names), names.old, names.live, names.new)
    assert False in outcomes
