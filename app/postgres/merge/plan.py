"""Decides for each row of a backup what the merge does with it, by SQL on the server.

A plan table holds a row for every row that is not equal on both sides: ``i`` to insert, ``u`` to update, ``k`` to keep
the live row, ``d`` to delete. Then rows that a constraint would refuse are blocked, repeatedly, until no more are:
blocking a parent may block its children. The remaining changes keep every constraint together, so that one statement
can apply them; cycles and rows that refer to themselves need no order.

Rows are compared by their binary images (``*<>``), which is exact, also for types without an equality operator (json,
xml).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.archive.index import TableName
from app.domain.changes import MergeRequest
from app.domain.restore import Policy
from app.errors import RestoreValidationError
from app.postgres.merge.new_rows import settle
from app.postgres.merge.schema import Bounds, ForeignKey, LiveSchema
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import APPLIED, DIFFERS, TEXT, image_of, row_of, same_place
from app.postgres.merge.stage import StagedTable
from app.postgres.merge.unique import block_shared_keys, order_updates, unique_taken, unique_twice
from app.postgres.quoting import SAME, literal, quoted

CHECK, PARENT, PARTITION, REFERENCED = "check", "parent", "partition", "referenced"


class Planner:
    """Plans a merge of staged tables. Each call plans anew, because live rows may have changed."""

    def __init__(
        self, session: MergeSession, staged: Sequence[StagedTable], live: LiveSchema, request: MergeRequest
    ) -> None:
        self._session = session
        self._staged = staged
        self._by_name = {table.match.name: table for table in staged}
        self._request = request
        self._whole = request.whole
        self._live = live.tables
        self._foreign_keys = live.foreign_keys
        for table in staged:
            self._do(
                table,
                f"CREATE TEMP TABLE {table.plan} (s pg_catalog.tid, l pg_catalog.tid, part pg_catalog.oid,"
                f" action {TEXT}, differs boolean, blocked {TEXT}, why {TEXT}, step int NOT NULL DEFAULT 0)",
            )

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
            for statement in block_shared_keys(table) if table.match.key else ():
                self._do(table, statement)
            settle(self._session, table)
            if self._request.exact:
                self._do(table, _surplus(table) if table.match.key else _surplus_rows(table))
            self._do(table, f"ANALYZE {table.plan}")
            for why, condition in _refusals(table):
                self._do(table, _refused(table, why, condition))
            if table.match.live.partition_bounds and not self._whole:  # a replace brings its own partitions
                self._do(table, _block_unpartitioned(table, table.match.live.partition_bounds))
        actions = {table.number: self._actions(table) for table in self._staged}
        while sum(self._block(table, actions[table.number]) for table in self._staged):
            pass
        while sum(order_updates(self._session, table) for table in self._staged):
            while sum(self._block(table, actions[table.number]) for table in self._staged):
                pass

    def referring(self) -> list[ForeignKey]:
        """Foreign keys to tables of the merge. No cascade may change a row that is not planned."""
        return [key for key in self._foreign_keys if key.parent in self._by_name]

    def _sql_of(self, name: TableName) -> str:
        return self._live[name].rows if name in self._live else quoted(*name)

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
        if self._whole and (match.extra or match.lost):
            differ = "true"  # each row gets other columns
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
                statements += [unique_taken(table, key), unique_twice(table, key)]
        for foreign in self._foreign_keys:
            if self._applies(table, foreign) and actions & {"i", "u"}:
                statements.append(self._orphans(table, foreign))
            if foreign.parent == table.match.name and actions & {"d", "u"}:
                statements.append(self._referenced(table, foreign))
        return sum(self._do(table, statement) for statement in statements)

    @staticmethod
    def _applies(table: StagedTable, foreign: ForeignKey) -> bool:
        within = foreign.within.columns if foreign.within else set()
        return foreign.root == table.match.name and {*foreign.columns, *within} <= set(table.match.columns)

    def wanting(self) -> dict[TableName, list[str]]:
        """NOT NULL columns without a default, in which planned new rows would have no value, by table."""
        wanting: dict[TableName, list[str]] = {}
        for table in self._staged if not self._whole else ():
            inserts = f"SELECT EXISTS (SELECT FROM {table.plan} WHERE action {SAME} 'i' AND blocked IS NULL)"
            columns = _columns_without_value(table)
            if columns and self._session.query(inserts, "the plan")[0][0]:
                wanting[table.match.name] = columns
        return wanting

    def may_want_values(self) -> bool:
        """Whether new rows may lack such a value, or an expression for one may fail."""
        return any(table.match.fills or _columns_without_value(table) for table in self._staged)

    def _orphans(self, child: StagedTable, key: ForeignKey) -> str:
        """Block rows whose parent is neither in the live table nor planned."""
        parent = self._by_name.get(key.parent)
        same = key.same("r", "s")
        exists_live = (
            f"EXISTS (SELECT FROM {self._live[key.parent].rows} r WHERE {same}{_remains('r', parent, key.referenced)})"
        )
        planned = ""
        if parent is not None and set(key.referenced) <= set(parent.match.columns):
            planned = (
                f" AND NOT EXISTS (SELECT FROM {parent.plan} q JOIN {parent.rows} r ON r.ctid {SAME} q.s"
                f" WHERE q.blocked IS NULL AND q.action {SAME} ANY (ARRAY['i', 'u']) AND {same})"
            )
        not_null = " AND ".join(f"s.{quoted(name)} IS NOT NULL" for name in key.columns)
        rows = f"(SELECT ctid, * FROM {child.rows} WHERE {key.within.condition})" if key.within else child.rows
        return (
            f"UPDATE {child.plan} p SET blocked = '{PARENT}', why = {literal(', '.join(key.columns))}"
            f" FROM {rows} s WHERE s.ctid {SAME} p.s AND {APPLIED} AND {not_null} AND NOT {exists_live}{planned}"
        )

    def _referenced(self, parent: StagedTable, key: ForeignKey) -> str:
        """Block deletes of rows that others refer to, and updates of referenced columns."""
        leaves = f"p.action {SAME} 'd'"
        source = f"{parent.match.live.rows} l"
        joined = same_place("l", "p")
        if not set(key.referenced) <= set(parent.match.key_columns) and set(key.referenced) <= set(
            parent.match.columns
        ):
            changed = f"{row_of('s', key.referenced)} {DIFFERS} {row_of('l', key.referenced)}"
            updated = f"SELECT FROM {parent.rows} s WHERE s.ctid {SAME} p.s AND {changed}"
            leaves += f" OR p.action {SAME} 'u' AND EXISTS ({updated})"
        child = self._by_name.get(key.root)
        same = key.same("l", "c")
        still_referenced = (
            f"EXISTS (SELECT FROM {self._sql_of(key.child)} c WHERE {same}{_remains('c', child, key.columns)})"
        )
        if child is not None and set(key.columns) <= set(child.match.columns):
            still_referenced += (
                f" OR EXISTS (SELECT FROM {child.plan} q JOIN {child.rows} c ON c.ctid {SAME} q.s"
                f" WHERE q.blocked IS NULL AND q.action {SAME} ANY (ARRAY['i', 'u']) AND {same})"
            )
        return (
            f"UPDATE {parent.plan} p SET blocked = '{REFERENCED}', why = {literal(str(key.child))} FROM {source}"
            f" WHERE {joined} AND p.blocked IS NULL AND ({leaves}) AND ({still_referenced})"
        )

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


def _refusals(table: StagedTable) -> Iterator[tuple[str, str]]:
    """Columns and conditions under which a row by itself is refused: NOT NULL and checks."""
    match = table.match
    for name in match.columns:
        if match.live.columns[name].not_null:
            yield name, f"{quoted(name)} IS NULL"
    for check in match.live.checks:
        if check.columns <= set(match.columns):
            yield ", ".join(sorted(check.columns)), f"NOT ({check.condition})"


def _refused(table: StagedTable, why: str, condition: str) -> str:
    return (
        f"UPDATE {table.plan} p SET blocked = '{CHECK}', why = {literal(why)}"
        f" FROM (SELECT ctid AS id FROM {table.rows} WHERE {condition}) s WHERE s.id {SAME} p.s AND {APPLIED}"
    )


def _block_unpartitioned(table: StagedTable, partition_bounds: Bounds) -> str:
    """Block new rows that fit no partition. Only new rows are checked, because there may be many partitions."""
    rows = f"SELECT s.ctid, s.* FROM {table.rows} s JOIN {table.plan} p ON p.s {SAME} s.ctid WHERE {APPLIED} OFFSET 0"
    columns = ", ".join(sorted(partition_bounds.columns))
    return (
        f"UPDATE {table.plan} p SET blocked = '{PARTITION}', why = {literal(columns)}"
        f" FROM (SELECT ctid AS id FROM ({rows}) s WHERE ({partition_bounds.condition}) IS NOT TRUE) s"
        f" WHERE s.id {SAME} p.s AND {APPLIED}"
    )


def _missing_rows(table: StagedTable) -> str:
    """Plan inserts into a table without a key: of equal rows, as many as the live table has fewer."""
    return (
        f"INSERT INTO {table.plan} SELECT s.id, NULL, NULL, 'i', false FROM {_numbered(table, table.rows)} s"
        f" LEFT JOIN {_counted(table, table.match.live.rows)} l ON s.image {SAME} l.image"
        f" WHERE s.number OPERATOR(pg_catalog.>) coalesce(l.count, 0)"
    )


def _surplus_rows(table: StagedTable) -> str:
    """Plan deletes from a table without a key: of equal rows, as many as the live table has more."""
    return (
        f"INSERT INTO {table.plan} SELECT NULL, l.id, l.part, 'd', false"
        f" FROM {_numbered(table, table.match.live.users)} l"
        f" LEFT JOIN {_counted(table, table.rows)} s ON s.image {SAME} l.image"
        f" WHERE l.number OPERATOR(pg_catalog.>) coalesce(s.count, 0)"
    )


def _numbered(table: StagedTable, source: str) -> str:
    image = image_of(table.match.compared)
    return (
        f"(SELECT t.ctid AS id, t.tableoid AS part, {image} AS image,"
        f" pg_catalog.row_number() OVER (PARTITION BY {image} ORDER BY t.tableoid, t.ctid) AS number FROM {source} t)"
    )


def _counted(table: StagedTable, source: str) -> str:
    return (
        f"(SELECT {image_of(table.match.compared)} AS image, pg_catalog.count(*) AS count FROM {source} t GROUP BY 1)"
    )


def _remains(alias: str, staged: StagedTable | None, columns: Sequence[str]) -> str:
    """Condition, after AND: a live row keeps its values in some columns; it is neither deleted nor updated there."""
    if staged is None:
        return ""
    lasting = set(columns) <= set(staged.match.key_columns) or not set(columns) & set(staged.match.columns)
    actions = "ARRAY['d']" if lasting else "ARRAY['d', 'u']"
    return (
        f" AND NOT EXISTS (SELECT FROM {staged.plan} o WHERE {same_place(alias, 'o')}"
        f" AND o.action {SAME} ANY ({actions}) AND o.blocked IS NULL)"
    )
