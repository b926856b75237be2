"""When a backup holds so much less than the one that it would replace that the older one is worth keeping."""

from __future__ import annotations

from app.domain.backup import Backup

FRACTION = 0.5  # of the rows, or of the tables


def shrank(older: Backup, newer: Backup) -> str | None:
    """What there was, and what is left of it; None where it is at least half of the rows, and of the tables."""
    if older.damage is not None:
        return None  # what it held cannot be had from it any more
    for what, before, now in (("tables", older.tables, newer.tables), ("rows", older.rows, newer.rows)):
        if before is not None and now is not None and now < FRACTION * before:
            return f"{before:,} {what} before, {now:,} now"
    return None
