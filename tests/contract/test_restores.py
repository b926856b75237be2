"""What every record of restores does. An adapter joins by a parameter of `url`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.catalog import restores
from app.catalog.engine import make_engine, parse_url
from app.catalog.lazy import LEASE
from app.catalog.restore_store import SqlRestores
from app.domain.restore import Method, Mode, Restore, RestoreState, Step
from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreError, RestoreRunningError
from tests.fix_catalog import make_silent, open_restores
from tests.fix_fork import Conversation
from tests.fix_postgres import scratch_database
from tests.tiers import times

NOW = datetime(2025, 1, 15, 2, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
RESTORE = Restore(
    id="0123456789ab",
    database="residency",
    mode=Mode.REPLACE,
    backup="daily/backup-2025-01-15",
    started_at=NOW,
    heartbeat_at=NOW,
)
# Begins what each line of its standard input names (database, id, key) and says how that went; it holds them while it
# lives.
BEGINNER = f"""
import sys
from datetime import datetime
from app.domain.restore import Method, Mode, Restore, Step
from app.errors import RestoreRunningError
from tests.fix_catalog import open_restores

now = datetime.fromisoformat({NOW.isoformat()!r})
catalog = open_restores(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    database, id, key = line.split()
    try:
        catalog.begin_restore(Restore(id=id, database=database, mode=Mode.MERGE, backup="b", request_key=key,
            started_at=now, heartbeat_at=now, step=Step.SWAPPING))
        print("begun", flush=True)
    except RestoreRunningError as error:
        print(error.message, flush=True)
"""


class Beginner:
    """Another process with the same catalog."""

    def __init__(self, url: str) -> None:
        self.process = Conversation(BEGINNER, url)
        assert self.receive() == "ready"

    def send(self, database: str, restore_id: str, key: str) -> None:
        print(database, restore_id, key, file=self.process.stdin, flush=True)

    def receive(self) -> str:
        return self.process.stdout.readline().strip()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/catalog.db"
        return
    server: EmbeddedPostgres = request.getfixturevalue("postgres_server")
    with scratch_database(server) as database:
        yield database.url.replace("postgresql:", "postgresql+psycopg:")


@pytest.fixture
def catalog(url: str) -> Iterator[SqlRestores]:
    opened = open_restores(url)
    yield opened
    opened.close()


@pytest.fixture
def beginner(url: str, catalog: SqlRestores) -> Iterator[Callable[[], Beginner]]:
    with contextlib.ExitStack() as stack:

        def start() -> Beginner:
            started = Beginner(url)
            stack.enter_context(started.process)
            stack.callback(started.process.kill)
            return started

        yield start


@pytest.fixture
def other(beginner: Callable[[], Beginner]) -> Beginner:
    """Another process that holds a restore."""
    started = beginner()
    started.send("residency", "dead00000000", "theirs")
    assert started.receive() == "begun"
    return started


def recorded(catalog: SqlRestores, restore_id: str = RESTORE.id) -> Restore:
    found = catalog.restore(restore_id)
    assert found is not None
    return found


def test_everything_of_a_restore_comes_back(catalog: SqlRestores) -> None:
    full = replace(
        RESTORE,
        into="staging",
        step=Step.PROVING,
        begun_by="alice@db1",
        rolled_back_by="task 8c1f from db1",
        request_key="task",
        safety="safety/backup-2025-01-15T020000Z",
        shadow="s",
        undo="u",
        transaction="4711",
        undo_until=NOW + timedelta(hours=24),
        method=Method.SHADOW,
        server="7512345678901234567",
        made_oid=4_000_000_001,
        replaced_oid=16385,
        changed_oid=16386,
        paused_replaced=("Größe", "two"),
        paused_made=("three",),
        cause="the server closed the connection",
        before_rollback="safety/backup-2025-01-15T030000Z",
        report={"rows": {"inserted": 3}, "samples": [{"key": {"Größe": None}}]},
        error="RestoreDataError",
        message="a\nmessage",
        hint="a hint",
        finished_at=NOW + SECOND,
    )
    assert all(getattr(full, field.name) is not None for field in fields(Restore))
    catalog.begin_restore(full)
    assert catalog.restore(full.id) == full
    assert catalog.restores("residency") == [full]
    assert catalog.restores("another") == []
    assert catalog.restore("unknown") is None
    other = replace(
        full,
        mode=Mode.MERGE,
        backup="/files/dump.sql",
        into="elsewhere",
        state=RestoreState.ROLLED_BACK,
        step=Step.DONE,
        finished_at=NOW + 2 * SECOND,
        safety="safety/backup-2025-01-15T020001Z",
        shadow="s2",
        undo="u2",
        transaction="4712",
        undo_until=NOW + timedelta(hours=1),
        method=Method.ROWS,
        server="7599999999999999999",
        made_oid=None,
        replaced_oid=4_000_000_002,
        changed_oid=4_000_000_003,
        paused_replaced=(),
        paused_made=("four",),
        cause="another cause",
        before_rollback="safety/backup-2025-01-15T030001Z",
        report={},
        error="RestoreError",
        message="another message",
        hint="another hint",
    )
    catalog.save_restore(other)
    assert catalog.restore(full.id) == other


def test_what_is_not_known_yet_comes_back_as_unknown(catalog: SqlRestores) -> None:
    catalog.begin_restore(RESTORE)
    assert catalog.restore(RESTORE.id) == RESTORE


def test_restores_are_listed_newest_first(catalog: SqlRestores) -> None:
    for number in range(3):
        its = replace(RESTORE, id=f"{number:012}", started_at=NOW + number * SECOND, state=RestoreState.COMPLETE)
        catalog.begin_restore(its)
    assert [each.id[-1] for each in catalog.restores("residency")] == ["2", "1", "0"]


def test_a_second_restore_of_the_database_is_refused_and_names_the_first(catalog: SqlRestores) -> None:
    catalog.begin_restore(RESTORE)
    with pytest.raises(RestoreRunningError, match=r"restore 0123456789ab .* is under way, in step: checking"):
        catalog.begin_restore(replace(RESTORE, id="another00000"))
    catalog.begin_restore(replace(RESTORE, id="another00000", database="another"))
    catalog.save_restore(replace(RESTORE, state=RestoreState.FAILED))
    catalog.begin_restore(replace(RESTORE, id="next00000000"))


def test_of_two_processes_one_begins(beginner: Callable[[], Beginner]) -> None:
    pair = [beginner(), beginner()]
    for number in range(20):
        for at, process in enumerate(pair):
            process.send(f"db{number}", f"{at}{number:011}", f"key-{at}-{number}")
        answers = sorted(process.receive() for process in pair)
        assert answers[0] == "begun"
        assert answers[1].startswith("restore "), "the loser names the winner"
        assert f"of database db{number} is under way" in answers[1]


def test_of_two_processes_one_begins_the_request_that_both_were_given(beginner: Callable[[], Beginner]) -> None:
    pair = [beginner(), beginner()]
    for number in range(20):
        for at, process in enumerate(pair):
            process.send(f"db{number}", f"{at}{number:011}", f"key-{number}")
        answers = sorted(process.receive() for process in pair)
        assert answers[0] == "begun"
        assert answers[1].startswith("this request was begun before, as restore ")


def test_whoever_waited_for_another_to_begin_is_told_which(url: str, catalog: SqlRestores) -> None:
    engine = make_engine(parse_url(url))
    with ThreadPoolExecutor() as threads:
        with engine.begin() as connection:
            restores.begin(connection, RESTORE, LEASE)
            second = threads.submit(catalog.begin_restore, replace(RESTORE, id="second000000"))
            with pytest.raises(TimeoutError):
                second.result(timeout=0.5)
        with pytest.raises(RestoreRunningError, match=r"restore 0123456789ab of database residency is under way"):
            second.result(timeout=20)
    assert [each.id for each in catalog.restores("residency")] == [RESTORE.id]


def test_a_message_delivered_twice_begins_nothing_also_when_the_first_has_ended(catalog: SqlRestores) -> None:
    catalog.begin_restore(replace(RESTORE, request_key="task"))
    catalog.save_restore(replace(RESTORE, request_key="task", state=RestoreState.COMPLETE))
    with pytest.raises(RestoreRunningError, match=r"begun before, as restore 0123456789ab"):
        catalog.begin_restore(replace(RESTORE, id="again0000000", request_key="task"))


def test_a_request_is_known_whatever_database_it_was_for(catalog: SqlRestores) -> None:
    catalog.begin_restore(replace(RESTORE, request_key="task"))
    with pytest.raises(RestoreRunningError, match=r"begun before, as restore 0123456789ab"):
        catalog.begin_restore(replace(RESTORE, id="again0000000", database="another", request_key="task"))


def test_a_dead_one_must_be_settled_first(catalog: SqlRestores, other: Beginner) -> None:
    assert catalog.dead_restores("residency", NOW) == []
    with pytest.raises(RestoreRunningError, match="under way, in step: swapping"):
        catalog.begin_restore(RESTORE)
    other.process.kill()
    other.process.wait()
    named = r"restore dead00000000 .* not recovered: the process that held it is gone"
    with pytest.raises(RestoreRunningError, match=named) as raised:
        catalog.begin_restore(RESTORE)
    assert "check --repair" in raised.value.hint
    assert catalog.dead_restores("another", NOW) == []
    (dead,) = catalog.dead_restores("residency", NOW)
    assert (dead.id, dead.step, dead.mode) == ("dead00000000", Step.SWAPPING, Mode.MERGE)
    assert dead.state is RestoreState.RUNNING, "a look ends nothing"
    assert catalog.replace_restore(replace(dead, state=RestoreState.ABANDONED), dead)
    catalog.begin_restore(RESTORE)


def test_what_another_process_holds_cannot_be_spoken_for(catalog: SqlRestores, other: Beginner) -> None:
    assert other.process.poll() is None
    theirs = recorded(catalog, "dead00000000")
    assert not catalog.beat_restore(theirs, NOW)
    with pytest.raises(RestoreError, match="taken for dead and recovered"):
        catalog.save_restore(replace(theirs, step=Step.DONE))
    assert catalog.restore(theirs.id) == theirs


def test_a_sign_of_life_is_recorded_and_its_lack_is_death(catalog: SqlRestores, url: str) -> None:
    catalog.begin_restore(RESTORE)
    assert catalog.beat_restore(RESTORE, NOW + LEASE)
    assert recorded(catalog).heartbeat_at == NOW + LEASE
    assert catalog.dead_restores("residency", NOW + LEASE) == []
    make_silent(url, 20 * LEASE, "backup_restores")
    assert [each.id for each in catalog.dead_restores("residency", NOW)] == [RESTORE.id]


def test_a_save_takes_no_sign_of_life_back(catalog: SqlRestores) -> None:
    catalog.begin_restore(RESTORE)
    catalog.beat_restore(RESTORE, NOW + 20 * LEASE)
    catalog.save_restore(replace(RESTORE, step=Step.LOADING))
    assert recorded(catalog) == replace(RESTORE, step=Step.LOADING, heartbeat_at=NOW + 20 * LEASE)
    assert catalog.dead_restores("residency", NOW + 21 * LEASE) == []
    catalog.save_restore(replace(RESTORE, heartbeat_at=NOW + 22 * LEASE))
    assert recorded(catalog).heartbeat_at == NOW + 22 * LEASE, "a save is a sign of life itself"


def test_a_restore_is_settled_once_and_only_as_it_was_seen(catalog: SqlRestores) -> None:
    catalog.begin_restore(RESTORE)
    catalog.beat_restore(RESTORE, NOW + SECOND)
    ended = replace(RESTORE, state=RestoreState.ABANDONED)
    assert not catalog.replace_restore(ended, RESTORE)
    seen = recorded(catalog)
    catalog.save_restore(replace(seen, step=Step.LOADING))
    assert not catalog.replace_restore(ended, seen)
    seen = recorded(catalog)
    assert catalog.replace_restore(ended, seen)
    assert not catalog.replace_restore(replace(RESTORE, state=RestoreState.COMPLETE), seen)
    with pytest.raises(RestoreError, match="taken for dead and recovered"):
        catalog.save_restore(replace(RESTORE, step=Step.DONE))
    assert recorded(catalog) == ended


def test_who_begins_a_rollback_holds_the_record_from_then_on(catalog: SqlRestores, other: Beginner) -> None:
    theirs = recorded(catalog, "dead00000000")
    ended = replace(theirs, state=RestoreState.COMPLETE)
    assert catalog.replace_restore(ended, theirs)
    assert other.process.poll() is None
    claimed = replace(ended, state=RestoreState.RUNNING, step=Step.ROLLING_BACK)
    assert catalog.replace_restore(claimed, ended)
    assert catalog.beat_restore(claimed, NOW)
    assert not catalog.replace_restore(claimed, ended), "a second rollback finds it begun"
    with pytest.raises(RestoreRunningError, match="step: rolling back"):
        catalog.begin_restore(RESTORE)


def test_no_rollback_begins_while_another_restore_is_under_way(catalog: SqlRestores) -> None:
    ended = replace(RESTORE, state=RestoreState.COMPLETE)
    catalog.begin_restore(ended)
    catalog.begin_restore(replace(RESTORE, id="second000000"))
    with pytest.raises(RestoreRunningError, match="under way"):
        catalog.replace_restore(replace(ended, state=RestoreState.RUNNING), ended)
    assert recorded(catalog) == ended


@settings(max_examples=times(10, 250), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.text(st.characters(exclude_categories=()), max_size=50),
    report=st.dictionaries(st.text(max_size=5), st.integers() | st.none() | st.text(max_size=5)),
)
@example(words="a \0 and a \udcff", report={"\0": "\0"})
def test_any_text_can_be_recorded(catalog: SqlRestores, words: str, report: dict[str, int | str | None]) -> None:
    """What servers and files say may hold NUL and halves of characters, which no database takes."""
    if catalog.restore(RESTORE.id) is None:
        catalog.begin_restore(RESTORE)
    catalog.save_restore(replace(RESTORE, backup=words, message=words, hint=words, cause=words, report=report))
    kept = words.encode("utf-8", "replace").decode().replace("\0", "")
    assert recorded(catalog) == replace(RESTORE, backup=kept, message=kept, hint=kept, cause=kept, report=report)
