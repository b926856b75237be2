"""Backups as retention sees them, made up day by day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from app.domain.backup import Backup, Codec, Origin, Tier, id_of, period_of

DAY = timedelta(days=1)


def backup(
    tier: Tier, when: datetime, *, verified: bool = True, clock: timedelta = timedelta(0), **facts: Any
) -> Backup:
    """A backup for the period of `when`, made by a clock that was wrong by `clock`."""
    period = period_of(tier, when)
    name = id_of(tier, period, with_year=True)
    made = Backup(
        id=name,
        database="app",
        tier=tier,
        period=period,
        file=f"{name}.sql",
        created_at=when + clock,
        bytes=1000,
        raw_bytes=1000,
        rows=10,
        tables=1,
        database_size=8000,
        sha256="0" * 64,
        codec=Codec.NONE,
        origin=Origin.DUMP,
        verified_at=when + clock if verified else None,
    )
    return replace(made, **facts)


def day(number: int, month: int = 1) -> datetime:
    return datetime(2025, month, number, 2, tzinfo=UTC)
