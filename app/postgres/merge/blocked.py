"""How many rows are blocked, by table and reason, and what would let them pass."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from app.archive.index import TableName
from app.domain.adaptation import Adaptation
from app.domain.changes import BlockedRows, MergeRequest, SampleKind, TableChanges
from app.domain.psql import in_psql
from app.postgres.merge.misfits import column_ref
from app.postgres.merge.plan import Planner
from app.postgres.merge.reasons import Reason
from app.postgres.merge.session import MergeSession
from app.postgres.quoting import readable


@dataclass(frozen=True, slots=True)
class Hints:
    """What to do about blocked rows.

    Attributes:
        database: its name.
        in_backup: the live tables that a table of the backup can go into.
    """

    database: str
    request: MergeRequest
    planner: Planner
    in_backup: Collection[TableName]

    def of(self, reason: Reason) -> str | None:
        """A hint; None if nothing simple helps."""
        by_kind: dict[SampleKind, Callable[[Reason], str | None]] = {
            SampleKind.UNFIT: self._unfit,
            SampleKind.UNIQUE: self._unique,
            SampleKind.CHECK: self._check,
            SampleKind.PARTITION: self._partition,
            SampleKind.PARENT: self._parent,
            SampleKind.REFERENCED: self._referenced,
        }
        return by_kind[reason.kind](reason)

    def _unfit(self, reason: Reason) -> str:
        leave_out = Adaptation(skip_columns=(column_ref(reason.table, reason.columns[0]),))
        return f"alter the column's type, or leave the column out: {' '.join(leave_out.words)}"

    def _unique(self, _: Reason) -> str:
        return (
            "change the value in the row that has it; if rows only swap values, make their constraint DEFERRABLE first"
        )

    def _check(self, reason: Reason) -> str:
        column = f"column {reason.columns[0]}" if len(reason.columns) == 1 else "its columns"
        return f"drop the constraint that was added since the backup, merge, correct {column}, and add it again"

    def _partition(self, reason: Reason) -> str:
        table = readable(*reason.table)
        existing = in_psql(self.database, rf"\d+ {table}")
        return f"create the partition that they belong to, PARTITION OF {table}; existing ones: {existing}"

    def _parent(self, reason: Reason) -> str | None:
        parent = reason.foreign.parent if reason.foreign else reason.table
        if self.planner.table(parent) is None:
            return self._along(parent, "--parents")
        if self.request.where and not self.request.parents:
            return "restore the rows that they refer to as well: --parents"
        return None

    def _referenced(self, reason: Reason) -> str | None:
        child = reason.foreign.root if reason.foreign else reason.table
        return self._along(child, "--dependents") if self.planner.table(child) is None else None

    def _along(self, table: TableName, option: str) -> str:
        if table not in self.in_backup:
            return f"no table of the backup goes into {table}: change its rows by hand first"
        return f"restore {table} as well: --table {shlex.quote(str(table))}, or {option}"


def blocked_rows(
    session: MergeSession, planner: Planner, counts: Sequence[TableChanges], hints: Hints
) -> Iterator[BlockedRows]:
    """The numbers of blocked rows."""
    for table, count in zip(planner.staged, counts, strict=True):
        query = f"SELECT blocked, pg_catalog.count(*) FROM {table.plan} WHERE blocked IS NOT NULL GROUP BY 1 ORDER BY 1"
        for number, rows in session.query(query, f"plan for {table.match.name}") if count.blocked else ():
            reason = planner.reasons.known[number]
            yield BlockedRows(
                table=str(reason.table),
                kind=reason.kind,
                columns=reason.columns,
                rows=rows,
                constraint=reason.constraint,
                other=_other(reason),
                hint=hints.of(reason),
            )


def _other(reason: Reason) -> str | None:
    if reason.foreign is None:
        return None
    return str(reason.foreign.parent if reason.kind is SampleKind.PARENT else reason.foreign.child)
