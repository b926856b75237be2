"""Where a backup stands in the history of the application's migrations, and where the live database does.

A database is *at* one or more revisions (Alembic's heads). One comes before another if that is reached from it by going
up; the history is known only where the application's scripts can be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from app.domain.listed import listed

Heads = frozenset[str]
_SHOWN = 3  # of the versions that only one side has


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
        names: of both sides, in words.
    """

    backup: Heads | None
    live: Heads | None
    history: History = field(default_factory=History)
    names: tuple[str, str] = ("the backup", "the live database")

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

    @property
    def migrations(self) -> int | None:
        """How many migrations lead from one to the other; None if none do, or nobody can tell."""
        if self.order is Order.SAME or not self.backup or not self.live:
            return 0 if self.order is Order.SAME else None
        if self.order is Order.BEFORE:
            return self.history.steps(self.backup, self.live)
        return self.history.steps(self.live, self.backup) if self.order is Order.AFTER else None

    def __str__(self) -> str:
        """``the backup is of revision a1, the live database of b2 (a1 comes before b2, by 3 migrations)``."""
        one, other = self.names
        return f"{one} is of revision {named(self.backup)}, {other} of {named(self.live)}{self._relation()}"

    def _relation(self) -> str:
        backup, live = named(self.backup), named(self.live)
        if self.order is Order.SAME or not self.backup or not self.live:
            return ""
        if self.order in {Order.BEFORE, Order.AFTER}:
            verb = "comes" if len(self.backup) == 1 else "come"
            return f" ({backup} {verb} {self.order} {live}, by {_migrations(self.migrations or 0)})"
        if self.order is Order.APART:
            return f" (neither of {backup} and {live} leads to the other)"
        lacking = sorted(head for head in self.backup | self.live if not self.history.knows([head]))
        return f" ({', '.join(lacking)} unknown to the application's scripts)" if self.history.parents else ""


@dataclass(frozen=True, slots=True)
class ToolVersions:
    """What the table of another migration tool has on one side only.

    Attributes:
        table: ``schema.name``.
        tool: ``Flyway``.
        only_backup, only_live: versions, sorted.
    """

    table: str
    tool: str
    only_backup: tuple[str, ...]
    only_live: tuple[str, ...]

    def __str__(self) -> str:
        """``public.flyway_schema_history (Flyway): only the live database has 7, 8``."""
        sides = (("the backup", self.only_backup), ("the live database", self.only_live))
        differences = (f"only {side} has {listed(versions, _SHOWN)}" for side, versions in sides if versions)
        return f"{self.table} ({self.tool}): {', '.join(differences)}"


@dataclass(frozen=True, slots=True)
class SchemaVersions:
    """How far the schemas of a backup and of a live database are, as migration tools recorded it.

    Attributes:
        revisions: Alembic's.
        others: tables of other tools that differ.
        problem: why the application's scripts could not be read; None if they were, or there are none.
    """

    revisions: Revisions
    others: tuple[ToolVersions, ...] = ()
    problem: str | None = None

    @property
    def differ(self) -> bool:
        """Whether a tool recorded other versions on one side."""
        return self.revisions.order is not Order.SAME or bool(self.others)

    @property
    def may_be_behind(self) -> bool:
        """Whether migrations may bring the backup to the live schema."""
        order = self.revisions.order
        both = bool(self.revisions.backup and self.revisions.live)
        return order is Order.BEFORE or (order is Order.UNKNOWN and both) or (order is Order.SAME and bool(self.others))

    def __str__(self) -> str:
        """All differences; empty if there are none."""
        order = [] if self.revisions.order is Order.SAME else [str(self.revisions)]
        return "; ".join(filter(None, (*order, *map(str, self.others), self.problem)))


def heads_of(text: str | None) -> Heads | None:
    """Revisions as manifests have them, with commas between; None for none."""
    found = frozenset(filter(None, (part.strip() for part in (text or "").split(","))))
    return found or None


def named(heads: Heads | None) -> str:
    """Revisions in words."""
    return " and ".join(sorted(heads)) if heads else "none"


def _migrations(count: int) -> str:
    return "1 migration" if count == 1 else f"{count} migrations"
