"""Retention as arithmetic: which backups are kept, and why.

Each tier keeps the newest N *periods that have an undamaged backup*, newest by the instant of the snapshot. Periods
with a backup are counted, not days, so that an outage of any length prunes nothing. Besides, whatever the numbers say,
these are never pruned: the newest verified backup that this service made, and the newest verified full one; pinned
backups; and files that this service did not make.

A backup from the future (`app.domain.clocks`) is not counted, because it would push out those that are made now. It is
never the newest one, and it is not pruned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from app.domain.backup import Backup, Origin, Tier
from app.domain.clocks import from_future


@dataclass(frozen=True, slots=True)
class Retention:
    """How many periods of each tier are kept; 0 keeps none. A tier without a number is not pruned."""

    keep: Mapping[Tier, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """Every backup is either kept or pruned; `reasons` has at least one entry for each kept id."""

    kept: tuple[Backup, ...]
    pruned: tuple[Backup, ...]
    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def plan_retention(backups: Iterable[Backup], policy: Retention, now: datetime | None = None) -> Plan:
    """Decide which backups are kept.

    Args:
        backups: all of one database, of all tiers, in any order.
        policy: the numbers.
        now: the present, in the schedule's time zone; None takes no backup for one from the future.
    """
    everything = sorted(backups, key=lambda backup: (backup.created_at, backup.id), reverse=True)
    reasons: dict[str, list[str]] = {backup.id: [] for backup in everything}
    ahead = [backup for backup in everything if now is not None and from_future(backup, now)]
    ids_ahead = {backup.id for backup in ahead}
    believed = [backup for backup in everything if backup.id not in ids_ahead]
    for tier in Tier:
        for whole in (True, False):  # a backup of some tables takes no whole one's place
            alike = [backup for backup in believed if backup.tier is tier and backup.is_whole is whole]
            _keep_newest_periods(alike, policy.keep.get(tier), reasons)
    _keep_always(believed, reasons)
    for backup in ahead:
        reasons[backup.id].append("from the future: a clock was wrong")
    return Plan(
        kept=tuple(backup for backup in everything if reasons[backup.id]),
        pruned=tuple(backup for backup in everything if not reasons[backup.id]),
        reasons={name: tuple(why) for name, why in reasons.items() if why},
    )


def _keep_newest_periods(newest_first: list[Backup], limit: int | None, reasons: dict[str, list[str]]) -> None:
    """Keep backups until `limit` periods are counted. A damaged backup among them is kept, but not counted."""
    counted: dict[str, int] = {}  # the number of each period
    for backup in newest_first:
        what = backup.tier if backup.is_whole else f"{backup.tier} of some tables"
        if limit is None:
            reasons[backup.id].append(f"no limit for {backup.tier} backups")
        elif backup.origin is Origin.SCAN:
            continue  # not counted, because this service did not make it: see _keep_always
        elif backup.period in counted:
            reasons[backup.id].append(f"{what} {counted[backup.period]} of {limit}")
        elif len(counted) < limit and backup.problem:
            reasons[backup.id].append("damaged; kept until newer undamaged backups replace it")
        elif len(counted) < limit:
            counted[backup.period] = len(counted) + 1
            reasons[backup.id].append(f"{what} {len(counted)} of {limit}")


def _keep_always(newest_first: list[Backup], reasons: dict[str, list[str]]) -> None:
    whole = [backup for backup in newest_first if backup.is_whole]
    verified = [backup for backup in whole if backup.origin is Origin.DUMP and backup.is_verified]
    # A full backup and a plain dump cannot replace each other.
    for is_sql in (True, False):
        if newest := next((backup for backup in verified if backup.tier.is_sql is is_sql), None):
            reasons[newest.id].append("newest verified backup" if is_sql else "newest verified full backup")
    for backup in newest_first:
        if backup.pinned_reason is not None:
            reasons[backup.id].append(f"pinned: {backup.pinned_reason}" if backup.pinned_reason else "pinned")
        if backup.origin is Origin.SCAN:
            reasons[backup.id].append("no manifest of this service")
