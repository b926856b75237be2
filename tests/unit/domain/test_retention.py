"""What retention keeps and why, case by case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import pytest

from app.domain.backup import Backup, Origin, Tier
from app.domain.retention import Retention, plan_retention
from tests.fix_histories import DAY, backup, day


def plan_of(history: Iterable[Backup], **numbers: int) -> Mapping[str, tuple[str, ...]]:
    return plan_retention(history, Retention({Tier(name): number for name, number in numbers.items()})).reasons


def test_the_newest_days_are_kept_and_counted() -> None:
    reasons = plan_of([backup(Tier.DAILY, day(number)) for number in range(1, 6)], daily=3)
    assert reasons == {
        "daily/backup-2025-01-05": ("daily 1 of 3", "newest verified backup"),
        "daily/backup-2025-01-04": ("daily 2 of 3",),
        "daily/backup-2025-01-03": ("daily 3 of 3",),
    }


def test_after_an_outage_of_months_the_old_days_still_count() -> None:
    history = [backup(Tier.DAILY, day(1)), backup(Tier.DAILY, day(2)), backup(Tier.DAILY, day(20, 11))]
    assert plan_of(history, daily=3) == {
        "daily/backup-2025-11-20": ("daily 1 of 3", "newest verified backup"),
        "daily/backup-2025-01-02": ("daily 2 of 3",),
        "daily/backup-2025-01-01": ("daily 3 of 3",),
    }


def test_a_damaged_backup_stays_until_sound_ones_have_taken_its_place() -> None:
    damaged = backup(Tier.DAILY, day(3), problem="a digest differs")
    history = [backup(Tier.DAILY, day(1)), backup(Tier.DAILY, day(2)), damaged]
    assert plan_of(history, daily=2) == {
        "daily/backup-2025-01-03": ("damaged; kept until newer undamaged backups replace it",),
        "daily/backup-2025-01-02": ("daily 1 of 2", "newest verified backup"),
        "daily/backup-2025-01-01": ("daily 2 of 2",),
    }
    history += [backup(Tier.DAILY, day(4)), backup(Tier.DAILY, day(5))]
    assert set(plan_of(history, daily=2)) == {"daily/backup-2025-01-05", "daily/backup-2025-01-04"}


def test_the_newest_verified_stays_below_unverified_ones_that_fill_the_number() -> None:
    history = [backup(Tier.DAILY, day(number), verified=number == 1) for number in range(1, 4)]
    assert plan_of(history, daily=1) == {
        "daily/backup-2025-01-03": ("daily 1 of 1",),
        "daily/backup-2025-01-01": ("newest verified backup",),
    }


def test_pinned_and_foreign_ones_stay_beyond_the_number() -> None:
    history = [
        backup(Tier.DAILY, day(1), pinned_reason="the audit"),
        backup(Tier.DAILY, day(2), pinned_reason=""),
        backup(Tier.DAILY, day(3), origin=Origin.SCAN, verified=False),
        backup(Tier.DAILY, day(4), origin=Origin.SCAN, verified=False, pinned_reason="theirs"),
        backup(Tier.DAILY, day(5)),
        backup(Tier.DAILY, day(6), pinned_reason="fresh"),
    ]
    assert plan_of(history, daily=1) == {
        "daily/backup-2025-01-06": ("daily 1 of 1", "newest verified backup", "pinned: fresh"),
        "daily/backup-2025-01-04": ("pinned: theirs", "no manifest of this service"),
        "daily/backup-2025-01-03": ("no manifest of this service",),
        "daily/backup-2025-01-02": ("pinned",),
        "daily/backup-2025-01-01": ("pinned: the audit",),
    }


def test_week_53_comes_between_week_52_and_week_01_of_the_next_year() -> None:
    weeks = [datetime(2020, 12, 27, 3, tzinfo=UTC) + 7 * DAY * number for number in range(3)]
    assert plan_of([backup(Tier.WEEKLY, week) for week in weeks], weekly=2) == {
        "weekly/backup-2021-week-01": ("weekly 1 of 2", "newest verified backup"),
        "weekly/backup-2020-week-53": ("weekly 2 of 2",),
    }


def test_a_backup_from_a_clock_that_ran_ahead_takes_one_place_only() -> None:
    history = [backup(Tier.DAILY, day(number)) for number in range(1, 5)]
    history.append(backup(Tier.DAILY, datetime(2099, 1, 1, tzinfo=UTC)))
    assert plan_of(history, daily=3) == {
        "daily/backup-2099-01-01": ("daily 1 of 3", "newest verified backup"),
        "daily/backup-2025-01-04": ("daily 2 of 3",),
        "daily/backup-2025-01-03": ("daily 3 of 3",),
    }


def test_a_tier_that_is_off_keeps_only_the_newest_verified() -> None:
    history = [backup(Tier.MANUAL, day(1)), backup(Tier.MANUAL, day(2))]
    assert plan_of(history, manual=0) == {"manual/backup-2025-01-02T020000Z": ("newest verified backup",)}


def test_a_tier_without_a_number_says_so() -> None:
    assert plan_of([backup(Tier.MANUAL, day(1), verified=False)], daily=1) == {
        "manual/backup-2025-01-01T020000Z": ("no limit for manual backups",)
    }


@pytest.mark.parametrize("limit", [0, 1, 20])
def test_nothing_to_keep_is_an_empty_plan(limit: int) -> None:
    plan = plan_retention([], Retention(dict.fromkeys(Tier, limit)))
    assert (plan.kept, plan.pruned, plan.reasons) == ((), (), {})


def test_a_backup_of_some_tables_takes_no_place_of_a_whole_one() -> None:
    whole = [backup(Tier.SAFETY, day(number)) for number in range(1, 4)]
    parts = [backup(Tier.SAFETY, day(number), only_tables="public.people") for number in range(4, 8)]
    reasons = plan_of([*whole, *parts], safety=2)
    assert reasons == {
        whole[2].id: ("safety 1 of 2", "newest verified backup"),
        whole[1].id: ("safety 2 of 2",),
        parts[3].id: ("safety of some tables 1 of 2",),
        parts[2].id: ("safety of some tables 2 of 2",),
    }
    assert set(plan_of([*whole, *parts], safety=0)) == {whole[2].id}
