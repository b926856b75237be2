"""SQL fragments of a merge.

A merge runs under the configured search_path of database and role, because expressions of the live tables rely on it.
So all names of this service's SQL are qualified, operators and types too: they must not depend on the path.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.postgres.quoting import SAME, quoted

TEXT = "pg_catalog.text"
DIFFERS = "OPERATOR(pg_catalog.*<>)"  # compares binary images
ALIKE = "OPERATOR(pg_catalog.*=)"
APPLIED = f"p.blocked IS NULL AND p.action {SAME} ANY (ARRAY['i', 'u'])"


def equal(
    one: str, columns: Sequence[str], other: str, other_columns: Sequence[str], operators: Sequence[str] = ()
) -> str:
    """Condition: columns of two tables are pairwise equal, by given operators or by the server's own."""
    pairs = zip(columns, other_columns, operators or (SAME,) * len(columns), strict=True)
    return " AND ".join(f"{one}.{quoted(left)} {sign} {other}.{quoted(right)}" for left, right, sign in pairs)


def same_place(row: str, plan: str) -> str:
    """Condition: a live row is the one of a plan's row."""
    return f"{row}.ctid {SAME} {plan}.l AND {row}.tableoid {SAME} {plan}.part"


def row_of(alias: str, columns: Sequence[str]) -> str:
    """Columns of a table as one record; without the cast, SQL would compare column by column."""
    return f"ROW({', '.join(f'{alias}.{quoted(name)}' for name in columns)})::pg_catalog.record"


def image_of(columns: Sequence[str]) -> str:
    """Columns of `t` as one text, which every type has; to group rows without a key."""
    return f"{row_of('t', columns)}::{TEXT}"
