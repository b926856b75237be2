"""A list of names in a sentence: the first few, and how many more there are."""

from __future__ import annotations

from collections.abc import Iterable


def listed(names: Iterable[object], limit: int, separator: str = ", ") -> str:
    """The first names up to a limit, and how many more there are: ``a, b and 7 more``."""
    texts = [str(name) for name in names]
    shown = separator.join(texts[:limit])
    return shown if len(texts) <= limit else f"{shown} and {len(texts) - limit} more"
