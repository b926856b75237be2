"""Why rows are blocked: each reason of a plan has a number, which the plan's rows refer to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from app.archive.index import TableName
from app.domain.changes import SampleKind
from app.postgres.merge.schema import ForeignKey

LIVE, BACKUP = "live", "backup"


@dataclass(frozen=True, slots=True)
class Reason:
    """A constraint, or a type, that refuses rows of a table.

    Attributes:
        columns: those that are refused.
        constraint: its name; None if it has none.
        foreign: the foreign key, if it is one.
    """

    table: TableName
    kind: SampleKind
    columns: tuple[str, ...]
    constraint: str | None = None
    foreign: ForeignKey | None = None


@dataclass(slots=True)
class Reasons:
    """The reasons of a plan, numbered as they come."""

    known: list[Reason] = field(default_factory=list)
    _numbers: dict[Reason, int] = field(default_factory=dict)
    _by_table: defaultdict[TableName, dict[int, Reason]] = field(default_factory=lambda: defaultdict(dict))

    def stopped(self, reason: Reason, way: str = "NULL") -> str:
        """What an UPDATE sets in the plan of blocked rows, as SQL.

        Args:
            reason: why they are blocked.
            way: the place of the row in the way, as SQL; see `live_place` and `backup_place`.
        """
        number = self._numbers.setdefault(reason, len(self.known))
        if number == len(self.known):
            self.known.append(reason)
            self._by_table[reason.table][number] = reason
        return f"blocked = {number}, way = {way}"

    def of(self, table: TableName) -> dict[int, Reason]:
        """The reasons why rows of a table are blocked, by their numbers."""
        return self._by_table[table]


def live_place(part: str, row: str) -> str:
    """The place of a live row as text, from its tableoid and ctid."""
    return f"pg_catalog.concat_ws(' ', '{LIVE}', {part}, {row})"


def backup_place(row: str) -> str:
    """The place of a row of the backup as text, from its ctid."""
    return f"pg_catalog.concat_ws(' ', '{BACKUP}', {row})"
