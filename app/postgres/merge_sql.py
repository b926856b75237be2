"""Pieces of SQL that a merge is written in."""

from __future__ import annotations

from collections.abc import Sequence

from app.postgres.live_schema import quoted

APPLIED = "p.blocked IS NULL AND p.act IN ('i', 'u')"


def equal(one: str, its: Sequence[str], other: str, others: Sequence[str]) -> str:
    """That columns of two tables are pairwise equal."""
    pairs = zip(its, others, strict=True)
    return " AND ".join(f"{one}.{quoted(left)} = {other}.{quoted(right)}" for left, right in pairs)


def row_of(alias: str, columns: Sequence[str]) -> str:
    """Columns of a table as one value; without the cast SQL would compare column by column."""
    return f"ROW({', '.join(f'{alias}.{quoted(name)}' for name in columns)})::record"


def image_of(columns: Sequence[str]) -> str:
    """Columns of `t` as one text, which every type has: rows without a key are grouped by it."""
    return f"{row_of('t', columns)}::text"


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"
