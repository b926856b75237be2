"""Pieces of SQL that a merge is written in.

It runs under the search_path that database and role have, for what belongs to the live tables relies on it. So all
that is ours is named in full, operators and types too: whatever the path leads to first, ours mean the server's.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.postgres.quoting import SAME, quoted

TEXT = "pg_catalog.text"
DIFFERS = "OPERATOR(pg_catalog.*<>)"  # of binary images
ALIKE = "OPERATOR(pg_catalog.*=)"
APPLIED = f"p.blocked IS NULL AND p.action {SAME} ANY (ARRAY['i', 'u'])"


def equal(one: str, its: Sequence[str], other: str, others: Sequence[str], operators: Sequence[str] = ()) -> str:
    """That columns of two tables are pairwise equal, by operators that are given as SQL, or by the server's own."""
    pairs = zip(its, others, operators or (SAME,) * len(its), strict=True)
    return " AND ".join(f"{one}.{quoted(left)} {sign} {other}.{quoted(right)}" for left, right, sign in pairs)


def same_place(row: str, plan: str) -> str:
    """That a live row is the one that a line of a plan is about."""
    return f"{row}.ctid {SAME} {plan}.l AND {row}.tableoid {SAME} {plan}.part"


def row_of(alias: str, columns: Sequence[str]) -> str:
    """Columns of a table as one value; without the cast SQL would compare column by column."""
    return f"ROW({', '.join(f'{alias}.{quoted(name)}' for name in columns)})::pg_catalog.record"


def image_of(columns: Sequence[str]) -> str:
    """Columns of `t` as one text, which every type has: rows without a key are grouped by it."""
    return f"{row_of('t', columns)}::{TEXT}"
