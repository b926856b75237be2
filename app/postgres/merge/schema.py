"""What a merge needs to know of the live database's tables: columns, keys, what refers to what, what would fire."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from app.archive.index import TableName
from app.postgres.quoting import quoted


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a live table; `always` marks an identity that only says so lets itself be set."""

    name: str
    generated: bool
    always: bool
    not_null: bool
    has_default: bool


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which rows of a partitioned table a partition takes: a condition, as SQL, over some columns."""

    condition: str
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class UniqueKey:
    """A unique index, or an exclusion constraint.

    Attributes:
        plain: neither an expression nor a condition, and no exclusion.
        operators: of an exclusion constraint, which two rows must not fulfil all; empty for a unique index.
        parts: its columns and expressions, as SQL.
        equals: for each part the operator by which two values are the same to it, as SQL.
        columns: all that these and the condition use.
        nulls_equal: two nulls count as the same value.
        not_null: none of its columns can be null.
        deferrable: whether it can be looked at when all is done, so that rows may swap their values.
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
    """A check constraint: a condition, as SQL, over some columns."""

    name: str
    condition: str
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key: `columns` of `child`, which may be a partition of `root`, refer to `referenced` of `parent`.

    `equals` are the operators, as SQL, between each of the referenced columns and the one that refers to it, and
    `among` those among values of the referenced columns. Of a partition's own key, `within` says which rows of the
    root it is for.
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
        """That a row of the one refers to a row of the other, each given by its alias."""
        pairs = zip(self.referenced, self.equals, self.columns, strict=True)
        return " AND ".join(f"{parent}.{quoted(one)} {sign} {child}.{quoted(other)}" for one, sign, other in pairs)


@dataclass(frozen=True, slots=True)
class RowTrigger:
    """A trigger or rule that fires on a change of rows; `always` is how it is enabled."""

    table: TableName
    what: str
    name: str
    always: bool

    def switch_statement(self, *, on: bool) -> str:
        """The statement that switches it, back to how it was."""
        verb = "DISABLE" if not on else "ENABLE ALWAYS" if self.always else "ENABLE"
        return f"ALTER TABLE {quoted(*self.table)} {verb} {self.what} {quoted(self.name)}"


@dataclass(slots=True)
class LiveTable:
    """A table of the live database; of a partitioned one the root stands for all.

    Attributes:
        owned: whether the role may alter it.
        keys, checks: those of its partitions too, each for the partition's own rows.
        firings: triggers and rules, those of its partitions too.
        unseen: constraints that are not looked at before the server does.
        room: which rows its partitions take, if not every one; foreign tables take none.
        dumped: which rows of an extension's table are in a dump, if not all: the others come with the extension.
        local: of a table that has foreign partitions the others: rows of foreign tables are nobody's.
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
        """Its name, such that rows of children that merely inherit are not meant."""
        return quoted(*self.name) if self.partitioned else f"ONLY {quoted(*self.name)}"

    @property
    def rows(self) -> str:
        """What its rows are read from; an alias must follow."""
        if self.local is None:
            return self.sql
        places = [f"ONLY {quoted(*self.name)}", *self.targets]  # the first holds no rows itself
        return f"({' UNION ALL '.join(f'SELECT {self._columns} FROM {place}' for place in places)})"

    @property
    def users(self) -> str:
        """What those of its rows are read from that a backup may hold; an alias must follow."""
        if self.dumped is None:
            return self.rows
        return f"(SELECT {self._columns} FROM {self.sql} {self.dumped})"

    @property
    def _columns(self) -> str:
        return ", ".join(["ctid", "tableoid", "xmin", *map(quoted, self.columns)])

    @property
    def targets(self) -> list[str]:
        """What rows are deleted from."""
        return [self.sql] if self.local is None else [f"ONLY {quoted(*name)}" for name in self.local]

    @property
    def settable(self) -> list[str]:
        """Columns that rows are inserted with."""
        return [each.name for each in self.columns.values() if not each.generated]


@dataclass(slots=True)
class LiveSchema:
    """All tables.

    Attributes:
        tables: those that stand by themselves: plain tables and roots of partitioned ones.
        roots: every table, partitions too, with the one that stands for it.
    """

    tables: dict[TableName, LiveTable]
    roots: dict[TableName, TableName]
    foreign_keys: list[ForeignKey]

    def dependents(self, names: Iterable[TableName]) -> set[TableName]:
        """These tables and all that refer to them, directly or not."""
        found = set(names)
        while more := {each.root for each in self.foreign_keys if each.parent in found} - found:
            found |= more
        return found
