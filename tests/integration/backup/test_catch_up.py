"""Slots that were missed are made up for, each once; what failed comes again a few times."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.backup import Tier
from app.domain.slots import Slot
from app.operations.backup.catch_up import due_slots
from app.operations.backup.take import BackupRequest, take_backup
from tests.fix_days import warnings
from tests.fix_service import Site


def test_a_missed_slot_is_due_once_and_only_the_last_one(site: Site) -> None:
    service = site.service()
    now = datetime(2025, 3, 10, 12, tzinfo=UTC)
    service = replace(service, clock=lambda: now)
    assert due_slots(service) == [], "what was due before the service came is not missed"
    later = replace(service, clock=lambda: now + timedelta(days=5))
    (daily,) = (slot for slot in due_slots(later) if slot.tier is Tier.DAILY)
    assert daily.period == "2025-03-15"
    assert take_backup(later, BackupRequest(tier=Tier.DAILY, slot=daily)) is not None
    assert [slot for slot in due_slots(later) if slot.tier is Tier.DAILY] == []


def test_a_schedule_moved_to_later_makes_up_for_nothing(site: Site) -> None:
    now = datetime(2025, 3, 10, 12, tzinfo=UTC)
    early = replace(site.service(BACKUP_DAILY_CRON="0 2 * * *"), clock=lambda: now)
    assert due_slots(early) == []
    late = replace(site.service(BACKUP_DAILY_CRON="0 23 * * *"), clock=lambda: now)
    assert due_slots(late) == [], "yesterday at 23:00 nobody had wanted one"
    assert "2025-03-09 was due" not in " ".join(warnings(late))
    evening = replace(late, clock=lambda: now + timedelta(hours=11))
    today = late.options.schedules[Tier.DAILY].last_due(evening.clock())
    assert take_backup(evening, BackupRequest(tier=Tier.DAILY, slot=today)) is not None
    tomorrow = replace(late, clock=lambda: now + timedelta(days=1, hours=12))
    assert [slot.period for slot in due_slots(tomorrow) if slot.tier is Tier.DAILY] == ["2025-03-11"]


def test_a_slot_that_failed_for_a_passing_reason_comes_again_three_times_at_most(site: Site) -> None:
    down = "postgresql://postgres:x@127.0.0.1:1/" + site.database.name
    now = datetime(2025, 3, 10, 2, tzinfo=UTC)
    service = replace(site.service(DATABASE_URL=down), clock=lambda: now)
    service.catalog.pass_slot(service.database, Slot.at(Tier.DAILY, now - timedelta(days=1)), now)
    attempts = 0
    for minute in range(60):
        at = now + timedelta(minutes=minute)
        service = replace(service, clock=lambda at=at: at)
        for slot in due_slots(service):
            if slot.tier is Tier.DAILY:
                attempts += 1
                with pytest.raises(Exception, match="does not answer"):
                    take_backup(service, BackupRequest(tier=Tier.DAILY, slot=slot))
    assert attempts == 3
