"""Slots: the due runs of the schedule, each run exactly once.

A slot is (tier, period). What is due is arithmetic; what has been run is the catalog's to say. A slot whose run failed
for a passing reason, or whose worker died, is tried again after a while, a few times.
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
    """One due run: of `tier`, for `period`, due at `due` (in the schedule's time zone)."""

    tier: Tier
    period: str
    due: datetime

    @classmethod
    def at(cls, tier: Tier, due: datetime) -> Slot:
        """The slot that comes due at that instant."""
        return cls(tier, period_of(tier, due), due)


class SlotState(StrEnum):
    """What became of a slot."""

    PASSED = "passed"  # due before the service first ran: nobody missed it
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """The ledger's entry for a slot.

    Attributes:
        attempts: how many runs were begun.
        updated_at: when the last one ended.
        server: whose slot it was; another server's says nothing of this one's.
    """

    state: SlotState
    attempts: int
    transient: bool
    updated_at: datetime
    server: Identity = ANY

    def may_run(self, now: datetime) -> bool:
        """Whether the slot is free for another attempt: failed for a passing reason, and long enough ago."""
        if self.state is not SlotState.FAILED or not self.transient or self.attempts >= MAX_ATTEMPTS:
            return False
        if is_ahead(self.updated_at, now):  # by a clock that ran ahead: how long ago it was, nobody knows
            return True
        return now >= self.updated_at + FIRST_RETRY * self.attempts**2
