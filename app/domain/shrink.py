"""Decides whether a backup has so much less content than the one it would replace that the older one is kept."""

from __future__ import annotations

from app.domain.backup import Backup

FRACTION = 0.5  # of the rows, or of the tables


def shrank(older: Backup, newer: Backup) -> str | None:
    """How far the content shrank, in words; None if at least half of the rows and of the tables are left."""
    if older.problem is not None:
        return None  # a damaged backup is not worth keeping
    for what, before, now in (("tables", older.tables, newer.tables), ("rows", older.rows, newer.rows)):
        if before is not None and now is not None and now < FRACTION * before:
            return f"{before:,} {what} before, {now:,} now"
    return None
