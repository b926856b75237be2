"""Decides for each row of a backup what the merge does with it, by SQL on the server.

A plan table holds a row for every row that is not equal on both sides: ``i`` to insert, ``u`` to update, ``k`` to keep
the live row, ``d`` to delete. Then rows that a constraint would refuse are blocked, repeatedly, until no more are:
blocking a parent may block its children. The remaining changes keep every constraint together, so that one statement
can apply them; cycles and rows that refer to themselves need no order.

Rows are compared by their binary images (``*<>``), which is exact, also for types without an equality operator (json,
xml).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from app.archive.index import TableName
from app.domain.changes import MergeRequest, SampleKind
from app.domain.restore import Policy
from app.errors import RestoreValidationError
from app.postgres.merge.new_rows import settle
from app.postgres.merge.reasons import Reason, Reasons
from app.postgres.merge.references import References, applies
from app.postgres.merge.schema import Bounds, ForeignKey, LiveSchema
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import APPLIED, DIFFERS, TEXT, image_of, row_of
from app.postgres.merge.staged import UNFIT, StagedTable
from app.postgres.merge.unfit import refused_columns, staged_image
from app.postgres.merge.unique import block_shared_keys, order_updates, unique_taken, unique_twice
from app.postgres.quoting import SAME, quoted


class Planner:
    """Plans a merge of staged tables. Each call plans anew, because live rows may have changed.

    Attributes:
        live: the live schema.
        reasons: why rows are blocked.
        references: blocks rows by foreign keys.
    """

    def __init__(
        self, session: MergeSession, staged: Sequence[StagedTable], live: LiveSchema, request: MergeRequest
    ) -> None:
        self._session = session
        self._staged = staged
        self.live = live
        self._by_name = {table.match.name: table for table in staged}
        self._request = request
        self._whole = request.whole
        self.reasons = Reasons()
        self.references = References(live, self._by_name, self.reasons)
        self._keys_of: defaultdict[TableName, list[ForeignKey]] = defaultdict(list)
        for key in live.foreign_keys:
            for name in {key.root, key.parent}:
                self._keys_of[name].append(key)
        for table in staged:
            self._do(
                table,
                f"CREATE TEMP TABLE {table.plan} (s pg_catalog.tid, l pg_catalog.tid, part pg_catalog.oid,"
                f" action {TEXT}, differs boolean, blocked int, way {TEXT}, step int NOT NULL DEFAULT 0)",
            )

    @property
    def staged(self) -> Sequence[StagedTable]:
        """The tables of the merge."""
        return self._staged

    def table(self, name: TableName) -> StagedTable | None:
        """The table of a name, if it takes part."""
        return self._by_name.get(name)

    def plan(self) -> None:
        """Fill the plan tables.

        Raises:
            RestoreValidationError: no table has the policy's column.
            RestoreError: the server refuses a query.
        """
        self.require_column()
        for table in self._staged:
            self._do(table, f"TRUNCATE {table.plan}")
            self._do(table, self._compared(table) if table.match.key else _missing_rows(table))
            for statement in block_shared_keys(table, self.reasons) if table.match.key else ():
                self._do(table, statement)
            settle(self._session, table)
            if self._request.exact:
                self._do(table, _surplus(table) if table.match.key else _surplus_rows(table))
            self._do(table, f"ANALYZE {table.plan}")
            if not self._whole:
                for statement in self._refusals(table):
                    self._do(table, statement)
        if not self._whole:  # a replace of everything brings its own types, constraints and partitions
            self._block_all()

    def _block_all(self) -> None:
        """Block what constraints between rows refuse, until nothing more is."""
        actions = {table.number: self._actions(table) for table in self._staged}
        while sum(self._block(table, actions[table.number]) for table in self._staged):
            pass
        while sum(order_updates(self._session, table, self.reasons) for table in self._staged):
            while sum(self._block(table, actions[table.number]) for table in self._staged):
                pass

    def referring(self) -> list[ForeignKey]:
        """Foreign keys to tables of the merge. No cascade may change a row that is not planned."""
        return [key for key in self.live.foreign_keys if key.parent in self._by_name]

    def require_column(self) -> None:
        """Make sure that a table has the policy's column.

        Raises:
            RestoreValidationError: no table has it.
        """
        column = self._request.on_conflict.column
        if column is not None and all(column not in table.match.values for table in self._staged):
            hint = "newest:<column> needs a column with the time of a row's last change"
            raise RestoreValidationError(f"none of the tables has a column {column} to find the newest row by", hint)

    def _compared(self, table: StagedTable) -> str:
        """Plan rows by key: those that the live database lacks, and those that differ."""
        match = table.match
        # Whole rows are compared, because equal keys may have different texts.
        differ = f"{row_of('s', match.compared)} {DIFFERS} {row_of('l', match.compared)}"
        if table.refused:
            differ += f" OR s.{UNFIT} IS NOT NULL"
        same = match.same("s", "l")
        return (
            f"INSERT INTO {table.plan} SELECT s.ctid, l.ctid, l.tableoid,"
            f" CASE WHEN l.ctid IS NULL THEN 'i' ELSE {self._action(table)} END, l.ctid IS NOT NULL"
            f" FROM {table.rows} s LEFT JOIN {match.live.rows} l ON {same} WHERE l.ctid IS NULL OR {differ}"
        )

    def _action(self, table: StagedTable) -> str:
        """The action for a row that differs, as SQL."""
        policy, column = self._request.on_conflict.policy, self._request.on_conflict.column
        if policy is Policy.NEWEST and column in table.match.values:
            name = quoted(column or "")
            newer = f"{row_of('s', [column or ''])} OPERATOR(pg_catalog.>) {row_of('l', [column or ''])}"  # any type's
            take = f"s.{name} IS NOT NULL AND (l.{name} IS NULL OR {newer})"
            return f"CASE WHEN {take} THEN 'u' ELSE 'k' END"
        return "'u'" if policy is Policy.TAKE_BACKUP else "'k'"

    def _actions(self, table: StagedTable) -> set[str]:
        return {action for (action,) in self._session.query(f"SELECT DISTINCT action FROM {table.plan}", "the plan")}

    def _block(self, table: StagedTable, actions: set[str]) -> int:
        """Block rows of a table that a constraint would refuse; returns their number."""
        statements: list[str] = []
        if actions & {"i", "u"}:
            for key in table.match.other_keys:
                statements += [unique_taken(table, key, self.reasons), unique_twice(table, key, self.reasons)]
        for foreign in self._keys_of[table.match.name]:
            if applies(table, foreign) and actions & {"i", "u"}:
                statements.append(self.references.orphans(table, foreign))
            if foreign.parent == table.match.name and actions & {"d", "u"}:
                statements.append(self.references.referenced(table, foreign))
        return sum(self._do(table, statement) for statement in statements)

    def _refusals(self, table: StagedTable) -> Iterator[str]:
        """Block rows that are refused by themselves: by a type, NOT NULL or a check, or for lack of a partition."""
        match = table.match
        for kind, constraint, columns, condition in (*refused_columns(table), *_conditions(table)):
            reason = Reason(match.name, kind, columns, constraint)
            yield _refused(table, self.reasons.stopped(reason), condition)
        if bounds := match.live.partition_bounds:
            reason = Reason(match.name, SampleKind.PARTITION, tuple(sorted(bounds.columns)))
            yield _block_unpartitioned(table, self.reasons.stopped(reason), bounds)

    def unfilled(self) -> dict[TableName, list[str]]:
        """NOT NULL columns without a default, in which planned new rows would have no value, by table."""
        unfilled: dict[TableName, list[str]] = {}
        for table in self._staged if not self._whole else ():
            inserts = f"SELECT EXISTS (SELECT FROM {table.plan} WHERE action {SAME} 'i' AND blocked IS NULL)"
            columns = _columns_without_value(table)
            if columns and self._session.query(inserts, "the plan")[0][0]:
                unfilled[table.match.name] = columns
        return unfilled

    def may_want_values(self) -> bool:
        """Whether new rows may lack such a value, or an expression for one may fail."""
        return any(table.match.fills or _columns_without_value(table) for table in self._staged)

    def _do(self, table: StagedTable, statement: str) -> int:
        return self._session.execute(statement, f"plan for {table.match.name}")


def _columns_without_value(table: StagedTable) -> list[str]:
    """NOT NULL columns without a default that the backup lacks."""
    columns = (table.match.live.columns[name] for name in table.match.extra)
    return [column.name for column in columns if column.not_null and not column.has_default]


def _surplus(table: StagedTable) -> str:
    """Plan the deletion of rows that the backup lacks, by key."""
    match = table.match
    same = match.same("s", "l")
    return (
        f"INSERT INTO {table.plan} SELECT NULL, l.ctid, l.tableoid, 'd', false FROM {match.live.users} l"
        f" WHERE NOT EXISTS (SELECT FROM {table.rows} s WHERE {same})"
    )


def _conditions(table: StagedTable) -> Iterator[tuple[SampleKind, str, tuple[str, ...], str]]:
    """Names, columns and conditions under which a row by itself is refused: NOT NULL and checks."""
    match = table.match
    for name in match.columns:
        if match.live.columns[name].not_null:
            yield SampleKind.CHECK, f"not null {name}", (name,), f"{quoted(name)} IS NULL"
    for check in match.live.checks:
        if check.columns <= set(match.columns):
            yield SampleKind.CHECK, check.name, tuple(sorted(check.columns)), f"NOT ({check.condition})"


def _refused(table: StagedTable, stopped: str, condition: str) -> str:
    return (
        f"UPDATE {table.plan} p SET {stopped}"
        f" FROM (SELECT ctid AS id FROM {table.rows} WHERE {condition}) s WHERE s.id {SAME} p.s AND {APPLIED}"
    )


def _block_unpartitioned(table: StagedTable, stopped: str, partition_bounds: Bounds) -> str:
    """Block new rows that fit no partition. Only new rows are checked, because there may be many partitions."""
    rows = f"SELECT s.ctid, s.* FROM {table.rows} s JOIN {table.plan} p ON p.s {SAME} s.ctid WHERE {APPLIED} OFFSET 0"
    return (
        f"UPDATE {table.plan} p SET {stopped}"
        f" FROM (SELECT ctid AS id FROM ({rows}) s WHERE ({partition_bounds.condition}) IS NOT TRUE) s"
        f" WHERE s.id {SAME} p.s AND {APPLIED}"
    )


def _missing_rows(table: StagedTable) -> str:
    """Plan inserts into a table without a key: of equal rows, as many as the live table has fewer."""
    return (
        f"INSERT INTO {table.plan} SELECT s.id, NULL, NULL, 'i', false"
        f" FROM {_numbered(table.rows, staged_image(table))} s"
        f" LEFT JOIN {_counted(table.match.live.rows, image_of(table.match.compared))} l ON s.image {SAME} l.image"
        f" WHERE s.number OPERATOR(pg_catalog.>) coalesce(l.count, 0)"
    )


def _surplus_rows(table: StagedTable) -> str:
    """Plan deletes from a table without a key: of equal rows, as many as the live table has more."""
    return (
        f"INSERT INTO {table.plan} SELECT NULL, l.id, l.part, 'd', false"
        f" FROM {_numbered(table.match.live.users, image_of(table.match.compared))} l"
        f" LEFT JOIN {_counted(table.rows, staged_image(table))} s ON s.image {SAME} l.image"
        f" WHERE l.number OPERATOR(pg_catalog.>) coalesce(s.count, 0)"
    )


def _numbered(source: str, image: str) -> str:
    return (
        f"(SELECT t.ctid AS id, t.tableoid AS part, {image} AS image,"
        f" pg_catalog.row_number() OVER (PARTITION BY {image} ORDER BY t.tableoid, t.ctid) AS number FROM {source} t)"
    )


def _counted(source: str, image: str) -> str:
    return f"(SELECT {image} AS image, pg_catalog.count(*) AS count FROM {source} t GROUP BY 1)"
