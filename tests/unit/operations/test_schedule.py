"""When tiers come due: boundaries, daylight saving, late runs."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.backup import Tier, period_of
from app.operations.schedule import Schedule
from tests.tiers import examples

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
# Half an hour of daylight saving, changes at midnight, none at all, and half-hour zones.
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Kolkata")
SECOND = timedelta(seconds=1)
PROPERTY = settings(max_examples=examples(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
DAILY, NIGHTLY, WEEKLY, MONTHLY = (
    (Tier.DAILY, "0 2 * * *"),
    (Tier.DAILY, "30 2 * * *"),
    (Tier.WEEKLY, "0 3 * * 0"),
    (Tier.MONTHLY, "0 4 1 * *"),
)


def schedule(tier: Tier, cron: str, zone: ZoneInfo | str = "UTC") -> Schedule:
    return Schedule(tier, cron, zone if isinstance(zone, ZoneInfo) else ZoneInfo(zone))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def last(every: Schedule, now: datetime) -> str:
    return every.last_due(now).due.isoformat()


def following(every: Schedule, after: datetime) -> str:
    return every.next_due(after).due.isoformat()


@pytest.mark.parametrize(
    ("now", "last_due", "next_due"),
    [
        (utc("2025-01-15T01:59:59.999999"), 14, 15),
        (utc("2025-01-15T02:00:00"), 15, 16),
        (utc("2025-01-15T02:00:00.000001"), 15, 16),
        (utc("2025-01-15T02:00:01"), 15, 16),
        (utc("2025-01-15T23:59:59"), 15, 16),
        (utc("2025-01-16T00:00:00"), 15, 16),
    ],
)
def test_the_due_instant_itself_is_past(now: datetime, last_due: int, next_due: int) -> None:
    every = schedule(*DAILY)
    assert every.last_due(now).due == datetime(2025, 1, last_due, 2, tzinfo=UTC)
    assert every.next_due(now).due == datetime(2025, 1, next_due, 2, tzinfo=UTC)


def test_what_time_it_is_may_be_said_in_any_zone() -> None:
    every = schedule(*DAILY, NEW_YORK)
    now = datetime(2025, 1, 15, 6, 59, tzinfo=UTC)
    for zone in (UTC, BERLIN, NEW_YORK):
        assert last(every, now.astimezone(zone)) == "2025-01-14T02:00:00-05:00"
        assert following(every, now.astimezone(zone)) == "2025-01-15T02:00:00-05:00"
    assert every.last_due(now).period == "2025-01-14"


@pytest.mark.parametrize(
    ("tier", "cron", "now", "period"),
    [
        (*DAILY, utc("2025-01-15T01:59:00"), "2025-01-14"),  # almost a day late
        (*DAILY, utc("2025-01-15T02:00:00"), "2025-01-15"),
        (Tier.DAILY, "59 23 * * *", utc("2025-01-16T00:03:00"), "2025-01-15"),
        (*WEEKLY, utc("2025-01-18T12:00:00"), "2025-W02"),
        (*WEEKLY, utc("2025-01-19T03:00:00"), "2025-W03"),
        (*WEEKLY, utc("2025-01-20T00:05:00"), "2025-W03"),  # late, in the week after
        (*WEEKLY, utc("2021-01-05T00:00:00"), "2020-W53"),
        (*MONTHLY, utc("2025-02-01T03:59:00"), "2025-01"),
        (*MONTHLY, utc("2025-02-01T04:00:00"), "2025-02"),
        (Tier.MONTHLY, "0 4 L * *", utc("2025-03-01T01:00:00"), "2025-02"),
    ],
)
def test_a_late_run_belongs_to_the_period_in_which_it_was_due(
    tier: Tier, cron: str, now: datetime, period: str
) -> None:
    slot = schedule(tier, cron).last_due(now)
    assert (slot.tier, slot.period) == (tier, period)


def test_a_leap_day_has_its_own_slot() -> None:
    every = schedule(*DAILY)
    slot = every.next_due(datetime(2024, 2, 28, 12, tzinfo=UTC))
    assert slot.period == "2024-02-29"
    assert every.next_due(slot.due).period == "2024-03-01"
    assert every.next_due(datetime(2025, 2, 28, 12, tzinfo=UTC)).period == "2025-03-01"
    rare = schedule(Tier.DAILY, "0 2 29 2 *")
    assert rare.last_due(datetime(2027, 6, 1, tzinfo=UTC)).period == "2024-02-29"
    assert rare.next_due(datetime(2097, 1, 1, tzinfo=UTC)).period == "2104-02-29"  # 2100 is no leap year


@pytest.mark.parametrize(
    ("zone", "day", "due"),
    [
        (BERLIN, date(2025, 3, 30), "2025-03-30T03:00:00+02:00"),
        (NEW_YORK, date(2025, 3, 9), "2025-03-09T03:00:00-04:00"),
    ],
)
def test_a_run_in_the_skipped_hour_is_due_right_after_it(zone: ZoneInfo, day: date, due: str) -> None:
    every = schedule(*NIGHTLY, zone)
    at = datetime.fromisoformat(due)
    for before in (timedelta(hours=1, minutes=30), SECOND):
        assert following(every, at - before) == due
        assert every.last_due(at - before).period == str(day - timedelta(days=1))
    for after in (timedelta(0), SECOND, timedelta(minutes=30), timedelta(hours=20)):
        assert last(every, at + after) == due
        assert every.next_due(at + after).period == str(day + timedelta(days=1))


@pytest.mark.parametrize(
    ("zone", "day", "due"),
    [
        (BERLIN, date(2025, 10, 26), "2025-10-26T02:30:00+02:00"),
        (ZoneInfo("Australia/Lord_Howe"), date(2025, 4, 6), "2025-04-06T01:45:00+11:00"),
        (NEW_YORK, date(2025, 11, 2), "2025-11-02T01:30:00-04:00"),
    ],
)
def test_a_run_in_the_repeated_hour_is_due_once_in_the_first(zone: ZoneInfo, day: date, due: str) -> None:
    at = datetime.fromisoformat(due)
    every = schedule(Tier.DAILY, f"{at.minute} {at.hour} * * *", zone)
    assert following(every, at - SECOND) == due
    assert every.last_due(at - SECOND).period == str(day - timedelta(days=1))
    # Every five minutes: the rest of the first hour, and all of the second.
    for minutes in range(0, 150, 5):
        now = at + timedelta(minutes=minutes)
        assert last(every, now.astimezone(zone)) == due
        assert every.next_due(now).period == str(day + timedelta(days=1))


def test_a_schedule_of_every_quarter_hour_runs_on_through_both_hours() -> None:
    every = schedule(Tier.DAILY, "*/15 * * * *", BERLIN)
    now = datetime(2025, 10, 25, 23, 59, tzinfo=UTC)
    found = []
    for _ in range(12):
        now = every.next_due(now).due.astimezone(UTC)
        assert every.last_due(now).due.astimezone(UTC) == now
        found.append(now)
    assert found == [datetime(2025, 10, 26, tzinfo=UTC) + timedelta(minutes=15) * number for number in range(12)]


@pytest.mark.parametrize(("tier", "cron"), [DAILY, NIGHTLY, WEEKLY, MONTHLY])
@pytest.mark.parametrize("zone", ZONES)
def test_in_two_years_each_period_has_exactly_one_slot(tier: Tier, cron: str, zone: str) -> None:
    every = schedule(tier, cron, zone)
    # Both a Monday, the first also the first of a month.
    begin, end = (utc(day).replace(tzinfo=ZoneInfo(zone)) for day in ("2024-01-01", "2025-12-29"))
    days = [begin + timedelta(days=number) for number in range((end - begin).days)]
    found, before, slot = [], every.last_due(begin), every.next_due(begin)
    while slot.due < end:
        found.append(slot.period)
        assert every.last_due(slot.due) == slot
        assert every.last_due(slot.due.astimezone(UTC) - SECOND) == before
        before, slot = slot, every.next_due(slot.due)
    assert found == sorted({period_of(tier, day) for day in days})


@PROPERTY
@given(
    st.integers(0, 800 * 24 * 60).map(lambda minutes: utc("2023-12-01") + timedelta(minutes=minutes)),
    st.sampled_from(ZONES),
    st.sampled_from([DAILY, NIGHTLY, WEEKLY, MONTHLY, (Tier.DAILY, "*/20 1-3 * * *"), (Tier.DAILY, "15,45 1,2 * * *")]),
)
def test_at_any_instant_the_last_slot_is_past_the_next_to_come_and_none_between(
    now: datetime, zone: str, what: tuple[Tier, str]
) -> None:
    every = schedule(*what, zone)
    past, coming = every.last_due(now), every.next_due(now)
    assert past.due.astimezone(UTC) <= now < coming.due.astimezone(UTC)
    assert every.next_due(past.due) == coming
    assert past.period == period_of(past.tier, past.due)
