"""What every catalog does with runs: one at a time, and each leaves how it ended."""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from app.domain.backup import Tier
from app.domain.slots import SlotRecord, SlotState
from app.errors import BackupCreationError, BackupRunningError, ServerUnavailableError
from app.ports.runs import Catalog
from tests.fix_claims import BACKUP, NOW, SECOND, SLOT, Claimer, claimed, execute, record

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


def test_runs_of_all_databases_can_be_asked_for(catalog: Catalog) -> None:
    mine, other = claimed(catalog, slot=None), catalog.claim("another", Tier.DAILY, None, NOW)
    assert [run.id for run in catalog.running()] == sorted(
        (mine.id, other.id if other else ""), key=lambda each: (each,)
    )
    assert [run.database for run in catalog.running("another")] == ["another"]
