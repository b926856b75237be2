"""Reads the schema of the live database; see `app.postgres.merge.schema`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import psycopg

from app.archive.index import TableName
from app.postgres.merge.schema import Bounds, Check, Column, ForeignKey, LiveSchema, LiveTable, RowTrigger, UniqueKey
from app.postgres.merge.session import MergeSession
from app.postgres.quoting import SAME, quoted

_TABLES = """
    SELECT c.oid::bigint, n.nspname, c.relname, c.relkind = 'p', pg_has_role(c.relowner, 'USAGE'),
           (SELECT nullif(extcondition[array_position(extconfig, c.oid)], '') FROM pg_extension
            WHERE c.oid = ANY (extconfig) AND NOT c.relispartition LIMIT 1),
           (CASE WHEN c.relispartition THEN pg_partition_root(c.oid) ELSE c.oid END)::oid::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
      AND n.nspname <> 'information_schema'
    ORDER BY 2, 3"""
_COLUMNS = """
    SELECT attrelid::bigint, attname, attgenerated <> '', attidentity = 'a', attnotnull,
           atthasdef OR attidentity <> '', format_type(atttypid, atttypmod)
    FROM pg_attribute WHERE attrelid = ANY (%s) AND attnum > 0 AND NOT attisdropped ORDER BY attrelid, attnum"""
_KEYS = """
    SELECT i.indrelid::bigint, i.indexrelid::bigint, c.relname,
           i.indpred IS NULL AND i.indexprs IS NULL AND (NOT i.indisexclusion OR i.indisunique),
           ARRAY(SELECT format('OPERATOR(%%I.%%s)', nspname, oprname)
                 FROM pg_constraint, unnest(conexclop) WITH ORDINALITY x (o, at) JOIN pg_operator p ON p.oid = o
                      JOIN pg_namespace n ON n.oid = oprnamespace
                 WHERE conindid = i.indexrelid AND conrelid = i.indrelid AND i.indisexclusion ORDER BY at),
           ARRAY(SELECT coalesce((
                     SELECT format('OPERATOR(%%I.%%s)', nspname, oprname)
                     FROM pg_amop JOIN pg_operator p ON p.oid = amopopr
                         JOIN pg_namespace n ON n.oid = oprnamespace JOIN pg_am a ON a.oid = amopmethod
                     WHERE amopfamily = opcfamily AND amname = 'btree' AND amopstrategy = 3
                         AND amoplefttype = opcintype AND amoprighttype = opcintype), 'OPERATOR(pg_catalog.=)')
                 FROM unnest(i.indclass::oid[]) WITH ORDINALITY x (o, at) JOIN pg_opclass k ON k.oid = o ORDER BY at),
           ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = i.indrelid AND (
               attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
               OR (i.indpred IS NOT NULL OR i.indexprs IS NOT NULL) AND attnum IN (
                   SELECT refobjsubid FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = i.indexrelid
                   AND refclassid = 'pg_class'::regclass AND refobjid = i.indrelid))),
           to_jsonb(i)->>'indnullsnotdistinct' = 'true',
           (SELECT bool_and(attnotnull) FROM pg_attribute
            WHERE attrelid = i.indrelid AND attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])),
           EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND conrelid = i.indrelid AND condeferrable),
           NOT c.relispartition, concat(i.indexprs, i.indpred) LIKE '%%:varattno 0 %%'
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE (i.indisunique OR i.indisexclusion) AND i.indisvalid AND i.indrelid = ANY (%s)
    ORDER BY i.indrelid, NOT i.indisprimary, c.relname"""
# Checks of domains, and NOT NULL of columns, are checked by the temporary table when rows are staged.
_CHECKS = """
    SELECT conrelid::bigint, c.oid::bigint, conname,
           ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey)),
           coninhcount = 0, conbin::text LIKE '%%:varattno 0 %%'
    FROM pg_constraint c
    WHERE contype = 'c' AND conrelid = ANY (%s) AND to_jsonb(c)->>'conenforced' IS DISTINCT FROM 'false'
    ORDER BY conrelid, conname"""
_OPERATORS = """
           ARRAY(SELECT format('OPERATOR(%I.%s)', nspname, oprname) FROM unnest({}) WITH ORDINALITY k (o, at)
                 JOIN pg_operator p ON p.oid = o JOIN pg_namespace n ON n.oid = oprnamespace ORDER BY at)"""
_FOREIGN_KEYS = f"""
    SELECT conname, conrelid::bigint, confrelid::bigint,
           ARRAY(SELECT attname::text FROM unnest(conkey) WITH ORDINALITY k (n, at) JOIN pg_attribute
                 ON attrelid = conrelid AND attnum = n ORDER BY at),
           ARRAY(SELECT attname::text FROM unnest(confkey) WITH ORDINALITY k (n, at) JOIN pg_attribute
                 ON attrelid = confrelid AND attnum = n ORDER BY at),
           {_OPERATORS.format("conpfeqop")}, {_OPERATORS.format("conppeqop")},
           to_jsonb(c)->>'conperiod' IS NOT DISTINCT FROM 'true'
    FROM pg_constraint c
    WHERE contype = 'f' AND conparentid = 0 AND to_jsonb(c)->>'conenforced' IS DISTINCT FROM 'false'
    ORDER BY conrelid, conname"""
# Partitions, with the columns of their bounds.
_BOUNDS = """
    SELECT c.oid::bigint,
           ARRAY(SELECT DISTINCT attname::text FROM pg_partition_ancestors(c.oid) a JOIN pg_partitioned_table p
                 ON partrelid = a.relid JOIN pg_attribute ON attrelid = a.relid AND attnum > 0 AND NOT attisdropped
                 AND (attnum = ANY (partattrs::int2[]) OR partexprs IS NOT NULL))
    FROM pg_class c WHERE c.oid = ANY (%s)"""
# Expressions are read under the search_path that they will be evaluated under.
_INDEX_TEXTS = f"""
    SELECT indexrelid::pg_catalog.int8,
           ARRAY(SELECT pg_catalog.pg_get_indexdef(indexrelid, k, true)
                 FROM pg_catalog.generate_series(1, indnkeyatts) k ORDER BY k),
           pg_catalog.pg_get_expr(indpred, indrelid)
    FROM pg_catalog.pg_index
    WHERE (indisunique OR indisexclusion) AND indisvalid AND indrelid {SAME} ANY (%s::pg_catalog.oid[])"""
_CHECK_TEXTS = f"""
    SELECT oid::pg_catalog.int8, pg_catalog.pg_get_expr(conbin, conrelid) FROM pg_catalog.pg_constraint
    WHERE contype {SAME} 'c' AND conrelid {SAME} ANY (%s::pg_catalog.oid[])"""
_BOUND_TEXTS = f"""
    SELECT oid::pg_catalog.int8, pg_catalog.pg_get_partition_constraintdef(oid) FROM pg_catalog.pg_class
    WHERE relispartition AND oid {SAME} ANY (%s::pg_catalog.oid[])"""
# Partitions that hold rows. A default partition directly below the root accepts all rows that no other does.
_LEAVES = """
    SELECT pg_partition_root(c.oid)::oid::bigint, c.oid::bigint, n.nspname, c.relname, c.relkind = 'f',
           c.relkind = 'r' AND EXISTS (SELECT FROM pg_partitioned_table p WHERE partdefid = c.oid
                                       AND partrelid = pg_partition_root(c.oid))
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relispartition AND c.relkind IN ('r', 'f') AND pg_partition_root(c.oid)::oid = ANY (%s::oid[])
    ORDER BY n.nspname, c.relname"""
_PARTITIONED_BY = """
    SELECT t.relid::oid::bigint, ARRAY(SELECT DISTINCT attname::text FROM pg_partition_tree(r.oid) x
               JOIN pg_partitioned_table p ON partrelid = x.relid
               JOIN pg_attribute ON attrelid = x.relid AND attnum > 0 AND NOT attisdropped
               AND (attnum = ANY (partattrs::int2[]) OR partexprs IS NOT NULL))
    FROM pg_class r CROSS JOIN LATERAL (SELECT r.oid AS relid) t WHERE r.oid = ANY (%s::oid[])"""
_TRIGGERS = """
    SELECT tgrelid::bigint, 'TRIGGER', tgname, tgenabled = 'A' FROM pg_trigger
    WHERE NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgrelid = ANY (%(tables)s)
    UNION ALL
    SELECT ev_class::bigint, 'RULE', rulename, ev_enabled = 'A' FROM pg_rewrite
    WHERE ev_enabled IN ('O', 'A') AND ev_class = ANY (%(tables)s) ORDER BY 1, 2, 3"""


@dataclass(frozen=True, slots=True)
class _Texts:
    """Expressions as SQL, by the oid of their index, check or partition."""

    indexes: dict[int, tuple[list[str], str | None]]
    checks: dict[int, str]
    bounds: dict[int, str | None]


def live_schema(session: MergeSession) -> LiveSchema:
    """Read the schema."""
    with session.translated("the tables"):
        with session.catalogs():
            rows = session.connection.execute(_TABLES.encode()).fetchall()
        texts = _texts(session.connection, [oid for oid, *_ in rows])
        with session.catalogs():
            return _read(session.connection, rows, texts)


def _texts(connection: psycopg.Connection, tables: list[int]) -> _Texts:
    indexes, checks, bounds = (
        connection.execute(query.encode(), (tables,)).fetchall() for query in (_INDEX_TEXTS, _CHECK_TEXTS, _BOUND_TEXTS)
    )
    return _Texts({oid: (parts, condition) for oid, parts, condition in indexes}, dict(checks), dict(bounds))


def _read(connection: psycopg.Connection, rows: list[tuple[Any, ...]], texts: _Texts) -> LiveSchema:
    names = {oid: TableName(schema, name) for oid, schema, name, *_ in rows}
    roots = {names[oid]: names[root] for oid, *_, root in rows}
    tables = {
        names[oid]: LiveTable(names[oid], partitioned, owned, dumped=dumped)
        for oid, _, _, partitioned, owned, dumped, root in rows
        if oid == root
    }
    schema = LiveSchema(tables, roots, [])
    reader = _Constraints(connection, names, schema, texts)
    reader.columns()
    reader.keys()
    reader.checks()
    reader.foreign_keys()
    reader.partitions()
    _read_triggers(connection, names, roots, tables)
    return schema


@dataclass(frozen=True, slots=True)
class _KeyRow:
    """A row of `_KEYS`.

    Attributes:
        table, index: oids.
        local: whether it is no partition of a root's index.
        uses_row: whether an expression uses the whole row.
    """

    table: int
    index: int
    name: str
    plain: bool
    operators: list[str]
    equals: list[str]
    columns: list[str]
    nulls_equal: bool | None
    not_null: bool | None
    deferrable: bool
    local: bool
    uses_row: bool


class _Constraints:
    """Reads columns and constraints. A partition's own ones are added to its root, for the partition's rows."""

    def __init__(
        self, connection: psycopg.Connection, names: dict[int, TableName], schema: LiveSchema, texts: _Texts
    ) -> None:
        self._connection = connection
        self._names = names
        self._schema = schema
        self._texts = texts
        self._bounds: dict[int, Bounds] = {}

    def columns(self) -> None:
        """Columns. NOT NULL of a partition alone becomes a check."""
        rows = self._rows(_COLUMNS)
        for oid, *column in rows:
            if self._is_root(oid):
                self._root(oid).columns[column[0]] = Column(*column)
        for oid, name, _, _, not_null, *_ in rows:
            if not_null and not self._is_root(oid) and not self._root(oid).columns[name].not_null:
                self._add_check(oid, Check(f"not null {name}", f"{quoted(name)} IS NOT NULL", frozenset({name})))

    def keys(self) -> None:
        """Unique indexes and exclusion constraints."""
        for row in (_KeyRow(*values) for values in self._rows(_KEYS)):
            if not row.local or row.index not in self._texts.indexes:
                continue  # a part of the root's index, or created since
            if row.uses_row:
                self._root(row.table).untestable.append(row.name)
            else:
                self._root(row.table).keys.append(self._key(row))

    def _key(self, row: _KeyRow) -> UniqueKey:
        parts, condition = self._texts.indexes[row.index]
        within = self._within(row.table)
        conditions = [f"({text})" for text in (condition, within and within.condition) if text]
        return UniqueKey(
            name=row.name,
            plain=row.plain and within is None,
            operators=tuple(row.operators),
            parts=tuple(parts),
            equals=_equals(row.operators, row.equals),
            columns=frozenset(row.columns) | (within.columns if within else frozenset()),
            condition=" AND ".join(conditions) or None,
            nulls_equal=bool(row.nulls_equal),
            not_null=bool(row.not_null),
            deferrable=row.deferrable,
        )

    def checks(self) -> None:
        """Check constraints."""
        for oid, check, name, columns, local, uses_row in self._rows(_CHECKS):
            if uses_row and (local or self._is_root(oid)):
                self._root(oid).untestable.append(name)
            elif (local or self._is_root(oid)) and check in self._texts.checks:
                self._add_check(oid, Check(name, self._texts.checks[check], frozenset(columns)))

    def foreign_keys(self) -> None:
        """Foreign keys. The child may be a single partition."""
        for name, child, parent, columns, referenced, equals, among, period in self._connection.execute(
            _FOREIGN_KEYS.encode()
        ):
            if child not in self._names or parent not in self._names:
                continue
            if period or self._names[parent] not in self._schema.tables:
                self._schema.ties.append((self._root(child).name, self._root(parent).name))
            if self._names[parent] not in self._schema.tables:
                continue
            if period:
                self._root(child).untestable.append(name)
                continue
            ends = (self._names[child], self._names[parent], tuple(columns), tuple(referenced))
            signs = (tuple(equals), tuple(among))
            key = ForeignKey(name, *ends, *signs, self._root(child).name, self._within(child))
            self._schema.foreign_keys.append(key)

    def partitions(self) -> None:
        """Bounds of partitions, and which of them are foreign tables."""
        roots = [
            oid for oid, name in self._names.items() if name in self._schema.tables and self._root(oid).partitioned
        ]
        columns: dict[int, list[str]] = dict(self._connection.execute(_PARTITIONED_BY.encode(), (roots,)).fetchall())
        leaves: defaultdict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for root, *leaf in self._connection.execute(_LEAVES.encode(), (roots,)):
            leaves[root].append(tuple(leaf))
        for oid in roots:
            table, leaves_of_root = self._root(oid), leaves[oid]
            if any(foreign for *_, foreign, _ in leaves_of_root):
                table.local = [TableName(schema, name) for _, schema, name, foreign, _ in leaves_of_root if not foreign]
            if not any(takes_all for *_, takes_all in leaves_of_root):
                conditions = [
                    self._texts.bounds.get(leaf) or "true" for leaf, _, _, foreign, _ in leaves_of_root if not foreign
                ]
                condition = " OR ".join(f"({text})" for text in conditions) or "false"
                table.partition_bounds = Bounds(condition, frozenset(columns[oid]))

    def _add_check(self, oid: int, check: Check) -> None:
        if within := self._within(oid):
            condition = f"({check.condition}) OR NOT ({within.condition})"
            check = Check(check.name, condition, check.columns | within.columns)
        self._root(oid).checks.append(check)

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query.encode(), (list(self._names),)).fetchall()

    def _root(self, oid: int) -> LiveTable:
        return self._schema.tables[self._schema.roots[self._names[oid]]]

    def _is_root(self, oid: int) -> bool:
        return self._names[oid] in self._schema.tables

    def _within(self, oid: int) -> Bounds | None:
        """The rows that a partition accepts; None for a root or plain table."""
        if self._is_root(oid):
            return None
        if oid not in self._bounds:
            _, columns = self._connection.execute(_BOUNDS.encode(), ([oid],)).fetchall()[0]
            # A default partition without siblings accepts every row.
            self._bounds[oid] = Bounds(self._texts.bounds.get(oid) or "true", frozenset(columns))
        return self._bounds[oid]


def _equals(excluding: list[str], ordered: list[str]) -> tuple[str, ...]:
    """The operators that compare values of each part; of an exclusion constraint its own, if it is an equality."""
    return tuple(one if one.endswith(".=)") else SAME for one in excluding) or tuple(ordered)


def _read_triggers(
    connection: psycopg.Connection,
    names: dict[int, TableName],
    roots: dict[TableName, TableName],
    tables: dict[TableName, LiveTable],
) -> None:
    """Read triggers and rules. A partition's clone of its root's trigger is disabled together with that."""
    seen: defaultdict[TableName, set[tuple[str, str]]] = defaultdict(set)
    rows = connection.execute(_TRIGGERS.encode(), {"tables": list(names)}).fetchall()
    for oid, what, name, always in sorted(rows, key=lambda row: roots[names[row[0]]] != names[row[0]]):
        root = roots[names[oid]]
        if (what, name) not in seen[root] or names[oid] == root:
            seen[root].add((what, name))
            tables[root].triggers.append(RowTrigger(names[oid], what, name, always))
