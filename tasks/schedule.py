"""The schedule of beat."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from celery.beat import Scheduler
from celery.schedules import BaseSchedule, schedstate, schedule

from app.domain.clocks import SKEW, is_ahead
from app.operations.schedule import due_after
from app.settings.model import Settings

# Not "backup.…": it runs every minute, and would bury the lines that `grep -i backup` looks for.
CATCH_UP = "schedule.catch_up"
CATCH_UP_SECONDS = 60.0
# Marks a scheduled run, as opposed to one that an admin asked for. A header, because the arguments are fixed.
SCHEDULED = {"scheduled": True}


class Beat(Scheduler):
    """Celery's scheduler, which computes all due times again if the wall clock was set back.

    Otherwise an entry that was sent while the clock was a day ahead would not be due for a day.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._ahead = _wall_ahead()
        super().__init__(*args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Send due entries; return the seconds until the next call."""
        before, self._ahead = self._ahead, _wall_ahead()
        if self._ahead < before - SKEW.total_seconds():
            self.old_schedulers = None  # makes the next tick ask each entry
        return float(super().tick(*args, **kwargs))


def _wall_ahead() -> float:
    """Seconds by which the wall clock is ahead of the monotonic clock."""
    return time.time() - time.monotonic()


class Every(schedule):
    """A fixed number of seconds after the last time, or now if the last time is in the future."""

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether the entry is due, and the seconds until the next call."""
        if is_ahead(self.maybe_make_aware(last_run_at), self.now()):
            return schedstate(is_due=True, next=self.seconds)
        return super().is_due(last_run_at)


class Cron(BaseSchedule):
    """A cron expression in a time zone; see `app.operations.schedule` for daylight saving."""

    def __init__(self, cron: str, zone: str, *, clock: Callable[[], datetime] | None = None) -> None:
        super().__init__()
        self.cron = cron
        self.zone = zone
        self._clock = clock or partial(datetime.now, UTC)

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Whether a due time has passed since `last_run_at`, and the seconds until the next call."""
        now = self.now()
        due = self._after(last_run_at)
        # The clock was ahead when the entry was sent, even of the next due time. So it is sent again; the catalog knows
        # which slots were run.
        skipped = is_ahead(last_run_at, now) and self._after(now) <= last_run_at
        if due <= now or skipped:
            return schedstate(is_due=True, next=(self._after(now) - now).total_seconds())
        return schedstate(is_due=False, next=(due - now).total_seconds())

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Time from now until the first due time after `last_run_at`."""
        return self._after(last_run_at) - self.now()

    def now(self) -> datetime:
        """The present instant in UTC, because Python compares two times of one zone without daylight saving."""
        return self._clock().astimezone(UTC)

    def __reduce__(self) -> tuple[type[Cron], tuple[str, str]]:
        return type(self), (self.cron, self.zone)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cron) and (self.cron, self.zone) == (other.cron, other.zone)

    def __hash__(self) -> int:
        return hash((self.cron, self.zone))

    def __repr__(self) -> str:
        return f"<cron: {self.cron} {self.zone}>"

    def _after(self, instant: datetime) -> datetime:
        return due_after(self.cron, ZoneInfo(self.zone), instant).astimezone(UTC)


def beat_schedule(settings: Settings) -> dict[str, dict[str, Any]]:
    """An entry for each tier that is switched on, for verification, and for missed slots."""
    zone = settings.backup_timezone
    entries: dict[str, dict[str, Any]] = {
        str(tier): {"task": f"backup.{tier}", "schedule": Cron(cron, zone), "options": {"headers": SCHEDULED}}
        for tier, cron in settings.crons.items()
    }
    if settings.backup_verify_cron != "off":
        entries["verify"] = {"task": "backup.verify", "schedule": Cron(settings.backup_verify_cron, zone)}
    entries["catch up"] = {
        "task": CATCH_UP,
        "schedule": Every(timedelta(seconds=CATCH_UP_SECONDS)),
        # They must not pile up while no worker runs: one of them does the work of all.
        "options": {"expires": CATCH_UP_SECONDS},
    }
    return entries
