"""A pg_dump or psql that is killed: noticed at once, named, told with what to do, and tried again."""

from __future__ import annotations

import contextlib
import os
import signal
from datetime import timedelta

import psutil
import pytest
from structlog.testing import capture_logs

from app.domain.backup import Tier
from app.domain.slots import SlotState
from app.errors import ProgramKilledError
from app.operations.backup.catch_up import due_slots
from app.operations.backup.skipped import why_skipped
from app.operations.backup.take import BackupRequest, take_backup
from app.postgres.dump import read_ahead
from tests.fix_service import At, Site, fill_wide, leftovers, stalled


def children(name: str) -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child.name() == name]


@pytest.fixture
def wide(site: Site) -> Site:
    fill_wide(site.database, rows=40_000)  # enough to be read in ranges
    return site


@pytest.mark.parametrize("name", ["pg_dump", "psql"])
def test_a_program_that_is_killed_ends_the_dump_though_nothing_else_moves(
    wide: Site, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server stands still, so that no row and no byte comes that would lead anybody to look."""
    monkeypatch.setattr(read_ahead, "AHEAD_BYTES", 1)  # pg_dump waits for us, and so has not ended
    with contextlib.ExitStack() as stack:

        def kill() -> None:
            # Before its sessions stand still, for only then is pg_dump surely alive.
            found = children(name)
            assert found
            stack.enter_context(stalled(wide.database))
            found[0].send_signal(signal.SIGKILL)

        service = wide.service(BACKUP_JOBS="2", BACKUP_DAILY_CRON="0 0 * * *")
        slot = service.options.schedules[Tier.DAILY].last_due(service.clock())
        fault = At(kill)
        with pytest.raises(ProgramKilledError) as caught:
            take_backup(service, BackupRequest(tier=Tier.DAILY, slot=slot), fault)
    assert fault.done
    assert caught.value.message.startswith(f"the dump of database {wide.database.name} failed: ")
    assert f"{name} was ended by signal 9" in caught.value.message
    assert "dmesg" in caught.value.hint
    assert "memory limit" in caught.value.hint
    assert caught.value.transient
    assert not leftovers(wide.backups)
    record = service.catalog.slot(wide.database.name, Tier.DAILY, slot.period)
    assert record is not None
    assert (record.state, record.transient) == (SlotState.FAILED, True)
    assert record.may_run(service.clock() + timedelta(minutes=3))
    assert why_skipped(service, slot).endswith("failed, and is tried again later: attempt 2 of 3")
    assert due_slots(service) == []


def test_what_was_skipped_is_told_as_it_is(site: Site) -> None:
    service = site.service(BACKUP_DAILY_CRON="0 0 * * *")
    slot = service.options.schedules[Tier.DAILY].last_due(service.clock())
    now = service.clock()
    for attempt in (1, 2, 3):
        run = service.catalog.claim(service.database, Tier.DAILY, slot, now)
        assert run is not None
        assert why_skipped(service, slot).endswith("is being run")
        service.catalog.fail(run, ProgramKilledError("killed"), now, transient=True)
        now += timedelta(hours=1)
        assert ("failed, and is tried again" in why_skipped(service, slot)) == (attempt < 3)
    assert "failed 3 times" in why_skipped(service, slot)
    tomorrow = service.options.schedules[Tier.DAILY].next_due(service.clock())
    run = service.catalog.claim(service.database, Tier.DAILY, tomorrow, now)
    assert run is not None
    service.catalog.fail(run, ValueError("lasting"), now, transient=False)
    assert "for a reason that lasts" in why_skipped(service, tomorrow)
    weekly = service.options.schedules[Tier.WEEKLY].last_due(now)
    made = take_backup(service, BackupRequest(tier=Tier.WEEKLY, slot=weekly))
    assert made is not None
    assert why_skipped(service, weekly).endswith("was run already")


def test_a_run_whose_whole_worker_was_killed_is_told_by_the_next(site: Site) -> None:
    service = site.service(BACKUP_DAILY_CRON="0 0 * * *")
    slot = service.options.schedules[Tier.DAILY].last_due(service.clock())
    if not (pid := os.fork()):
        service.catalog.claim(service.database, Tier.DAILY, slot, service.clock())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    with capture_logs() as logged:
        due_slots(service)
    (told,) = (each for each in logged if "backup failed: the process was killed" in each["event"])
    assert told["log_level"] == "error"
    assert "dmesg" in told["hint"]
