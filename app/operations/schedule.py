"""When a tier comes due: cron arithmetic in the schedule's time zone.

Daylight saving follows Debian's cron (its manual page cron(8)): a run in the skipped hour is due right after it,
a run in the repeated hour is due once.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from app.domain.backup import Tier
from app.domain.slots import Slot

# CronSim steps along the wall clock, so within a repeated hour it may give what is past for what is next, and pass over
# what came due in the first of the two. Instants decide it; they are compared in UTC, because Python compares, and
# subtracts, two times of one zone by their wall clocks.
_LONGEST_REPEAT = timedelta(hours=3)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A tier's cron expression, known to be valid, and its zone."""

    tier: Tier
    cron: str
    zone: ZoneInfo

    def last_due(self, now: datetime) -> Slot:
        """The slot that came due last, `now` included."""
        return Slot.at(self.tier, due_until(self.cron, self.zone, now))

    def next_due(self, after: datetime) -> Slot:
        """The slot that comes due next after an instant."""
        return Slot.at(self.tier, due_after(self.cron, self.zone, after))


def due_after(cron: str, zone: ZoneInfo, instant: datetime) -> datetime:
    """The first due time after an instant."""
    begin = instant.astimezone(UTC)
    return next(due for due in CronSim(cron, instant.astimezone(zone)) if due.astimezone(UTC) > begin)


def due_until(cron: str, zone: ZoneInfo, instant: datetime) -> datetime:
    """The last due time up to an instant, that included."""
    end = instant.astimezone(UTC)
    start = instant.astimezone(zone)
    if start.fold:
        start = (end + _LONGEST_REPEAT).astimezone(zone)
    # CronSim takes a start with a fraction of a second as lying after that second.
    backwards = CronSim(cron, start.replace(microsecond=1), reverse=True)
    return next(due for due in backwards if due.astimezone(UTC) <= end)
