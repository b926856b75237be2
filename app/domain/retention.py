"""Retention as arithmetic: which backups are kept, and why.

Each tier keeps its newest N *periods that have a sound backup*, newest by the instant that a backup shows. Counting
backups, not days, means that an outage, however long, prunes nothing. On top of that, whatever the numbers say, these
are never pruned: the newest verified backup of our own, and the newest verified full one; a pinned one; and a file
that this service did not make.

A backup from the future (`domain.clocks`) is neither counted, for it would push out those that are made now, nor the
newest, nor pruned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from app.domain.backup import Backup, Origin, Tier
from app.domain.clocks import from_future


@dataclass(frozen=True, slots=True)
class Retention:
    """How many periods each tier keeps; 0 switches a tier off. A tier without a number is not pruned at all."""

    keep: Mapping[Tier, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """The outcome: every backup stands in exactly one of the two; `reasons` has at least one entry for each kept id."""

    kept: tuple[Backup, ...]
    pruned: tuple[Backup, ...]
    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def plan_retention(backups: Iterable[Backup], policy: Retention, now: datetime | None = None) -> Plan:
    """Decide what stays.

    Args:
        backups: all of one database, of all tiers, in any order.
        policy: the numbers.
        now: the present, in the schedule's time zone; None believes every time.
    """
    everything = sorted(backups, key=lambda backup: (backup.created_at, backup.id), reverse=True)
    reasons: dict[str, list[str]] = {backup.id: [] for backup in everything}
    ahead = [each for each in everything if now is not None and from_future(each, now)]
    believed = [each for each in everything if each not in ahead]
    for tier in Tier:
        _keep_newest_periods([each for each in believed if each.tier is tier], policy.keep.get(tier), reasons)
    _keep_always(believed, reasons)
    for backup in ahead:
        reasons[backup.id].append("from the future: a clock was wrong")
    return Plan(
        kept=tuple(backup for backup in everything if reasons[backup.id]),
        pruned=tuple(backup for backup in everything if not reasons[backup.id]),
        reasons={name: tuple(why) for name, why in reasons.items() if why},
    )


def _keep_newest_periods(newest_first: list[Backup], limit: int | None, reasons: dict[str, list[str]]) -> None:
    """Keep until `limit` sound periods are counted. A damaged backup is kept among them but does not count as one."""
    counted: list[str] = []
    for backup in newest_first:
        if limit is None:
            reasons[backup.id].append(f"no limit for {backup.tier} backups")
        elif backup.origin is Origin.SCAN:
            continue  # not ours to count: see _keep_always
        elif backup.period in counted:
            reasons[backup.id].append(f"{backup.tier} {counted.index(backup.period) + 1} of {limit}")
        elif len(counted) < limit and backup.damage:
            reasons[backup.id].append("damaged, but no newer sound ones replace it yet")
        elif len(counted) < limit:
            counted.append(backup.period)
            reasons[backup.id].append(f"{backup.tier} {len(counted)} of {limit}")


def _keep_always(newest_first: list[Backup], reasons: dict[str, list[str]]) -> None:
    good = [backup for backup in newest_first if backup.origin is Origin.DUMP and backup.good]
    # A full backup is no database's plain dump, nor the other way round: neither stands in for the other.
    for is_sql in (True, False):
        if newest := next((backup for backup in good if backup.tier.is_sql is is_sql), None):
            reasons[newest.id].append("newest verified backup" if is_sql else "newest verified full backup")
    for backup in newest_first:
        if backup.pinned_reason is not None:
            reasons[backup.id].append(f"pinned: {backup.pinned_reason}" if backup.pinned_reason else "pinned")
        if backup.origin is Origin.SCAN:
            reasons[backup.id].append("no manifest of this service")
