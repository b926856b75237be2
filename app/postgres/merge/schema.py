"""The schema of the live database, as a merge needs it: columns, keys, foreign keys, triggers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.archive.index import TableName
from app.postgres.quoting import quoted


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a live table.

    Attributes:
        generated: GENERATED ALWAYS AS (expression).
        always: GENERATED ALWAYS AS IDENTITY; an explicit value needs OVERRIDING SYSTEM VALUE.
        type: as format_type names it.
    """

    name: str
    generated: bool
    always: bool
    not_null: bool
    has_default: bool
    type: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """The rows that a partition accepts: a condition, as SQL, and the columns in it."""

    condition: str
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class UniqueKey:
    """A unique index, or an exclusion constraint.

    Attributes:
        plain: whether it has no expression and no condition, and is no exclusion constraint.
        operators: of an exclusion constraint: two rows conflict if all of them are true; empty for a unique index.
        parts: its columns and expressions, as SQL.
        equals: for each part the operator that compares two values, as SQL.
        columns: all columns that the parts and the condition use.
        nulls_equal: whether two nulls are equal.
        not_null: whether no column can be null.
        deferrable: whether it can be checked at the end, so that rows may swap values.
    """

    name: str
    plain: bool
    operators: tuple[str, ...]
    parts: tuple[str, ...]
    equals: tuple[str, ...]
    columns: frozenset[str]
    condition: str | None
    nulls_equal: bool
    not_null: bool
    deferrable: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """A check constraint: a condition, as SQL, and the columns in it."""

    name: str
    condition: str
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key: `columns` of `child`, which may be a partition of `root`, refer to `referenced` of `parent`.

    `equals` are the operators, as SQL, between each referenced column and its referring one; `among` compare values of
    the referenced columns with each other. For the key of a single partition, `within` says which rows of the root it
    applies to.
    """

    name: str
    child: TableName
    parent: TableName
    columns: tuple[str, ...]
    referenced: tuple[str, ...]
    equals: tuple[str, ...]
    among: tuple[str, ...]
    root: TableName
    within: Bounds | None = None

    def same(self, parent: str, child: str) -> str:
        """Condition: a child row refers to a parent row, each given by its alias."""
        pairs = zip(self.referenced, self.equals, self.columns, strict=True)
        return " AND ".join(f"{parent}.{quoted(one)} {sign} {child}.{quoted(other)}" for one, sign, other in pairs)


@dataclass(frozen=True, slots=True)
class RowTrigger:
    """A trigger or rule that fires on changes of rows; `always`: it is enabled as ALWAYS."""

    table: TableName
    what: str
    name: str
    always: bool

    def switch_statement(self, *, on: bool) -> str:
        """The statement that disables it, or enables it as it was."""
        verb = "DISABLE" if not on else "ENABLE ALWAYS" if self.always else "ENABLE"
        return f"ALTER TABLE {quoted(*self.table)} {verb} {self.what} {quoted(self.name)}"


@dataclass(slots=True)
class LiveTable:
    """A table of the live database. A partitioned table is represented by its root.

    Attributes:
        owned: whether the role may alter it.
        keys, checks: also those of its partitions, each for the partition's rows.
        triggers: triggers and rules, also those of its partitions.
        untestable: names of constraints that only the server can check.
        partition_bounds: the rows that its partitions accept, if not all; foreign tables accept none.
        dumped: condition for rows of an extension's table that are dumped, if not all are; the extension brings others.
        local: partitions that are no foreign tables, if there are foreign ones.
    """

    name: TableName
    partitioned: bool
    owned: bool
    columns: dict[str, Column] = field(default_factory=dict)
    keys: list[UniqueKey] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    triggers: list[RowTrigger] = field(default_factory=list)
    untestable: list[str] = field(default_factory=list)
    partition_bounds: Bounds | None = None
    dumped: str | None = None
    local: list[TableName] | None = None

    @property
    def sql(self) -> str:
        """Its name as SQL, without children that inherit from it."""
        return quoted(*self.name) if self.partitioned else f"ONLY {quoted(*self.name)}"

    @property
    def rows(self) -> str:
        """The FROM item for its rows; an alias must follow."""
        if self.local is None:
            return self.sql
        places = [f"ONLY {quoted(*self.name)}", *self.targets]  # the root itself holds no rows
        return f"({' UNION ALL '.join(f'SELECT {self._columns} FROM {place}' for place in places)})"

    @property
    def users(self) -> str:
        """The FROM item for the rows that a backup may hold; an alias must follow."""
        if self.dumped is None:
            return self.rows
        return f"(SELECT {self._columns} FROM {self.sql} {self.dumped})"

    @property
    def _columns(self) -> str:
        return ", ".join(["ctid", "tableoid", "xmin", *map(quoted, self.columns)])

    @property
    def targets(self) -> list[str]:
        """Names as SQL of the tables that rows are deleted from."""
        return [self.sql] if self.local is None else [f"ONLY {quoted(*name)}" for name in self.local]

    @property
    def settable(self) -> list[str]:
        """Columns that an INSERT may set."""
        return [column.name for column in self.columns.values() if not column.generated]


@dataclass(slots=True)
class LiveSchema:
    """All tables and foreign keys.

    Attributes:
        tables: plain tables, and roots of partitioned ones.
        roots: every table, also partitions, with its root.
        ties: roots of tables, child and parent, that a foreign key joins which no plan tests.
    """

    tables: dict[TableName, LiveTable]
    roots: dict[TableName, TableName]
    foreign_keys: list[ForeignKey]
    ties: list[tuple[TableName, TableName]] = field(default_factory=list)

    def dependents(self, names: Iterable[TableName]) -> set[TableName]:
        """The tables and all that refer to them, directly or indirectly."""
        found = set(names)
        while referring := {key.root for key in self.foreign_keys if key.parent in found} - found:
            found |= referring
        return found

    def parents(self, names: Iterable[TableName]) -> set[TableName]:
        """The tables and all that they refer to, directly or indirectly."""
        found = set(names)
        while referred := {key.parent for key in self.foreign_keys if key.root in found} - found:
            found |= referred
        return found
