"""Which slots are due, and what is said of those that are not run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from app.domain.backup import Tier
from app.domain.slots import MAX_ATTEMPTS, Slot
from app.errors import BackupFolderLostError, BackupValidationError, ServerUnavailableError
from app.operations.backup import catch_up
from app.operations.backup.catch_up import due_slots
from app.operations.backup.skipped import why_skipped
from app.operations.schedule import Schedule
from app.operations.service import Service
from tests.fakes.folder import Disk
from tests.fix_memory_site import MemorySite

CRONS = {Tier.DAILY: "0 2 * * *", Tier.WEEKLY: "0 3 * * 0"}
SCHEDULES = {tier: Schedule(tier, cron, ZoneInfo("UTC")) for tier, cron in CRONS.items()}
NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)
AWAY = ServerUnavailableError("the server is away", "start it")


@pytest.fixture
def service(memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service whose daily backup is due at two o'clock; it has looked once, at noon."""
    monkeypatch.setattr(catch_up, "_reported", {})
    memory_site.now = NOON
    memory_site.service = memory_site.with_options(schedules=SCHEDULES)
    assert due_slots(memory_site.service) == []
    return memory_site.service


def periods(service: Service) -> list[str]:
    return [slot.period for slot in due_slots(service)]


def test_what_came_due_before_the_service_first_looked_is_nobodys_fault(service: Service) -> None:
    assert periods(service) == []


def test_a_slot_that_came_due_since_is_to_be_run_once(memory_site: MemorySite, service: Service) -> None:
    memory_site.later(days=1)
    (slot,) = due_slots(service)
    assert (slot.tier, slot.period) == (Tier.DAILY, "2025-01-16")
    memory_site.take(slot=slot)
    assert periods(service) == []
    assert why_skipped(service, slot) == "the daily backup of 2025-01-16 was run already"


def test_of_many_that_were_missed_the_last_is_made_up_for(memory_site: MemorySite, service: Service) -> None:
    memory_site.later(days=10)
    assert periods(service) == ["2025-01-25", "2025-W03"]


def test_a_schedule_that_was_moved_to_later_makes_up_for_nothing(memory_site: MemorySite, service: Service) -> None:
    moved = memory_site.with_options(schedules={Tier.DAILY: Schedule(Tier.DAILY, "0 11 * * *", ZoneInfo("UTC"))})
    assert periods(moved) == []
    assert periods(service) == []


def test_a_slot_that_failed_for_a_passing_reason_comes_again_a_few_times(
    memory_site: MemorySite, service: Service
) -> None:
    memory_site.later(days=1)
    (slot,) = due_slots(service)
    memory_site.server.fails["dump_into"] = AWAY
    attempts = 0
    for _ in range(20):
        if due_slots(service):
            attempts += 1
            with pytest.raises(ServerUnavailableError):
                memory_site.take(slot=slot)
            if attempts < MAX_ATTEMPTS:
                assert f"is tried again later: attempt {attempts + 1}" in why_skipped(service, slot)
        memory_site.later(minutes=30)
    assert attempts == MAX_ATTEMPTS
    assert f"failed {MAX_ATTEMPTS} times" in why_skipped(service, slot)


def test_a_slot_that_failed_for_good_does_not_come_again(memory_site: MemorySite, service: Service) -> None:
    memory_site.later(days=1)
    (slot,) = due_slots(service)
    memory_site.source.ending = b"\n"
    with pytest.raises(BackupValidationError):
        memory_site.take(slot=slot)
    memory_site.later(hours=9)
    assert periods(service) == []
    assert "failed for a reason that lasts" in why_skipped(service, slot)


def test_a_slot_under_way_is_said_to_be(memory_site: MemorySite, service: Service) -> None:
    memory_site.later(days=1)
    (slot,) = due_slots(service)
    said: list[str] = []
    memory_site.server.meanwhile["dump_into"] = lambda: said.append(why_skipped(service, slot))
    memory_site.take(slot=slot)
    assert said == ["the daily backup of 2025-01-16 is being run"]


def test_a_record_of_a_slot_that_is_not_due_yet_is_forgotten(memory_site: MemorySite, service: Service) -> None:
    ahead = Slot.at(Tier.DAILY, NOON + timedelta(days=30))
    memory_site.catalog.pass_slot("residency", ahead, memory_site.now)
    assert periods(service) == []
    assert memory_site.catalog.slot("residency", Tier.DAILY, ahead.period) is None


def test_another_servers_slots_are_not_run_and_that_is_told_once(memory_site: MemorySite, service: Service) -> None:
    memory_site.take()
    memory_site.server.system_identifier = "7000000000000000002"
    memory_site.later(days=1)
    before = len(memory_site.events)
    assert periods(service) == periods(service) == []
    (event,) = memory_site.events[before:]
    assert event.error == "ServerMismatchError"


def test_nothing_is_due_where_the_folder_cannot_be_read_or_is_gone(memory_site: MemorySite, service: Service) -> None:
    memory_site.take()
    memory_site.later(days=1)
    memory_site.tree.mount.unreadable = True
    assert periods(service) == []
    memory_site.tree.mount.unreadable = False
    assert periods(service) == ["2025-01-16"]
    memory_site.tree.mount.disk = Disk()
    with pytest.raises(BackupFolderLostError):
        due_slots(service)
