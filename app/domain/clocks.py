"""Backups with times in the future, which a wrong clock leaves behind.

The clocks of hosts differ a little: a time that is ahead by up to `SKEW` counts as now. For a time further ahead,
either the clock that wrote it was wrong or this clock is, and nobody can tell which. So such a backup is not counted,
because that could remove another one, and it is not removed itself.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from app.domain.backup import Backup, Tier, period_of

SKEW = timedelta(minutes=5)
_DAY = timedelta(days=1)


def is_ahead(instant: datetime, now: datetime) -> bool:
    """Whether an instant is in the future."""
    return instant > now + SKEW


def is_newer(backup: Backup, now: datetime) -> bool:
    """Whether the instant of a backup is in the future. Then it is never the newest one."""
    return is_ahead(backup.created_at, now)


def from_future(backup: Backup, now: datetime) -> bool:
    """Whether a backup's instant or period is in the future. Retention then leaves it alone.

    Args:
        backup: of any tier.
        now: the present, in the schedule's time zone.
    """
    return is_newer(backup, now) or backup.period > _last_period(backup.tier, now)


@lru_cache(maxsize=16)
def _last_period(tier: Tier, now: datetime) -> str:
    """The last period of a tier that has begun. Thousands of backups are asked at one instant."""
    return period_of(tier, now + SKEW)


def latest_of(tier: Tier, period: str) -> datetime:
    """The last instant that a backup of a period can have: a day after its end, for late runs and all time zones.

    A file without a manifest is not newer than this, even if it was copied to its place later.
    """
    if tier is Tier.WEEKLY:
        begin = datetime.fromisocalendar(int(period[:4]), int(period[6:]), 1)
        length = 7 * _DAY
    else:
        begin = datetime.fromisoformat(f"{period}-01" if tier is Tier.MONTHLY else period)
        length = {Tier.MONTHLY: 31 * _DAY}.get(tier, _DAY)
    try:
        return begin.replace(tzinfo=UTC) + length + _DAY
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
