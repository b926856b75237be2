"""Cuts the changes of a merge into statements of bounded size, with the outcome of a single statement.

The server checks foreign keys at the end of a statement, and needs memory for each part of it. A few parts are one
statement. Of many, these must be one, or come in this order:

- a parent's new values before the rows that refer to them, and rows that refer to a parent's old values before these
  go; in a cycle, all at once;
- deletes, updates and inserts of a table with several unique keys: one row may take over another's value;
- a table whose checks or defaults call a function that may look at other tables: it must find them as it would in a
  single statement. A STABLE function sees the state before the statement; a VOLATILE one also what was done so far.

If a trigger fires that the role may not disable, all is one statement: nobody knows what the trigger looks at or
changes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from app.archive.index import TableName
from app.postgres.merge.schema import LiveSchema
from app.postgres.merge.session import MergeSession
from app.postgres.merge.staged import StagedTable
from app.postgres.merge.strong_components import strong_components

MOST_PARTS = 100  # of one statement; each takes the server up to half a megabyte
# Functions that a table's checks and defaults call, also by operators. IMMUTABLE ones look at no table.
_CALLS = """
    WITH call(relation, filled, class, object) AS (
        SELECT conrelid, NULL, 'pg_constraint'::regclass, oid FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0
        UNION ALL SELECT adrelid, attname, 'pg_attrdef'::regclass, a.oid FROM pg_attrdef a
            JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum),
    called(relation, filled, function) AS (
        SELECT relation, filled, coalesce(oprcode, refobjid) FROM call
            JOIN pg_depend ON classid = class AND objid = object
                AND refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
            LEFT JOIN pg_operator o ON refclassid = 'pg_operator'::regclass AND o.oid = refobjid)
    SELECT DISTINCT n.nspname, c.relname, filled::text, provolatile = 's'
    FROM called JOIN pg_proc f ON f.oid = function JOIN pg_language g ON g.oid = prolang
        JOIN pg_class c ON c.oid = relation JOIN pg_namespace n ON n.oid = relnamespace
    WHERE provolatile <> 'i' AND lanname NOT IN ('internal', 'c') AND n.nspname <> 'information_schema'"""


@dataclass(frozen=True, slots=True)
class StatementPart:
    """A statement that changes rows of one table.

    Attributes:
        name: in the WITH that it is a part of.
        action: ``d``, ``u`` or ``i``: deletes, updates, inserts.
        sets: columns that an update sets.
    """

    name: str
    sql: str
    table: TableName
    action: str
    sets: Collection[str] = ()


def statement_of(parts: Sequence[StatementPart]) -> str:
    """One statement that does some parts, and returns the numbers of rows in an array.

    An array, because a result has at most 1,664 columns.
    """
    listed = ",\n".join(f"{part.name} AS ({part.sql} RETURNING 1)" for part in parts)
    # The counts fix the order of the parts: deletes free unique values for inserts.
    counts = ", ".join(f"(SELECT pg_catalog.count(*) FROM {part.name})" for part in parts)
    return f"WITH {listed}\nSELECT ARRAY[{counts}]"


@dataclass(frozen=True, slots=True)
class Groups:
    """Cuts changes of tables into statements.

    Attributes:
        session: of the merge, in its transaction.
        live: the live schema.
        staged: the tables of the merge.
    """

    session: MergeSession
    live: LiveSchema
    staged: Sequence[StagedTable]

    def of(self, parts: Sequence[StatementPart]) -> list[list[StatementPart]]:
        """The parts of each statement, in the order of the statements."""
        changed = dict.fromkeys(part.table for part in parts)
        fires = any(self.live.tables[name].triggers and not self.live.tables[name].owned for name in changed)
        if len(parts) <= MOST_PARTS or fires:
            return [list(parts)] if parts else []
        order = _Order(parts)
        order.keep_unique({table.match.name for table in self.staged if _may_pass_values_on(table)})
        for key in self.live.foreign_keys:
            whole = self.live.tables[key.parent].partitioned, self.live.tables[key.root].partitioned
            order.keep_reference((key.parent, key.referenced), (key.root, key.columns), whole)
        for child, parent in self.live.ties:
            order.tie(child, parent)
        order.keep_looks(*self._looking())
        return order.groups()

    def _looking(self) -> tuple[set[TableName], set[TableName]]:
        """Tables of which a STABLE function may look at others, and those of which a VOLATILE one may."""
        lacking = {table.match.name: set(table.match.extra) for table in self.staged}
        stable, volatile = set[TableName](), set[TableName]()
        with self.session.catalogs():
            rows = self.session.query(_CALLS, "functions of the tables")
        for schema, name, filled, is_stable in rows:
            root = self.live.roots.get(TableName(schema, name))
            if root in lacking and (filled is None or filled in lacking[root]):
                (stable if is_stable else volatile).add(root)
        return stable, volatile


def _may_pass_values_on(table: StagedTable) -> bool:
    """Whether a row may take over another's unique value."""
    live, match = table.match.live, table.match
    return bool(live.untestable) or len(live.keys) > (match.key is not None)


class _Order:
    """A graph of parts: an edge leads from what comes earlier, or at once, to what comes later."""

    def __init__(self, parts: Sequence[StatementPart]) -> None:
        self._parts = parts
        self._of: defaultdict[TableName, list[int]] = defaultdict(list)
        for number, part in enumerate(parts):
            self._of[part.table].append(number)
        self._later: list[list[int]] = [[] for _ in parts]

    def keep_unique(self, tables: Collection[TableName]) -> None:
        """Keep the order of all parts of some tables."""
        for table, numbers in self._of.items():
            for earlier, later in pairwise(numbers) if table in tables else ():
                self._later[earlier].append(later)

    def keep_reference(
        self,
        parent: tuple[TableName, Collection[str]],
        child: tuple[TableName, Collection[str]],
        partitioned: tuple[bool, bool],
    ) -> None:
        """Keep the order that a foreign key asks for, given with its tables, columns, and which are partitioned."""
        new_values, old_values = (set(self._changing(parent, action, whole=partitioned[0])) for action in "id")
        new_references, old_references = (set(self._changing(child, action, whole=partitioned[1])) for action in "id")
        self._put(new_values, new_references)
        self._put(old_references, old_values)

    def _changing(self, end: tuple[TableName, Collection[str]], action: str, *, whole: bool) -> Iterator[int]:
        """Parts with an action, or an update of the columns; an update may move any row to another partition."""
        table, columns = end
        for number in self._of.get(table, ()):
            part = self._parts[number]
            updated = part.action == "u" and (whole or not set(columns).isdisjoint(part.sets))
            if part.action == action or updated:
                yield number

    def tie(self, one: TableName, other: TableName) -> None:
        """Keep all parts of two tables in one statement."""
        numbers = self._of.get(one, []), self._of.get(other, [])
        self._put(*numbers)
        self._put(*reversed(numbers))

    def keep_looks(self, stable: Collection[TableName], volatile: Collection[TableName]) -> None:
        """Let functions of some tables see what they would in a single statement."""
        if first := [number for number, part in enumerate(self._parts) if part.table in stable]:
            self._put(first, range(len(self._parts)))
        last: int | None = None
        before: list[int] = []
        for number, part in enumerate(self._parts):
            if last is not None:
                self._later[last].append(number)
            before.append(number)
            if part.table in volatile:
                for earlier in before[:-1]:
                    self._later[earlier].append(number)
                last, before = number, []

    def _put(self, earlier: Collection[int], later: Iterable[int]) -> None:
        """Put some parts before others, or at once with them, by a node of its own, so that edges stay few."""
        if earlier and (following := list(later)):
            self._later.append(following)
            for number in earlier:
                self._later[number].append(len(self._later) - 1)

    def groups(self) -> list[list[StatementPart]]:
        """The parts of each statement; in one statement they keep their order."""
        groups: list[list[int]] = [[]]
        for component in strong_components(self._later):
            numbers = [number for number in component if number < len(self._parts)]
            if groups[-1] and len(groups[-1]) + len(numbers) > MOST_PARTS:
                groups.append([])
            groups[-1] += numbers
        return [[self._parts[number] for number in sorted(group)] for group in groups]
