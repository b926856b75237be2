"""What every catalog does. An adapter joins by a parameter of `url`."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from app.catalog.engine import make_engine, parse_url
from app.catalog.holder import is_dead
from app.catalog.store import LEASE, SqlCatalog, lazy_catalog
from app.domain.backup import Backup, BackupState, Codec, Origin, Tier
from app.domain.slots import FIRST_RETRY, MAX_ATTEMPTS, Slot, SlotRecord, SlotState
from app.errors import BackupCreationError, BackupRunningError, CatalogError, ServerUnavailableError, SettingsError
from app.ports.runs import Catalog, Run
from tests.fix_catalog import held_by, make_silent, open_catalog
from tests.fix_fork import Conversation
from tests.tiers import examples

ROOT = Path(__file__).parents[2]
NOW = datetime(2025, 1, 15, 2, 0, tzinfo=timezone(timedelta(hours=1)))
SECOND = timedelta(seconds=1)
SLOT = Slot.at(Tier.DAILY, NOW)
BACKUP = Backup(
    id="daily/backup-2025-01-15",
    database="residency",
    tier=Tier.DAILY,
    period="2025-01-15",
    file="daily/backup-2025-01-15.sql.zst",
    created_at=NOW,
    bytes=5_000_000_000,
    raw_bytes=2**62,
    rows=12_345_678_901,
    tables=12,
    database_size=2**41,
    sha256="ab" * 32,
    codec=Codec.ZSTD,
    origin=Origin.DUMP,
    seconds=12.25,
)
# Claims what its standard input names and says how that went; a claimed run stays claimed while it lives.
CLAIMER = f"""
import sys
from datetime import datetime
from app.catalog.store import lazy_catalog
from app.domain.backup import Tier
from app.domain.slots import Slot
from app.errors import BackupRunningError

now = datetime.fromisoformat({NOW.isoformat()!r})
catalog = lazy_catalog(sys.argv[1])
catalog.open()
print("ready", flush=True)
for line in sys.stdin:
    try:
        run = catalog.claim(line.strip(), Tier.DAILY, Slot.at(Tier.DAILY, now), now)
        print(run.id if run else "none", flush=True)
    except BackupRunningError:
        print("running", flush=True)
"""


class Claimer:
    """Another process with the same catalog."""

    def __init__(self, process: Conversation | subprocess.Popen[str]) -> None:
        self.process = process

    def send(self, database: str) -> None:
        assert self.process.stdin
        print(database, file=self.process.stdin, flush=True)

    def receive(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def claim(self, database: str) -> str:
        self.send(database)
        return self.receive()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/catalog.db"
    found: str = request.getfixturevalue("empty_database").url
    return found


@pytest.fixture
def catalog(url: str) -> Iterator[SqlCatalog]:
    opened = open_catalog(url)
    yield opened
    opened.close()


@pytest.fixture
def claimer(url: str, catalog: SqlCatalog) -> Iterator[Callable[[], Claimer]]:
    with contextlib.ExitStack() as stack:

        def start() -> Claimer:
            process = stack.enter_context(Conversation(CLAIMER, url))
            stack.callback(process.kill)
            started = Claimer(process)
            assert started.receive() == "ready"
            return started

        yield start


@pytest.fixture
def child(url: str, catalog: SqlCatalog) -> Iterator[Claimer]:
    """A process that nobody but this one can wait for."""
    argv, env = [sys.executable, "-c", CLAIMER, url], {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=env) as process:
        started = Claimer(process)
        assert started.receive() == "ready"
        yield started
        process.kill()


def claimed(catalog: Catalog, slot: Slot | None = SLOT, now: datetime = NOW) -> Run:
    run = catalog.claim("residency", Tier.DAILY, slot, now)
    assert run is not None
    return run


def record(catalog: Catalog) -> SlotRecord:
    found = catalog.slot("residency", SLOT.tier, SLOT.period)
    assert found is not None
    return found


def execute(url: str, statement: str, **values: object) -> list[Any]:
    engine = make_engine(parse_url(url))
    with engine.begin() as connection:
        result = connection.execute(text(statement), values)
        return list(result) if result.returns_rows else []


def held_elsewhere(url: str) -> None:
    held_by(url, "another-machine/pid:[1]/7/123")


# A run


def test_a_claimed_run_is_under_way(catalog: Catalog) -> None:
    run = claimed(catalog)
    assert run.slot == SLOT
    assert len(run.id) == 12
    assert (run.started_at, run.heartbeat_at) == (NOW, NOW)
    assert catalog.running("residency") == [run]
    assert catalog.running("another") == []
    assert record(catalog) == SlotRecord(SlotState.RUNNING, 1, transient=False, updated_at=NOW)


def test_a_completed_run_leaves_its_backup_and_its_slot_done(catalog: Catalog) -> None:
    run = claimed(catalog)
    catalog.complete(run, BACKUP, NOW + SECOND)
    assert catalog.running("residency") == []
    assert catalog.backups("residency") == [BACKUP]
    assert record(catalog) == SlotRecord(SlotState.DONE, 1, transient=False, updated_at=NOW + SECOND)


def test_a_failed_run_leaves_its_error_and_its_slot_failed(catalog: Catalog, url: str) -> None:
    error = ServerUnavailableError("the server \0 is \udcff gone", "Start it.")
    catalog.fail(claimed(catalog), error, NOW + SECOND, transient=True)
    assert catalog.running("residency") == []
    assert record(catalog) == SlotRecord(SlotState.FAILED, 1, transient=True, updated_at=NOW + SECOND)
    kept = execute(url, "SELECT state, error, message, hint FROM backup_runs")
    assert kept == [("failed", "ServerUnavailableError", "the server  is ? gone", "Start it.")]


def test_a_run_without_a_slot_records_none(catalog: Catalog) -> None:
    run = claimed(catalog, slot=None)
    assert run.slot is None
    assert catalog.running("residency") == [run]
    catalog.complete(run, BACKUP, NOW)
    assert catalog.first_slot_due("residency", Tier.DAILY) is None


def test_runs_under_way_come_oldest_first(catalog: Catalog) -> None:
    newer = catalog.claim("residency", Tier.WEEKLY, None, NOW + SECOND)
    older = catalog.claim("residency", Tier.DAILY, None, NOW)
    assert catalog.running("residency") == [older, newer]


def test_a_sign_of_life_is_kept(catalog: Catalog) -> None:
    assert catalog.heartbeat(claimed(catalog), NOW + SECOND)
    assert [run.heartbeat_at for run in catalog.running("residency")] == [NOW + SECOND]


def test_an_ended_run_stays_as_it_ended(catalog: Catalog) -> None:
    run = claimed(catalog)
    catalog.complete(run, BACKUP, NOW)
    catalog.fail(run, BackupCreationError("too late"), NOW + SECOND, transient=True)
    assert not catalog.heartbeat(run, NOW + SECOND)
    assert record(catalog).state is SlotState.DONE


# Only one


def test_a_second_run_of_the_tier_is_refused_with_the_first_ones_times(catalog: Catalog) -> None:
    catalog.heartbeat(claimed(catalog), NOW + 5 * SECOND)
    with pytest.raises(BackupRunningError, match=r"01:00:00 UTC; last sign of life 2025-01-15 01:00:05") as caught:
        catalog.claim("residency", Tier.DAILY, None, NOW + 6 * SECOND)
    assert "check --repair" in caught.value.hint


def test_other_tiers_and_other_databases_run_beside(catalog: Catalog) -> None:
    claimed(catalog)
    assert catalog.claim("residency", Tier.WEEKLY, None, NOW)
    assert catalog.claim("another", Tier.DAILY, None, NOW)


def test_of_eight_threads_one_gets_the_run(catalog: Catalog) -> None:
    start = threading.Barrier(8)

    def attempt(database: str) -> bool:
        start.wait()
        try:
            return catalog.claim(database, Tier.DAILY, SLOT, NOW) is not None
        except BackupRunningError:
            return False

    with ThreadPoolExecutor(8) as threads:
        for number in range(5):
            assert sum(threads.map(attempt, [f"db{number}"] * 8)) == 1


def test_of_two_processes_one_gets_the_run(claimer: Callable[[], Claimer]) -> None:
    pair = [claimer(), claimer()]
    for number in range(20):
        for process in pair:
            process.send(f"db{number}")
        answers = [process.receive() for process in pair]
        assert answers.count("none") == 1, answers
        assert "running" not in answers, "the slot is being run: that is no error for the second message"


def test_two_processes_run_a_slot_once_however_short_its_run(catalog: Catalog, claimer: Callable[[], Claimer]) -> None:
    other = claimer()
    for number in range(20):
        database = f"db{number}"
        other.send(database)
        with contextlib.suppress(BackupRunningError):
            mine = catalog.claim(database, Tier.DAILY, SLOT, NOW)
            if mine is not None:
                catalog.complete(mine, replace(BACKUP, database=database), NOW)
        other.receive()
        found = catalog.slot(database, Tier.DAILY, SLOT.period)
        assert found is not None
        assert found.attempts == 1


# Slots


def test_a_slot_that_was_run_is_not_run_again(catalog: Catalog) -> None:
    catalog.complete(claimed(catalog), BACKUP, NOW)
    assert catalog.claim("residency", Tier.DAILY, SLOT, NOW + timedelta(days=9)) is None
    assert catalog.running("residency") == []


def test_a_slot_that_was_run_is_refused_quietly_while_another_run_is_under_way(catalog: Catalog) -> None:
    catalog.complete(claimed(catalog), BACKUP, NOW)
    other = claimed(catalog, slot=None)
    assert catalog.claim("residency", Tier.DAILY, SLOT, NOW) is None
    assert catalog.running("residency") == [other]


def test_a_slot_under_way_is_refused_quietly(catalog: Catalog) -> None:
    claimed(catalog)
    assert catalog.claim("residency", Tier.DAILY, SLOT, NOW) is None


def test_a_slot_is_refused_as_running_while_another_run_of_the_tier_is_under_way(catalog: Catalog) -> None:
    claimed(catalog, slot=None)
    with pytest.raises(BackupRunningError):
        catalog.claim("residency", Tier.DAILY, SLOT, NOW)
    assert catalog.slot("residency", Tier.DAILY, SLOT.period) is None


def test_a_slot_is_tried_again_after_growing_whiles_and_not_for_ever(catalog: Catalog) -> None:
    now = NOW
    for attempt in range(1, MAX_ATTEMPTS + 1):
        catalog.fail(claimed(catalog, now=now), BackupCreationError("down"), now, transient=True)
        assert record(catalog).attempts == attempt
        free = now + FIRST_RETRY * attempt**2
        assert catalog.claim("residency", Tier.DAILY, SLOT, free - SECOND) is None
        now = free
    assert catalog.claim("residency", Tier.DAILY, SLOT, now + timedelta(days=1)) is None


def test_a_slot_that_failed_for_good_is_not_tried_again(catalog: Catalog) -> None:
    catalog.fail(claimed(catalog), BackupCreationError("no such role"), NOW, transient=False)
    assert catalog.claim("residency", Tier.DAILY, SLOT, NOW + timedelta(days=1)) is None


def test_a_slot_passed_over_is_recorded(catalog: Catalog) -> None:
    assert catalog.first_slot_due("residency", Tier.DAILY) is None
    assert catalog.slot("residency", Tier.DAILY, SLOT.period) is None
    catalog.pass_slot("residency", SLOT, NOW)
    earlier = replace(SLOT, period="2025-01-01", due=SLOT.due - timedelta(days=14))
    assert catalog.first_slot_due("residency", Tier.DAILY) == SLOT.due
    catalog.pass_slot("residency", earlier, NOW)
    assert catalog.first_slot_due("residency", Tier.DAILY) == earlier.due
    assert catalog.first_slot_due("residency", Tier.WEEKLY) is None
    assert catalog.first_slot_due("another", Tier.DAILY) is None
    assert record(catalog) == SlotRecord(SlotState.PASSED, 0, transient=False, updated_at=NOW)


def test_a_slot_passed_over_is_run_when_its_message_comes_all_the_same(catalog: Catalog) -> None:
    catalog.pass_slot("residency", SLOT, NOW)
    assert claimed(catalog).slot == SLOT
    assert record(catalog).state is SlotState.RUNNING


def test_passing_over_changes_no_recorded_slot(catalog: Catalog) -> None:
    catalog.complete(claimed(catalog), BACKUP, NOW)
    catalog.pass_slot("residency", SLOT, NOW + SECOND)
    assert record(catalog).state is SlotState.DONE


# The dead and the living


def test_a_killed_holders_run_is_abandoned_at_once_also_while_it_is_a_zombie(catalog: Catalog, child: Claimer) -> None:
    run_id = child.claim("residency")
    child.process.kill()
    os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOWAIT)
    assert [run.id for run in catalog.abandon_dead(NOW + SECOND)] == [run_id]
    assert catalog.running("residency") == []
    assert record(catalog) == SlotRecord(SlotState.FAILED, 1, transient=True, updated_at=NOW + SECOND)
    assert catalog.abandon_dead(NOW + SECOND) == []


def test_a_claim_abandons_a_dead_run_and_waits_before_it_tries_the_slot_again(
    catalog: Catalog, claimer: Callable[[], Claimer], url: str
) -> None:
    other = claimer()
    other.claim("residency")
    other.process.kill()
    other.process.wait()
    assert catalog.claim("residency", Tier.DAILY, SLOT, NOW + SECOND) is None
    assert execute(url, "SELECT state, message FROM backup_runs") == [("abandoned", "the process that held it is gone")]
    assert claimed(catalog, now=NOW + SECOND + FIRST_RETRY)
    assert record(catalog).attempts == 2


def test_a_living_holder_keeps_its_run_through_a_long_silence(
    catalog: Catalog, claimer: Callable[[], Claimer], url: str
) -> None:
    other = claimer()
    other.claim("residency")
    late = NOW + 9 * LEASE
    make_silent(url, 9 * LEASE)
    assert catalog.abandon_dead(late) == []
    assert catalog.claim("residency", Tier.DAILY, SLOT, late) is None
    with pytest.raises(BackupRunningError):
        catalog.claim("residency", Tier.DAILY, None, late)


def test_a_living_holder_that_is_stuck_loses_its_run(
    catalog: Catalog, claimer: Callable[[], Claimer], url: str
) -> None:
    other = claimer()
    run_id = other.claim("residency")
    make_silent(url, 11 * LEASE)
    assert [run.id for run in catalog.abandon_dead(NOW)] == [run_id]


def test_a_holder_out_of_sight_is_judged_by_its_silence(catalog: Catalog, url: str) -> None:
    run = claimed(catalog)
    held_elsewhere(url)
    assert catalog.abandon_dead(NOW + LEASE) == []
    assert catalog.abandon_dead(NOW - timedelta(hours=1)) == []
    assert [dead.id for dead in catalog.abandon_dead(NOW + LEASE + SECOND)] == [run.id]


def test_a_sign_of_life_at_the_last_moment_saves_the_run(empty_database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # On PostgreSQL alone: on SQLite nobody can write between the look and the end.
    catalog = open_catalog(empty_database.url)
    run = claimed(catalog)

    def dead_but_for_a_beat(_holder: str) -> bool:
        return catalog.heartbeat(run, NOW + SECOND)

    monkeypatch.setattr("app.catalog.holder.is_dead", dead_but_for_a_beat)
    assert catalog.abandon_dead(NOW + 2 * SECOND) == []
    assert catalog.heartbeat(run, NOW + 3 * SECOND)


def test_whether_a_holder_is_dead_is_told_only_of_this_machine() -> None:
    assert is_dead("another-machine/pid:[1]/7/123") is None
    assert is_dead("") is None


def test_a_run_of_a_pid_that_was_given_anew_is_dead(catalog: Catalog, url: str) -> None:
    claimed(catalog)
    [(holder,)] = execute(url, "SELECT holder FROM backup_runs")
    assert is_dead(holder) is False
    assert is_dead(holder.rpartition("/")[0] + "/1") is True


def test_an_abandoned_run_is_told_to_stop(catalog: Catalog, url: str) -> None:
    run = claimed(catalog)
    held_elsewhere(url)
    catalog.abandon_dead(NOW + 2 * LEASE)
    assert not catalog.heartbeat(run, NOW + 2 * LEASE)


def test_an_abandoned_run_that_completes_saves_its_backup_and_nothing_else(catalog: Catalog, url: str) -> None:
    run = claimed(catalog)
    late = NOW + 11 * LEASE
    make_silent(url, 11 * LEASE)
    catalog.abandon_dead(late)
    next_run = claimed(catalog, now=late + FIRST_RETRY)
    catalog.complete(run, BACKUP, late + FIRST_RETRY)
    assert catalog.backups("residency") == [BACKUP]
    assert catalog.running("residency") == [next_run]
    assert record(catalog).state is SlotState.RUNNING


def test_nobody_ends_another_process_run(catalog: Catalog, claimer: Callable[[], Claimer]) -> None:
    other = claimer()
    other.claim("residency")
    [run] = catalog.running("residency")
    assert not catalog.heartbeat(run, NOW + SECOND)
    catalog.fail(run, BackupCreationError("not mine"), NOW + SECOND, transient=False)
    catalog.complete(run, BACKUP, NOW + SECOND)
    assert catalog.running("residency") == [run]
    assert record(catalog).state is SlotState.RUNNING


# Backups

words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
sizes = st.integers(0, 2**63 - 1)
instants = st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001 -- the zone is drawn apart
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=8))]),
)
any_backup = st.builds(
    Backup,
    id=words,
    database=st.just("residency"),
    tier=st.sampled_from(Tier),
    period=words,
    file=words,
    created_at=instants,
    bytes=sizes,
    raw_bytes=sizes,
    rows=st.none() | sizes,
    tables=st.none() | sizes,
    database_size=st.none() | sizes,
    sha256=words,
    codec=st.sampled_from(Codec),
    origin=st.sampled_from(Origin),
    seconds=st.none() | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    label=st.none() | words,
    state=st.sampled_from(BackupState),
    verified_at=st.none() | instants,
    damage=st.none() | words,
    kept=st.none() | words,
)


@settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(backup=any_backup, other=any_backup)
def test_every_field_of_a_backup_comes_back(catalog: Catalog, backup: Backup, other: Backup) -> None:
    catalog.save(backup)
    catalog.save(replace(other, id=backup.id))
    assert catalog.backups("residency") == [replace(other, id=backup.id)]
    catalog.forget("residency", backup.id)
    assert catalog.backups("residency") == []


def test_words_come_back_as_members_and_times_in_utc(catalog: Catalog) -> None:
    catalog.complete(claimed(catalog), BACKUP, NOW)
    [backup] = catalog.backups("residency")
    assert (type(backup.tier), type(backup.codec)) == (Tier, Codec)
    assert (type(backup.origin), type(backup.state)) == (Origin, BackupState)
    times = [backup.created_at, record(catalog).updated_at, claimed(catalog, slot=None).started_at]
    times += [catalog.running("residency")[0].heartbeat_at]
    assert [time.tzinfo for time in times] == [UTC] * 4


def test_backups_come_newest_first_those_being_deleted_too(catalog: Catalog) -> None:
    old = replace(BACKUP, id="old", created_at=NOW - SECOND, state=BackupState.DELETING)
    new = replace(BACKUP, id="new", created_at=NOW.astimezone(UTC) + SECOND)
    for backup in (BACKUP, old, new):
        catalog.save(backup)
    assert catalog.backups("residency") == [new, BACKUP, old]


def test_two_databases_may_have_backups_of_one_id(catalog: Catalog) -> None:
    other = replace(BACKUP, database="another", rows=None)
    catalog.save(BACKUP)
    catalog.save(other)
    catalog.forget("residency", BACKUP.id)
    assert (catalog.backups("residency"), catalog.backups("another")) == ([], [other])


def test_what_is_not_there_is_forgotten_in_silence(catalog: Catalog) -> None:
    catalog.forget("residency", "daily/none")


# Troubles


def test_readers_and_a_writer_do_not_wait_for_each_other(catalog: Catalog, url: str) -> None:
    catalog.save(BACKUP)
    engine = make_engine(parse_url(url))
    with engine.connect() as writer, engine.execution_options(catalog_reads=True).connect() as reader:
        writer.execute(text("UPDATE backup_files SET label = 'new'"))
        assert catalog.backups("residency") == [BACKUP]
        reader.execute(text("SELECT label FROM backup_files")).all()
        writer.commit()
        catalog.save(replace(BACKUP, label="newer"))


def test_a_value_that_cannot_be_stored_is_a_catalog_error(catalog: Catalog) -> None:
    with pytest.raises(CatalogError, match="cannot be recorded"):
        catalog.save(replace(BACKUP, label="\udcff"))
    with pytest.raises(CatalogError, match="no zone"):
        catalog.save(replace(BACKUP, created_at=datetime(2025, 1, 1)))  # noqa: DTZ001 -- the point of it


def test_a_row_of_a_word_that_is_not_known_is_a_catalog_error(catalog: Catalog, url: str) -> None:
    catalog.save(BACKUP)
    execute(url, "UPDATE backup_files SET codec = 'lzma'")
    with pytest.raises(CatalogError, match="lzma"):
        catalog.backups("residency")


def test_a_catalog_whose_tables_are_gone_is_a_catalog_error(catalog: Catalog, url: str) -> None:
    execute(url, "DROP TABLE backup_files")
    with pytest.raises(CatalogError, match="cannot be recorded") as caught:
        catalog.save(replace(BACKUP, label="hush"))
    assert "INSERT" not in caught.value.message
    assert "hush" not in str(caught.value.__cause__)


def test_a_file_that_was_removed_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    file = tmp_path / "catalog.db"
    catalog = open_catalog(f"sqlite:///{file}")
    file.unlink()
    with pytest.raises(CatalogError, match="unable to open") as caught:
        catalog.backups("residency")
    assert str(file) in caught.value.hint
    assert not file.exists()


def test_a_file_that_is_no_catalog_is_a_catalog_error(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_text("something else entirely" * 100)
    with pytest.raises(CatalogError, match="not a database"):
        open_catalog(f"sqlite:///{tmp_path}/catalog.db")


@pytest.mark.parametrize("name", ["catalog.db", "a b%25c#d?e.db", "ä'ö.db"])
def test_a_catalog_file_is_its_owners_alone(tmp_path: Path, name: str) -> None:
    catalog = open_catalog(f"sqlite:///{tmp_path}/{name.replace('?', '')}")
    catalog.save(BACKUP)
    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_missing_folder_is_a_catalog_error(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="folder of the catalog is missing"):
        open_catalog(f"sqlite:///{tmp_path}/missing/catalog.db")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_server_that_does_not_answer_is_a_catalog_error_without_the_password(scheme: str) -> None:
    catalog = lazy_catalog(f"{scheme}://somebody:hush-hush@127.0.0.1:1/nowhere")
    with pytest.raises(CatalogError, match="refused") as caught:
        catalog.claim("residency", Tier.DAILY, SLOT, NOW)
    seen: BaseException | None = caught.value
    while seen is not None:
        assert "hush" not in f"{seen} {getattr(seen, 'hint', '')}"
        seen = seen.__cause__
    assert caught.value.transient


def test_a_lazy_catalog_opens_once_its_place_is_there(tmp_path: Path) -> None:
    catalog = lazy_catalog(f"sqlite:///{tmp_path}/later/catalog.db")
    with pytest.raises(CatalogError):
        catalog.running("residency")
    (tmp_path / "later").mkdir()
    assert catalog.running("residency") == []


@pytest.mark.parametrize(
    "bad", ["", "hush", "mysql://u:hush@h/d", "sqlite://", "sqlite:///:memory:", "postgresql://u:p@h:hush/d"]
)
def test_a_url_of_no_catalog_is_refused_without_repeating_it(bad: str) -> None:
    with pytest.raises(SettingsError) as caught:
        lazy_catalog(bad)
    assert "hush" not in f"{caught.value.message} {caught.value.hint}"


# What is known of a backup


def test_what_a_look_found_changes_nothing_else_of_the_row(catalog: Catalog) -> None:
    catalog.save(BACKUP)
    catalog.pin("residency", BACKUP.id, "audit")
    catalog.record_check(BACKUP, NOW + SECOND, None)
    assert catalog.backups("residency") == [replace(BACKUP, kept="audit", verified_at=NOW + SECOND)]
    catalog.record_check(BACKUP, None, "a flipped bit")
    assert catalog.backups("residency") == [
        replace(BACKUP, kept="audit", verified_at=NOW + SECOND, damage="a flipped bit")
    ]
    catalog.pin("residency", BACKUP.id, None)
    assert catalog.backups("residency")[0].kept is None


def test_what_a_look_found_is_not_said_of_other_bytes_or_of_a_row_that_is_gone(catalog: Catalog) -> None:
    other = replace(BACKUP, sha256="cd" * 32)
    catalog.save(other)
    catalog.record_check(BACKUP, None, "a flipped bit")
    assert catalog.backups("residency") == [other]
    catalog.forget("residency", BACKUP.id)
    catalog.record_check(other, NOW, None)
    catalog.pin("residency", BACKUP.id, "audit")
    assert catalog.backups("residency") == []


def test_runs_of_all_databases_can_be_asked_for(catalog: Catalog) -> None:
    mine, other = claimed(catalog, slot=None), catalog.claim("another", Tier.DAILY, None, NOW)
    assert [run.id for run in catalog.running()] == sorted(
        (mine.id, other.id if other else ""), key=lambda each: (each,)
    )
    assert [run.database for run in catalog.running("another")] == ["another"]
