"""Times that have not come yet are not believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.domain.backup import Tier, period_of
from app.domain.clocks import SKEW, from_future, is_newer
from app.domain.retention import Retention, plan_retention
from app.domain.slots import MAX_ATTEMPTS, SlotRecord, SlotState
from tests.fix_histories import backup

NOW = datetime(2025, 1, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("tier", Tier)
def test_what_is_ahead_by_more_than_clocks_differ_is_from_the_future(tier: Tier) -> None:
    assert not from_future(backup(tier, NOW), NOW)
    assert not from_future(backup(tier, NOW + SKEW), NOW)
    assert from_future(backup(tier, NOW + SKEW + SECOND), NOW)
    assert is_newer(backup(tier, NOW + SKEW + SECOND), NOW)


@pytest.mark.parametrize("tier", Tier)
def test_a_period_that_has_not_begun_is_from_the_future_whatever_the_backup_shows(tier: Tier) -> None:
    early = replace(backup(tier, NOW), period=period_of(tier, NOW + 40 * DAY))
    assert from_future(early, NOW)
    assert not is_newer(early, NOW)


@pytest.mark.parametrize("tier", Tier)
def test_retention_counts_and_removes_nothing_from_the_future(tier: Tier) -> None:
    old, now, ahead = (backup(tier, NOW + days * DAY) for days in (-40, 0, 40))
    plan = plan_retention([old, now, ahead], Retention({tier: 1}), NOW)
    assert plan.kept == (ahead, now)
    assert plan.pruned == (old,)
    assert plan.reasons[ahead.id] == ("from the future: a clock was wrong",)
    assert any(reason.startswith("newest verified") for reason in plan.reasons[now.id])
    assert plan_retention([old, now, ahead], Retention({tier: 1})).kept == (ahead,)
    assert plan_retention([ahead], Retention({tier: 0}), NOW).pruned == ()


def test_a_failure_later_than_now_does_not_put_off_the_next_attempt() -> None:
    failed = SlotRecord(SlotState.FAILED, 1, transient=True, updated_at=NOW + DAY)
    assert failed.may_run(NOW)
    assert not replace(failed, attempts=MAX_ATTEMPTS).may_run(NOW)
    assert not replace(failed, transient=False).may_run(NOW)
    assert not replace(failed, updated_at=NOW).may_run(NOW + SECOND)
