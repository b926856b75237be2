"""What every catalog does with slots: one is run once, and tried again for a while if it failed."""

from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.backup import Tier
from app.domain.slots import FIRST_RETRY, MAX_ATTEMPTS, SlotRecord, SlotState
from app.errors import BackupCreationError, BackupRunningError
from app.ports.runs import Catalog
from tests.fix_claims import BACKUP, NOW, SECOND, SLOT, claimed, record


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
