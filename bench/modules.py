"""The modules of the bench: each has ``rows(lab)`` and ``TARGETS`` (see `bench.lab`)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Protocol, cast

from bench.lab import Lab, Row, Target

QUICK = ("whole", "parts", "commands")
SCALE: tuple[str, ...] = ("trees", "many_tables", "large_objects", "one_table")


class Module(Protocol):
    """What a module of the bench brings."""

    TARGETS: tuple[Target, ...]

    @staticmethod
    def rows(lab: Lab) -> Iterator[Row]:
        """Measure."""
        ...


def module(name: str) -> Module:
    """A module by its name."""
    return cast("Module", import_module(f"bench.{name}"))


def all_targets() -> list[Target]:
    """Those of all modules."""
    return [target for name in (*QUICK, *SCALE) for target in module(name).TARGETS]
