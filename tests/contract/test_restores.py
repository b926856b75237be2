"""What every record of restores does. An adapter joins by a parameter of `url`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.catalog.store import LEASE, SqlCatalog
from app.domain.restore import Mode, Restore, RestoreState, Step
from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreError, RestoreRunningError
from tests.fix_catalog import open_catalog
from tests.fix_postgres import scratch_database

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
BEGINNER = f"""
import sys
from app.domain.restore import *
from tests.fix_catalog import open_catalog
from datetime import datetime
now = datetime.fromisoformat({NOW.isoformat()!r})
catalog = open_catalog(sys.argv[1])
catalog.begin_restore(Restore(id="dead00000000", database="residency", mode=Mode.MERGE, backup="b",
    started_at=now, heartbeat_at=now, step=Step.SWAPPING))
print("begun", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/catalog.db"
        return
    server: EmbeddedPostgres = request.getfixturevalue("postgres_server")
    with scratch_database(server) as database:
        yield database.url.replace("postgresql:", "postgresql+psycopg:")


@pytest.fixture
def catalog(url: str) -> Iterator[SqlCatalog]:
    opened = open_catalog(url)
    yield opened
    opened.close()


@contextlib.contextmanager
def another_process(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """One that has begun a restore and lives on."""
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root)}
    argv = [sys.executable, "-c", BEGINNER, url]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        try:
            yield process
        finally:
            process.kill()


def test_everything_of_a_restore_comes_back(catalog: SqlCatalog) -> None:
    full = replace(
        RESTORE,
        into="staging",
        step=Step.PROVING,
        request_key="task",
        safety="safety/backup-2025-01-15T020000Z",
        shadow="s",
        undo="u",
        transaction="4711",
        undo_until=NOW + timedelta(hours=24),
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


def test_they_are_listed_newest_first(catalog: SqlCatalog) -> None:
    for number in range(3):
        its = replace(RESTORE, id=f"{number:012}", started_at=NOW + number * SECOND, state=RestoreState.COMPLETE)
        catalog.begin_restore(its)
    assert [each.id[-1] for each in catalog.restores("residency")] == ["2", "1", "0"]


def test_a_second_restore_of_the_database_is_refused_and_names_the_first(catalog: SqlCatalog) -> None:
    catalog.begin_restore(RESTORE)
    with pytest.raises(RestoreRunningError, match=r"restore 0123456789ab .* is under way, in step: checking"):
        catalog.begin_restore(replace(RESTORE, id="another00000"))
    catalog.begin_restore(replace(RESTORE, id="another00000", database="another"))
    catalog.save_restore(replace(RESTORE, state=RestoreState.FAILED))
    catalog.begin_restore(replace(RESTORE, id="next00000000"))


def test_of_many_at_once_one_begins(url: str) -> None:
    catalogs = [open_catalog(url) for _ in range(6)]

    def begin(number: int) -> bool:
        try:
            catalogs[number].begin_restore(replace(RESTORE, id=f"{number:012}"))
        except RestoreRunningError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(begin, range(6))) == 1
    for each in catalogs:
        each.close()


def test_a_message_delivered_twice_begins_nothing_also_when_the_first_has_ended(catalog: SqlCatalog) -> None:
    catalog.begin_restore(replace(RESTORE, request_key="task"))
    catalog.save_restore(replace(RESTORE, request_key="task", state=RestoreState.COMPLETE))
    with pytest.raises(RestoreRunningError, match=r"begun before, as restore 0123456789ab"):
        catalog.begin_restore(replace(RESTORE, id="again0000000", request_key="task"))


def test_a_dead_one_must_be_settled_first(url: str, catalog: SqlCatalog) -> None:
    with another_process(url) as process:
        assert catalog.dead_restores("residency", NOW) == []
        with pytest.raises(RestoreRunningError, match="under way, in step: swapping"):
            catalog.begin_restore(RESTORE)
        process.kill()
        process.wait()
        with pytest.raises(RestoreRunningError, match="not settled: the process that held it is gone") as raised:
            catalog.begin_restore(RESTORE)
    assert "check --repair" in raised.value.hint
    (dead,) = catalog.dead_restores("residency", NOW)
    assert (dead.id, dead.step, dead.mode) == ("dead00000000", Step.SWAPPING, Mode.MERGE)
    assert catalog.settle_restore(replace(dead, state=RestoreState.ABANDONED), dead)
    catalog.begin_restore(RESTORE)


def test_what_another_process_holds_cannot_be_spoken_for(url: str, catalog: SqlCatalog) -> None:
    with another_process(url):
        theirs = catalog.restore("dead00000000")
        assert theirs is not None
        assert not catalog.beat_restore(theirs, NOW)
        with pytest.raises(RestoreError, match="taken for dead and settled"):
            catalog.save_restore(replace(theirs, step=Step.DONE))
        assert catalog.restore(theirs.id) == theirs


def test_a_sign_of_life_is_recorded_and_its_lack_is_death(catalog: SqlCatalog) -> None:
    catalog.begin_restore(RESTORE)
    assert catalog.beat_restore(RESTORE, NOW + LEASE)
    found = catalog.restore(RESTORE.id)
    assert found is not None
    assert found.heartbeat_at == NOW + LEASE
    assert catalog.dead_restores("residency", NOW + LEASE) == []
    assert [each.id for each in catalog.dead_restores("residency", NOW + 20 * LEASE)] == [RESTORE.id]


def test_it_is_settled_once_and_only_as_it_was_seen(catalog: SqlCatalog) -> None:
    catalog.begin_restore(RESTORE)
    catalog.beat_restore(RESTORE, NOW + SECOND)
    ended = replace(RESTORE, state=RestoreState.ABANDONED)
    assert not catalog.settle_restore(ended, RESTORE)
    seen = catalog.restore(RESTORE.id)
    assert seen is not None
    assert catalog.settle_restore(ended, seen)
    assert not catalog.settle_restore(replace(RESTORE, state=RestoreState.COMPLETE), seen)
    with pytest.raises(RestoreError, match="taken for dead and settled"):
        catalog.save_restore(replace(RESTORE, step=Step.DONE))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=st.text(max_size=50), report=st.dictionaries(st.text(max_size=5), st.integers() | st.none()))
def test_any_text_can_be_recorded(catalog: SqlCatalog, message: str, report: dict[str, int | None]) -> None:
    current = catalog.restore(RESTORE.id)
    if current is None:
        catalog.begin_restore(RESTORE)
    catalog.save_restore(replace(RESTORE, message=message, report=report))
    found = catalog.restore(RESTORE.id)
    assert found is not None
    assert found.report == report
