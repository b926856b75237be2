"""When a slot may be run again."""

from datetime import UTC, datetime, timedelta

import pytest

from app.domain.backup import Tier
from app.domain.slots import Slot, SlotRecord, SlotState

ENDED = datetime(2025, 1, 15, 2, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def failed(attempts: int, *, transient: bool = True) -> SlotRecord:
    return SlotRecord(SlotState.FAILED, attempts, transient=transient, updated_at=ENDED)


@pytest.mark.parametrize(("attempts", "minutes"), [(1, 2), (2, 8)])
def test_a_failed_slot_is_free_again_after_a_while_that_grows(attempts: int, minutes: int) -> None:
    record = failed(attempts)
    assert not record.may_run(ENDED)
    assert not record.may_run(ENDED + minutes * MINUTE - timedelta(microseconds=1))
    assert record.may_run(ENDED + minutes * MINUTE)


@pytest.mark.parametrize("attempts", [3, 4])
def test_a_slot_that_failed_often_is_not_tried_again(attempts: int) -> None:
    assert not failed(attempts).may_run(ENDED + timedelta(days=365))


def test_a_slot_that_failed_for_good_is_not_tried_again() -> None:
    assert not failed(1, transient=False).may_run(ENDED + timedelta(days=365))


@pytest.mark.parametrize("state", [SlotState.PASSED, SlotState.RUNNING, SlotState.DONE])
def test_a_slot_that_did_not_fail_is_not_run(state: SlotState) -> None:
    assert not SlotRecord(state, 1, transient=True, updated_at=ENDED).may_run(ENDED + timedelta(days=365))


def test_a_slot_has_the_period_that_it_comes_due_in() -> None:
    assert Slot.at(Tier.WEEKLY, ENDED) == Slot(Tier.WEEKLY, "2025-W03", ENDED)
