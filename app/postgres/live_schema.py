"""What a merge needs to know of the live database's tables: columns, keys, what refers to what, what would fire."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from app.archive.index import TableName

_TABLES = """
    SELECT c.oid::bigint, n.nspname, c.relname, c.relkind = 'p', pg_has_role(c.relowner, 'USAGE'),
           (CASE WHEN c.relispartition THEN pg_partition_root(c.oid) ELSE c.oid END)::oid::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
      AND n.nspname <> 'information_schema'
    ORDER BY 2, 3"""
_COLUMNS = """
    SELECT attrelid::bigint, attname, attgenerated <> '', attidentity = 'a', attnotnull, atthasdef OR attidentity <> ''
    FROM pg_attribute WHERE attrelid = ANY (%s) AND attnum > 0 AND NOT attisdropped ORDER BY attrelid, attnum"""
_KEYS = """
    SELECT i.indrelid::bigint, c.relname,
           i.indpred IS NULL AND i.indexprs IS NULL AND NOT i.indisexclusion,
           ARRAY(SELECT format('OPERATOR(%%I.%%s)', nspname, oprname)
                 FROM pg_constraint, unnest(conexclop) WITH ORDINALITY x (o, at) JOIN pg_operator p ON p.oid = o
                      JOIN pg_namespace n ON n.oid = oprnamespace
                 WHERE conindid = i.indexrelid AND conrelid = i.indrelid AND i.indisexclusion ORDER BY at),
           ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnkeyatts) k ORDER BY k),
           ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = i.indrelid AND (
               attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
               OR (i.indpred IS NOT NULL OR i.indexprs IS NOT NULL) AND attnum IN (
                   SELECT refobjsubid FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = i.indexrelid
                   AND refclassid = 'pg_class'::regclass AND refobjid = i.indrelid))),
           pg_get_expr(i.indpred, i.indrelid), to_jsonb(i)->>'indnullsnotdistinct' = 'true',
           (SELECT bool_and(attnotnull) FROM pg_attribute
            WHERE attrelid = i.indrelid AND attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]))
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE (i.indisunique OR i.indisexclusion) AND i.indisvalid AND i.indrelid = ANY (%s)
    ORDER BY i.indrelid, NOT i.indisprimary, c.relname"""
# A domain's own checks are made when a value of it comes in, as is a column's NOT NULL where it was staged.
_CHECKS = """
    SELECT conrelid::bigint, conname, pg_get_expr(conbin, conrelid),
           ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey))
    FROM pg_constraint c
    WHERE contype = 'c' AND conrelid = ANY (%s) AND to_jsonb(c)->>'conenforced' IS DISTINCT FROM 'false'
    ORDER BY conrelid, conname"""
_FOREIGN_KEYS = """
    SELECT conname, conrelid::bigint, confrelid::bigint,
           ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY k (n, at) JOIN pg_attribute
                 ON attrelid = conrelid AND attnum = n ORDER BY at),
           ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY k (n, at) JOIN pg_attribute
                 ON attrelid = confrelid AND attnum = n ORDER BY at)
    FROM pg_constraint c
    WHERE contype = 'f' AND conparentid = 0 AND to_jsonb(c)->>'conenforced' IS DISTINCT FROM 'false'
      AND to_jsonb(c)->>'conperiod' IS DISTINCT FROM 'true'
    ORDER BY conrelid, conname"""
_TRIGGERS = """
    SELECT tgrelid::bigint, 'TRIGGER', tgname, tgenabled = 'A' FROM pg_trigger
    WHERE NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgrelid = ANY (%(tables)s)
    UNION ALL
    SELECT ev_class::bigint, 'RULE', rulename, ev_enabled = 'A' FROM pg_rewrite
    WHERE ev_enabled IN ('O', 'A') AND ev_class = ANY (%(tables)s) ORDER BY 1, 2, 3"""


def quoted(*names: str) -> str:
    """A name as SQL: ``"schema"."name"``."""
    return sql.Identifier(*names).as_string(None)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a live table; `always` marks an identity that only says so lets itself be set."""

    name: str
    generated: bool
    always: bool
    not_null: bool
    has_default: bool


@dataclass(frozen=True, slots=True)
class UniqueKey:
    """A unique index, or an exclusion constraint.

    Attributes:
        plain: neither an expression nor a condition, and no exclusion.
        operators: of an exclusion constraint, which two rows must not fulfil all; empty for a unique index.
        parts: its columns and expressions, as SQL.
        columns: all that these and the condition use.
        nulls_equal: two nulls count as the same value.
        not_null: none of its columns can be null.
    """

    name: str
    plain: bool
    operators: tuple[str, ...]
    parts: tuple[str, ...]
    columns: frozenset[str]
    condition: str | None
    nulls_equal: bool
    not_null: bool


@dataclass(frozen=True, slots=True)
class Check:
    """A check constraint: a condition, as SQL, over some columns."""

    name: str
    condition: str
    columns: frozenset[str]


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key: `columns` of `child`, which may be a partition of `root`, refer to `referenced` of `parent`."""

    name: str
    child: TableName
    parent: TableName
    columns: tuple[str, ...]
    referenced: tuple[str, ...]
    root: TableName


@dataclass(frozen=True, slots=True)
class Firing:
    """A trigger or rule that fires on a change of rows; `always` is how it is enabled."""

    table: TableName
    what: str
    name: str
    always: bool

    def switched(self, *, on: bool) -> str:
        """The statement that switches it, back to how it was."""
        verb = "DISABLE" if not on else "ENABLE ALWAYS" if self.always else "ENABLE"
        return f"ALTER TABLE {quoted(*self.table)} {verb} {self.what} {quoted(self.name)}"


@dataclass(slots=True)
class LiveTable:
    """A table of the live database; of a partitioned one the root stands for all.

    Attributes:
        owned: whether the role may alter it.
        firings: triggers and rules, those of its partitions too.
    """

    name: TableName
    partitioned: bool
    owned: bool
    columns: dict[str, Column] = field(default_factory=dict)
    keys: list[UniqueKey] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    firings: list[Firing] = field(default_factory=list)

    @property
    def sql(self) -> str:
        """Its name, such that rows of children that merely inherit are not meant."""
        return quoted(*self.name) if self.partitioned else f"ONLY {quoted(*self.name)}"

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


def live_schema(connection: psycopg.Connection) -> LiveSchema:
    """Read what there is."""
    rows = connection.execute(_TABLES.encode()).fetchall()
    names = {oid: TableName(schema, name) for oid, schema, name, *_ in rows}
    roots = {names[oid]: names[root] for oid, *_, root in rows}
    tables = {
        names[oid]: LiveTable(names[oid], partitioned, owned)
        for oid, _, _, partitioned, owned, root in rows
        if oid == root
    }
    oids = list(names)
    for oid, name, generated, always, not_null, has_default in connection.execute(_COLUMNS.encode(), (oids,)):
        if table := tables.get(names[oid]):
            table.columns[name] = Column(name, generated, always, not_null, has_default)
    for oid, name, plain, operators, parts, columns, condition, nulls_equal, not_null in connection.execute(
        _KEYS.encode(), (oids,)
    ):
        if table := tables.get(names[oid]):
            key = UniqueKey(
                name=name,
                plain=plain,
                operators=tuple(operators),
                parts=tuple(parts),
                columns=frozenset(columns),
                condition=condition,
                nulls_equal=bool(nulls_equal),
                not_null=bool(not_null),
            )
            table.keys.append(key)
    for oid, name, condition, columns in connection.execute(_CHECKS.encode(), (oids,)):
        if table := tables.get(names[oid]):
            table.checks.append(Check(name, condition, frozenset(columns)))
    _read_firings(connection, names, roots, tables)
    foreign = [
        ForeignKey(name, names[child], names[parent], tuple(columns), tuple(referenced), roots[names[child]])
        for name, child, parent, columns, referenced in connection.execute(_FOREIGN_KEYS.encode())
        if child in names and names.get(parent) in tables  # the child may be a single partition
    ]
    return LiveSchema(tables, roots, foreign)


def _read_firings(
    connection: psycopg.Connection,
    names: dict[int, TableName],
    roots: dict[TableName, TableName],
    tables: dict[TableName, LiveTable],
) -> None:
    """Triggers; a partition's clone of its root's trigger is switched with that."""
    seen: defaultdict[TableName, set[tuple[str, str]]] = defaultdict(set)
    rows = connection.execute(_TRIGGERS.encode(), {"tables": list(names)}).fetchall()
    for oid, what, name, always in sorted(rows, key=lambda row: roots[names[row[0]]] != names[row[0]]):
        root = roots[names[oid]]
        if (what, name) not in seen[root] or names[oid] == root:
            seen[root].add((what, name))
            tables[root].firings.append(Firing(names[oid], what, name, always))
