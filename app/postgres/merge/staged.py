"""A table of the merge: matched, with its temporary tables."""

from __future__ import annotations

from dataclasses import dataclass

from app.postgres.merge.match import TableMatch
from app.postgres.merge.sql import TEXT
from app.postgres.quoting import literal, quoted

UNFIT = "restore_unfit"


@dataclass(frozen=True, slots=True)
class StagedTable:
    """A matched table with its temporary tables; `rows` and `plan` are their names as SQL.

    Attributes:
        refused: columns whose live type does not take the value of some row. Those rows have NULL there, and the
            values in a further column `UNFIT`, as a JSON object. The table has this column only then.
    """

    match: TableMatch
    number: int
    refused: tuple[str, ...] = ()

    @property
    def staged_columns(self) -> tuple[str, ...]:
        """The columns of `rows` that the backup's rows are copied into."""
        return (*self.match.columns, *self.match.lost, *self.match.computed, *self.match.skipped)

    def backup_text(self, column: str) -> str:
        """The value of a column in the backup's row `s` as text, as SQL; also one that does not fit."""
        text = f"s.{quoted(column)}::{TEXT}"
        if column not in self.refused:
            return text
        return f"coalesce(pg_catalog.jsonb_extract_path_text(s.{UNFIT}, {literal(column)}), {text})"

    @staticmethod
    def live_text(column: str) -> str:
        """The value of a column in the live row `l` as text, as SQL."""
        return f"l.{quoted(column)}::{TEXT}"

    @property
    def rows(self) -> str:
        """The backup's rows."""
        return f"pg_temp.restore_rows_{self.number}"

    @property
    def plan(self) -> str:
        """The plan for these rows."""
        return f"pg_temp.restore_plan_{self.number}"
