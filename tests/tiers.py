"""What `make test` tries a sample of, because it is waited for; `make test-all` tries all of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import pytest

# A test whose kind another one stands for in `make test`, or of a setup that few have (subscriptions, a mount without
# links); CI runs it too, by `make test-thorough`.
THOROUGH = pytest.mark.thorough
ALL = bool(os.environ.get("TEST_ALL"))
EVERY_MAJOR = (14, 15, 16, 17, 18)
Point = TypeVar("Point")


def majors(*always: int) -> tuple[int, ...]:
    """The majors of PostgreSQL to try: these, or every one, as `make test-matrix` does too."""
    return EVERY_MAJOR if ALL or os.environ.get("TEST_MATRIX") else always


def examples(number: int) -> int:
    """How many examples hypothesis is to make up."""
    return 10 * number if ALL else number


def times(few: int, all_of_them: int) -> int:
    """How often something is tried whose chances differ from time to time."""
    return all_of_them if ALL else few


def sample_of(points: Sequence[Point], chosen: Sequence[int]) -> list[Point]:
    """The points at these places, or every one."""
    return [point for place, point in enumerate(points) if ALL or place in chosen]


def thorough_at(points: Iterable[Any], *values: Any) -> list[Any]:
    """Parameters, of which these values are left to `make test-thorough`."""
    return [_param(point, THOROUGH) if point in values else point for point in points]


def _param(point: Any, mark: pytest.MarkDecorator) -> Any:
    return pytest.param(*point, marks=mark) if isinstance(point, tuple) else pytest.param(point, marks=mark)


def pairs(first: Sequence[Any], second: Sequence[Any]) -> list[tuple[Any, ...]]:
    """What goes with what: every one with every other, or each once, and as many pairs as that takes."""
    if ALL or os.environ.get("TEST_MATRIX"):
        return [(one, other) for one in first for other in second]
    number = max(len(first), len(second))
    return [(first[place % len(first)], second[place % len(second)]) for place in range(number)]
