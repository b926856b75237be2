"""What every catalog does with runs whose holder died, is stuck or is out of sight."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from app.catalog.holder import is_dead
from app.catalog.lazy import LEASE
from app.domain.backup import Tier
from app.domain.slots import FIRST_RETRY, SlotRecord, SlotState
from app.errors import BackupCreationError, BackupRunningError
from app.ports.runs import Catalog
from tests.fix_catalog import make_silent, open_catalog
from tests.fix_claims import BACKUP, NOW, SECOND, SLOT, Claimer, claimed, execute, held_elsewhere, record


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
