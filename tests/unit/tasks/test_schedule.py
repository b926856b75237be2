"""What beat sends, and when it looks again."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from celery import Celery

from app.settings.environment import load_settings
from tasks.schedule import CATCH_UP_SECONDS, SCHEDULED, Beat, Cron, Every, beat_schedule

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600.0


def cron(now: datetime, expression: str = "0 2 * * *", zone: str = "UTC") -> Cron:
    return Cron(expression, zone, clock=lambda: now)


def entries(**environ: str) -> dict[str, dict[str, object]]:
    return beat_schedule(load_settings({"DATABASE_URL": "postgresql://db/app"} | environ).settings)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("last_run", "now", "is_due", "again"),
    [
        ("2025-01-15T01:00:00", "2025-01-15T01:59:59", False, 1),
        ("2025-01-15T01:00:00", "2025-01-15T02:00:00", True, 24 * HOUR),
        ("2025-01-15T01:59:59.999", "2025-01-15T02:00:00.5", True, 24 * HOUR - 0.5),
        ("2025-01-15T02:00:00", "2025-01-15T02:00:00", False, 24 * HOUR),
        ("2025-01-15T02:00:00.001", "2025-01-15T02:00:00.5", False, 24 * HOUR - 0.5),
        ("2025-01-15T02:00:00", "2025-01-16T01:59:59.5", False, 0.5),
        ("2025-01-15T02:00:00", "2025-01-20T13:00:00", True, 13 * HOUR),  # days late: once, then the next
        ("2025-01-15T12:00:00", "2025-01-15T11:00:00", False, 15 * HOUR),  # the clock was put back
    ],
)
def test_a_run_is_due_from_its_instant_on_and_once(last_run: str, now: str, is_due: bool, again: float) -> None:  # noqa: FBT001
    state = cron(utc(now)).is_due(utc(last_run))
    assert state.is_due is is_due
    assert state.next == pytest.approx(again)


def test_a_run_sent_by_a_clock_a_day_ahead_is_sent_again_and_then_as_ever() -> None:
    ahead, now = utc("2025-01-16T02:00:00"), utc("2025-01-15T01:00:00")
    assert cron(now).is_due(ahead) == (True, HOUR)
    assert not cron(now).is_due(now).is_due


class Silent(Beat):
    """Sends nothing; remembers what it would have sent."""

    sent: list[str]

    def apply_entry(self, entry: Any, producer: Any = None) -> None:  # noqa: ARG002 -- Celery's
        self.sent.append(entry.name)


def test_beat_goes_on_at_once_when_the_clock_is_put_back_by_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [utc("2025-01-16T12:00:00")]
    monkeypatch.setattr("tasks.schedule._wall_ahead", lambda: clock[0].timestamp())  # noqa: PLW0108 -- what the list holds then
    app = Celery("test", broker="memory://", set_as_current=False, fixups=[])
    schedules = {
        "minute": Every(timedelta(seconds=60), nowfun=lambda: clock[0], app=app),
        "night": Cron("0 2 * * *", "UTC", clock=lambda: clock[0]),
    }
    app.conf.update(beat_schedule={name: {"task": name, "schedule": each} for name, each in schedules.items()})
    beat = Silent(app)
    beat.sent = []

    def sent_at(instant: datetime) -> list[str]:
        clock[0], beat.sent = instant, []
        for _ in range(5):
            beat.tick()
        return sorted(beat.sent)

    assert sent_at(clock[0]) == []
    assert sent_at(utc("2025-01-17T02:00:01")) == ["minute", "night"]
    assert sent_at(utc("2025-01-16T00:00:00")) == ["minute", "night"], "a night may have been passed over"
    assert sent_at(utc("2025-01-16T00:00:30")) == []
    assert sent_at(utc("2025-01-16T00:01:01")) == ["minute"]
    assert sent_at(utc("2025-01-16T02:00:01")) == ["minute", "night"]


def test_the_time_left_is_counted_from_now() -> None:
    assert cron(utc("2025-01-15T01:30")).remaining_estimate(utc("2025-01-15T01:00")) == timedelta(minutes=30)


def test_the_zone_is_the_schedules() -> None:
    every = cron(utc("2025-01-15T00:59"), "0 2 * * *", "Europe/Berlin")
    assert every.is_due(utc("2025-01-14T12:00")).next == 60
    assert cron(utc("2025-01-15T01:00"), "0 2 * * *", "Europe/Berlin").is_due(utc("2025-01-14T12:00")).is_due


@pytest.mark.parametrize(
    ("last_run", "now", "is_due", "again"),
    [
        ("2025-03-29T02:30:00+01:00", "2025-03-30T01:00:00+01:00", False, HOUR),  # 02:00 to 03:00 is skipped
        ("2025-03-29T02:30:00+01:00", "2025-03-30T03:00:00+02:00", True, 23.5 * HOUR),
        ("2025-10-25T02:30:00+02:00", "2025-10-26T02:00:00+02:00", False, HOUR / 2),
        ("2025-10-26T02:30:00+02:00", "2025-10-26T02:30:00+02:00", False, 25 * HOUR),
        ("2025-10-26T02:30:00+02:00", "2025-10-26T02:30:00+01:00", False, 24 * HOUR),  # the hour is repeated
        # Started in the second of the two hours: the first one's run is not its own to send.
        ("2025-10-26T02:10:00+01:00", "2025-10-26T02:10:00+01:00", False, 24 * HOUR + HOUR / 3),
        ("2025-10-26T02:10:00+01:00", "2025-10-26T02:40:00+01:00", False, 24 * HOUR - HOUR / 6),
    ],
)
def test_daylight_saving_moves_no_run_and_doubles_none(last_run: str, now: str, is_due: bool, again: float) -> None:  # noqa: FBT001
    every = cron(datetime.fromisoformat(now).astimezone(BERLIN), "30 2 * * *", "Europe/Berlin")
    state = every.is_due(datetime.fromisoformat(last_run).astimezone(BERLIN))
    assert (state.is_due, state.next) == (is_due, pytest.approx(again))


def test_without_a_clock_it_is_now() -> None:
    every = Cron("* * * * *", "UTC")
    assert abs(every.now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert every.now().utcoffset() == timedelta(0)
    assert 0 < every.is_due(every.now()).next <= 60


def test_schedules_are_equal_by_their_value_and_survive_pickling() -> None:
    every = Cron("0 2 * * *", "Europe/Berlin")
    for same in (Cron("0 2 * * *", "Europe/Berlin"), pickle.loads(pickle.dumps(every)), copy.deepcopy(every)):
        assert same == every
        assert hash(same) == hash(every)
        assert same.remaining_estimate(same.now()) > timedelta(0)
    assert every != Cron("0 2 * * *", "UTC")
    assert every != Cron("0 3 * * *", "Europe/Berlin")
    assert every != "0 2 * * *"
    assert repr(every) == "<cron: 0 2 * * * Europe/Berlin>"


def test_every_tier_is_sent_at_its_time_as_a_due_run() -> None:
    found = entries(BACKUP_TIMEZONE="Europe/Berlin", BACKUP_WEEKLY_CRON="30 3 * * 6")
    assert {name: found[name] for name in ("daily", "weekly", "monthly")} == {
        name: {
            "task": f"backup.{name}",
            "schedule": Cron(expression, "Europe/Berlin"),
            "options": {"headers": SCHEDULED},
        }
        for name, expression in {"daily": "0 2 * * *", "weekly": "30 3 * * 6", "monthly": "0 4 1 * *"}.items()
    }
    assert found["verify"] == {"task": "backup.verify", "schedule": Cron("0 5 * * *", "Europe/Berlin")}


def test_what_was_missed_is_looked_for_every_minute_and_the_question_does_not_pile_up() -> None:
    entry = entries()["catch up"]
    assert entry["schedule"] == timedelta(seconds=CATCH_UP_SECONDS) == timedelta(minutes=1)
    assert entry["options"] == {"expires": CATCH_UP_SECONDS}


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({}, set()),
        ({"BACKUP_DAILY_CRON": "off"}, {"daily"}),
        ({"BACKUP_KEEP_WEEKS": "0"}, {"weekly"}),
        ({"BACKUP_MONTHLY_CRON": "off", "BACKUP_KEEP_MONTHS": "0"}, {"monthly"}),
        ({"BACKUP_VERIFY_CRON": "off"}, {"verify"}),
        ({"BACKUP_KEEP_MANUAL": "0"}, set()),
        (
            {f"BACKUP_{name}_CRON": "off" for name in ("DAILY", "WEEKLY", "MONTHLY", "VERIFY")},
            {"daily", "weekly", "monthly", "verify"},
        ),
    ],
)
def test_what_is_off_is_not_sent(environ: dict[str, str], missing: set[str]) -> None:
    assert set(entries(**environ)) == {"daily", "weekly", "monthly", "verify", "catch up"} - missing
