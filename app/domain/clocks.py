"""What a clock that was wrong leaves behind: times that have not come yet.

Clocks of hosts differ a little; what is ahead by no more than `SKEW` is now. What is further ahead was written by a
clock that was wrong, or this one is: nobody can tell which. So nothing is believed of it that could cost a backup, and
nothing of it is removed.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from app.domain.backup import Backup, period_of

SKEW = timedelta(minutes=5)


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
