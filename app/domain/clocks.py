"""What a clock that was wrong leaves behind: times that have not come yet.

Clocks of hosts differ a little; what is ahead by no more than `SKEW` is now. What is further ahead was written by a
clock that was wrong, or this one is: nobody can tell which. So nothing is believed of it that could cost a backup, and
nothing of it is removed.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.domain.backup import Backup, Tier, period_of

SKEW = timedelta(minutes=5)
_DAY = timedelta(days=1)


def is_ahead(instant: datetime, now: datetime) -> bool:
    """Whether an instant has not come yet."""
    return instant > now + SKEW


def is_newer(backup: Backup, now: datetime) -> bool:
    """Whether a backup says that it shows what has not come yet: it is the newest of none."""
    return is_ahead(backup.created_at, now)


def from_future(backup: Backup, now: datetime) -> bool:
    """Whether a backup is newer than now, or stands for a period that has not begun: retention leaves it alone.

    Args:
        backup: any.
        now: the present, in the schedule's time zone.
    """
    return is_newer(backup, now) or backup.period > period_of(backup.tier, now + SKEW)


def latest_of(tier: Tier, period: str) -> datetime:
    """The last instant that a backup of a period may show: a day after its end, for a late run and for any time zone.

    A file of which nothing else is known is no newer than that, whenever it was copied to where it is.
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
