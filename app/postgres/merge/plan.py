"""Decides for each row of a backup what becomes of it, by SQL on the server.

A plan table holds a line for every row that is not simply equal on both sides: ``i`` to insert, ``u`` to update,
``k`` to keep as the live database has it, ``d`` to delete. Then what the constraints would refuse is blocked, in
rounds, until nothing more is: blocking a parent may block its children. What is left can be done in one statement,
since all of it together keeps every key; so cycles and references to oneself need no order.

Rows are compared by their binary images (``*<>``), which is exact, also for types without an equality (json, xml).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.archive.index import TableName
from app.domain.changes import MergeRequest
from app.domain.restore import Policy
from app.errors import RestoreValidationError
from app.postgres.merge.schema import Bounds, ForeignKey, LiveSchema
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import APPLIED, DIFFERS, TEXT, image_of, row_of, same_place
from app.postgres.merge.stage import StagedTable
from app.postgres.merge.unique import block_shared_keys, order_updates, unique_taken, unique_twice
from app.postgres.quoting import SAME, literal, quoted

CHECK, PARENT, PARTITION, REFERENCED = "check", "parent", "partition", "referenced"


class Planner:
    """Plans a merge of staged tables, as often as asked: what is live may have changed since."""

    def __init__(
        self, session: MergeSession, staged: Sequence[StagedTable], live: LiveSchema, request: MergeRequest
    ) -> None:
        self._session = session
        self._staged = staged
        self._by_name = {each.match.name: each for each in staged}
        self._request = request
        self._whole = request.whole
        self._live = live.tables
        self._foreign_keys = live.foreign_keys
        for each in staged:
            self._do(
                each,
                f"CREATE TEMP TABLE {each.plan} (s pg_catalog.tid, l pg_catalog.tid, part pg_catalog.oid,"
                f" action {TEXT}, differs boolean, blocked {TEXT}, why {TEXT}, step int NOT NULL DEFAULT 0)",
            )

    def plan(self) -> None:
        """Fill the plan tables anew.

        Raises:
            RestoreValidationError: the policy's column is in no table.
            RestoreError: the server refuses a question.
        """
        self.require_column()
        for each in self._staged:
            self._do(each, f"TRUNCATE {each.plan}")
            self._do(each, self._compared(each) if each.match.key else _missing_rows(each))
            for statement in block_shared_keys(each) if each.match.key else ():
                self._do(each, statement)
            if self._request.exact:
                self._do(each, _surplus(each) if each.match.key else _surplus_rows(each))
            self._do(each, f"ANALYZE {each.plan}")
            for why, condition in _refusals(each):
                self._do(each, _refused(each, why, condition))
            if each.match.live.partition_bounds and not self._whole:  # a replace brings its own partitions
                self._do(each, _without_room(each, each.match.live.partition_bounds))
        actions = {each.number: self._actions(each) for each in self._staged}
        while sum(self._block(each, actions[each.number]) for each in self._staged):
            pass
        while sum(order_updates(self._session, each) for each in self._staged):
            while sum(self._block(each, actions[each.number]) for each in self._staged):
                pass
        self._require_values()

    def referring(self) -> list[ForeignKey]:
        """The foreign keys to tables of the merge: no cascade must reach a row that the plan has not seen."""
        return [key for key in self._foreign_keys if key.parent in self._by_name]

    def _sql_of(self, name: TableName) -> str:
        return self._live[name].rows if name in self._live else quoted(*name)

    def require_column(self) -> None:
        """Make sure that a policy's column is there.

        Raises:
            RestoreValidationError: it is in no table.
        """
        column = self._request.on_conflict.column
        if column is not None and all(column not in each.match.values for each in self._staged):
            hint = "newest:<column> wants one that says when a row was changed last"
            raise RestoreValidationError(f"none of the tables has a column {column} to tell the newest row by", hint)

    def _compared(self, each: StagedTable) -> str:
        """Rows by key: those that the live database lacks, and those that differ."""
        match = each.match
        # The whole rows: equal keys may be spelled differently.
        differ = f"{row_of('s', match.columns)} {DIFFERS} {row_of('l', match.columns)}"
        if self._whole and (match.extra or match.lost):
            differ = "true"  # every row gets another shape
        same = match.same("s", "l")
        return (
            f"INSERT INTO {each.plan} SELECT s.ctid, l.ctid, l.tableoid,"
            f" CASE WHEN l.ctid IS NULL THEN 'i' ELSE {self._action(each)} END, l.ctid IS NOT NULL"
            f" FROM {each.rows} s LEFT JOIN {match.live.rows} l ON {same} WHERE l.ctid IS NULL OR {differ}"
        )

    def _action(self, each: StagedTable) -> str:
        """What to do with a row that differs, as SQL."""
        policy, column = self._request.on_conflict.policy, self._request.on_conflict.column
        if policy is Policy.NEWEST and column in each.match.values:
            name = quoted(column or "")
            newer = f"{row_of('s', [column or ''])} OPERATOR(pg_catalog.>) {row_of('l', [column or ''])}"  # any type's
            given = f"s.{name} IS NOT NULL AND (l.{name} IS NULL OR {newer})"
            return f"CASE WHEN {given} THEN 'u' ELSE 'k' END"
        return "'u'" if policy is Policy.TAKE_BACKUP else "'k'"

    def _actions(self, each: StagedTable) -> set[str]:
        return {action for (action,) in self._session.query(f"SELECT DISTINCT action FROM {each.plan}", "the plan")}

    def _block(self, each: StagedTable, actions: set[str]) -> int:
        """Block what cannot be done with a table's rows; how many it was."""
        statements: list[str] = []
        if actions & {"i", "u"}:
            for key in each.match.other_keys:
                statements += [unique_taken(each, key), unique_twice(each, key)]
        for foreign in self._foreign_keys:
            if self._looked_at(each, foreign) and actions & {"i", "u"}:
                statements.append(self._orphans(each, foreign))
            if foreign.parent == each.match.name and actions & {"d", "u"}:
                statements.append(self._referenced(each, foreign))
        return sum(self._do(each, statement) for statement in statements)

    @staticmethod
    def _looked_at(each: StagedTable, foreign: ForeignKey) -> bool:
        within = foreign.within.columns if foreign.within else set()
        return foreign.root == each.match.name and {*foreign.columns, *within} <= set(each.match.columns)

    def _require_values(self) -> None:
        """A new row needs a value in every column that must have one."""
        for each in self._staged:
            wanting = _wanting(each)
            inserts = f"SELECT EXISTS (SELECT FROM {each.plan} WHERE action {SAME} 'i' AND blocked IS NULL)"
            if wanting and not self._whole and self._session.query(inserts, "the plan")[0][0]:
                message = f"{each.match.name} wants a value for {', '.join(wanting)}, and the backup has none"
                raise RestoreValidationError(message, "give the column a default, then try again")

    def may_want_values(self) -> bool:
        """Whether new rows could be refused for that."""
        return any(map(_wanting, self._staged))

    def _orphans(self, child: StagedTable, key: ForeignKey) -> str:
        """Block rows whose parent is neither there nor coming."""
        parent = self._by_name.get(key.parent)
        same = key.same("r", "s")
        there = (
            f"EXISTS (SELECT FROM {self._live[key.parent].rows} r WHERE {same}{_stays('r', parent, key.referenced)})"
        )
        coming = ""
        if parent is not None and set(key.referenced) <= set(parent.match.columns):
            coming = (
                f" AND NOT EXISTS (SELECT FROM {parent.plan} q JOIN {parent.rows} r ON r.ctid {SAME} q.s"
                f" WHERE q.blocked IS NULL AND q.action {SAME} ANY (ARRAY['i', 'u']) AND {same})"
            )
        given = " AND ".join(f"s.{quoted(name)} IS NOT NULL" for name in key.columns)
        rows = f"(SELECT ctid, * FROM {child.rows} WHERE {key.within.condition})" if key.within else child.rows
        return (
            f"UPDATE {child.plan} p SET blocked = '{PARENT}', why = {literal(', '.join(key.columns))}"
            f" FROM {rows} s WHERE s.ctid {SAME} p.s AND {APPLIED} AND {given} AND NOT {there}{coming}"
        )

    def _referenced(self, parent: StagedTable, key: ForeignKey) -> str:
        """Block the going of rows that others refer to: deleted ones, and updates of what is referred to."""
        goes = f"p.action {SAME} 'd'"
        source = f"{parent.match.live.rows} l"
        joined = same_place("l", "p")
        if not set(key.referenced) <= set(parent.match.key_columns) and set(key.referenced) <= set(
            parent.match.columns
        ):
            changed = f"{row_of('s', key.referenced)} {DIFFERS} {row_of('l', key.referenced)}"
            updated = f"SELECT FROM {parent.rows} s WHERE s.ctid {SAME} p.s AND {changed}"
            goes += f" OR p.action {SAME} 'u' AND EXISTS ({updated})"
        child = self._by_name.get(key.root)
        same = key.same("l", "c")
        held = f"EXISTS (SELECT FROM {self._sql_of(key.child)} c WHERE {same}{_stays('c', child, key.columns)})"
        if child is not None and set(key.columns) <= set(child.match.columns):
            held += (
                f" OR EXISTS (SELECT FROM {child.plan} q JOIN {child.rows} c ON c.ctid {SAME} q.s"
                f" WHERE q.blocked IS NULL AND q.action {SAME} ANY (ARRAY['i', 'u']) AND {same})"
            )
        return (
            f"UPDATE {parent.plan} p SET blocked = '{REFERENCED}', why = {literal(str(key.child))} FROM {source}"
            f" WHERE {joined} AND p.blocked IS NULL AND ({goes}) AND ({held})"
        )

    def _do(self, each: StagedTable, statement: str) -> int:
        return self._session.execute(statement, f"plan for {each.match.name}")


def _wanting(each: StagedTable) -> list[str]:
    """Columns that the backup lacks, and that every row must have a value in."""
    columns = (each.match.live.columns[name] for name in each.match.extra)
    return [column.name for column in columns if column.not_null and not column.has_default]


def _surplus(each: StagedTable) -> str:
    """Rows that the backup lacks, by key."""
    match = each.match
    same = match.same("s", "l")
    return (
        f"INSERT INTO {each.plan} SELECT NULL, l.ctid, l.tableoid, 'd', false FROM {match.live.users} l"
        f" WHERE NOT EXISTS (SELECT FROM {each.rows} s WHERE {same})"
    )


def _refusals(each: StagedTable) -> Iterator[tuple[str, str]]:
    """Names and conditions under which a row is refused by itself: missing values, and checks."""
    match = each.match
    for name in match.columns:
        if match.live.columns[name].not_null:
            yield name, f"{quoted(name)} IS NULL"
    for check in match.live.checks:
        if check.columns <= set(match.columns):
            yield ", ".join(sorted(check.columns)), f"NOT ({check.condition})"


def _refused(each: StagedTable, why: str, condition: str) -> str:
    return (
        f"UPDATE {each.plan} p SET blocked = '{CHECK}', why = {literal(why)}"
        f" FROM (SELECT ctid AS id FROM {each.rows} WHERE {condition}) s WHERE s.id {SAME} p.s AND {APPLIED}"
    )


def _without_room(each: StagedTable, partition_bounds: Bounds) -> str:
    """Block new rows that no partition takes; only they are asked, for there may be many partitions."""
    rows = f"SELECT s.ctid, s.* FROM {each.rows} s JOIN {each.plan} p ON p.s {SAME} s.ctid WHERE {APPLIED} OFFSET 0"
    columns = ", ".join(sorted(partition_bounds.columns))
    return (
        f"UPDATE {each.plan} p SET blocked = '{PARTITION}', why = {literal(columns)}"
        f" FROM (SELECT ctid AS id FROM ({rows}) s WHERE ({partition_bounds.condition}) IS NOT TRUE) s"
        f" WHERE s.id {SAME} p.s AND {APPLIED}"
    )


def _missing_rows(each: StagedTable) -> str:
    """Rows of a table without a key: of equal ones as many as the live database has too few."""
    return (
        f"INSERT INTO {each.plan} SELECT s.id, NULL, NULL, 'i', false FROM {_numbered(each, each.rows)} s"
        f" LEFT JOIN {_counted(each, each.match.live.rows)} l ON s.image {SAME} l.image"
        f" WHERE s.number OPERATOR(pg_catalog.>) coalesce(l.count, 0)"
    )


def _surplus_rows(each: StagedTable) -> str:
    """Likewise those of which the live database has too many."""
    return (
        f"INSERT INTO {each.plan} SELECT NULL, l.id, l.part, 'd', false"
        f" FROM {_numbered(each, each.match.live.users)} l"
        f" LEFT JOIN {_counted(each, each.rows)} s ON s.image {SAME} l.image"
        f" WHERE l.number OPERATOR(pg_catalog.>) coalesce(s.count, 0)"
    )


def _numbered(each: StagedTable, table: str) -> str:
    image = image_of(each.match.columns)
    return (
        f"(SELECT t.ctid AS id, t.tableoid AS part, {image} AS image,"
        f" pg_catalog.row_number() OVER (PARTITION BY {image} ORDER BY t.tableoid, t.ctid) AS number FROM {table} t)"
    )


def _counted(each: StagedTable, table: str) -> str:
    return f"(SELECT {image_of(each.match.columns)} AS image, pg_catalog.count(*) AS count FROM {table} t GROUP BY 1)"


def _stays(alias: str, staged: StagedTable | None, columns: Sequence[str]) -> str:
    """That a live row goes on having its values in some columns: it is neither deleted nor given others."""
    if staged is None:
        return ""
    lasting = set(columns) <= set(staged.match.key_columns) or not set(columns) & set(staged.match.columns)
    actions = "ARRAY['d']" if lasting else "ARRAY['d', 'u']"
    return (
        f" AND NOT EXISTS (SELECT FROM {staged.plan} o WHERE {same_place(alias, 'o')}"
        f" AND o.action {SAME} ANY ({actions}) AND o.blocked IS NULL)"
    )
