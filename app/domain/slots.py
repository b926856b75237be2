"""Slots: the due runs of the schedule, each run exactly once.

A slot is a tier and a period. The schedule says which slots are due, the catalog which ones were run. If a run fails
for a transient reason, or its worker dies, the slot is tried again after a while, a few times.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from app.domain.backup import Tier, period_of
from app.domain.clocks import is_ahead
from app.domain.servers import ANY, Identity

MAX_ATTEMPTS = 3
FIRST_RETRY = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Slot:
    """One due run of a tier for a period; `due` is in the schedule's time zone."""

    tier: Tier
    period: str
    due: datetime

    @classmethod
    def at(cls, tier: Tier, due: datetime) -> Slot:
        """The slot that is due at an instant."""
        return cls(tier, period_of(tier, due), due)


class SlotState(StrEnum):
    """The state of a slot in the catalog."""

    PASSED = "passed"  # due before the service first ran, so it was not missed
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """A slot in the catalog.

    Attributes:
        attempts: number of runs that began.
        updated_at: when the last run ended.
        server: that the slot was run on. A slot of another server does not count for this one.
    """

    state: SlotState
    attempts: int
    transient: bool
    updated_at: datetime
    server: Identity = ANY

    def may_run(self, now: datetime) -> bool:
        """Whether another attempt may begin: the last one failed for a transient reason, and long enough ago."""
        if self.state is not SlotState.FAILED or not self.transient or self.attempts >= MAX_ATTEMPTS:
            return False
        if is_ahead(self.updated_at, now):  # a clock was wrong, so it is unknown how long ago that was
            return True
        return now >= self.updated_at + FIRST_RETRY * self.attempts**2
