"""Where a backup stands in the history of the application's migrations, and where the live database does.

A database is *at* one or more revisions (Alembic's heads). One comes before another if that is reached from it by going
up; the history is known only where the application's scripts can be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Heads = frozenset[str]


class Order(StrEnum):
    """How the backup's revision stands to the live one."""

    SAME = "same"
    BEFORE = "before"
    AFTER = "after"
    APART = "apart"  # on branches of which neither leads to the other
    UNKNOWN = "unknown"  # no history, or one that lacks a revision


@dataclass(frozen=True, slots=True)
class History:
    """The application's migrations.

    Attributes:
        parents: each revision's down revisions and those that it depends on; empty for a first one.
    """

    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def knows(self, heads: Collection[str]) -> bool:
        """Whether the scripts have all of these revisions."""
        return all(head in self.parents for head in heads)

    def below(self, heads: Iterable[str]) -> set[str]:
        """These revisions, and all that come before them."""
        found: set[str] = set()
        left = list(heads)
        while left:
            revision = left.pop()
            if revision not in found:
                found.add(revision)
                left += self.parents.get(revision, ())
        return found

    def steps(self, start: Heads, end: Heads) -> int:
        """How many migrations lead from one to the other."""
        return len(self.below(end) - self.below(start))


@dataclass(frozen=True, slots=True)
class Revisions:
    """Both sides of a restore; None for a side that keeps no revision, or was not asked.

    Attributes:
        tool: what keeps them: ``Alembic``.
    """

    backup: Heads | None
    live: Heads | None
    history: History = field(default_factory=History)
    tool: str = "Alembic"

    @property
    def order(self) -> Order:
        """How the two stand to each other."""
        if self.backup == self.live:
            return Order.SAME
        if not self.backup or not self.live or not self.history.knows(self.backup | self.live):
            return Order.UNKNOWN
        if self.backup <= self.history.below(self.live):
            return Order.BEFORE
        return Order.AFTER if self.live <= self.history.below(self.backup) else Order.APART

    def __str__(self) -> str:
        """``the backup is of revision a1, live of b2 (a1 comes before b2, by 3 migrations)``."""
        sides = f"the backup is of revision {named(self.backup)}, the live database of {named(self.live)}"
        return f"{sides}{self._relation()}"

    def _relation(self) -> str:
        backup, live = named(self.backup), named(self.live)
        if self.order is Order.SAME or not self.backup or not self.live:
            return ""
        if self.order is Order.BEFORE:
            return f" ({backup} comes before {live}, by {_migrations(self.history.steps(self.backup, self.live))})"
        if self.order is Order.AFTER:
            return f" ({backup} comes after {live}, by {_migrations(self.history.steps(self.live, self.backup))})"
        if self.order is Order.APART:
            return f" (neither of {backup} and {live} leads to the other)"
        lacking = sorted(head for head in self.backup | self.live if not self.history.knows([head]))
        return f" ({', '.join(lacking)} unknown to the application's scripts)" if self.history.parents else ""


def heads_of(text: str | None) -> Heads | None:
    """Revisions as manifests have them, with commas between; None for none."""
    found = frozenset(filter(None, (part.strip() for part in (text or "").split(","))))
    return found or None


def named(heads: Heads | None) -> str:
    """Revisions in words."""
    return " and ".join(sorted(heads)) if heads else "none"


def _migrations(count: int) -> str:
    return "1 migration" if count == 1 else f"{count} migrations"
