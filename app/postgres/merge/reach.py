"""What a merge can change: the tables that it brings rows into, unless code of users may write elsewhere.

No cascade of a foreign key changes another table: a row that others refer to is neither deleted nor given another key
(`app.postgres.merge.references`). What remains is an ON UPDATE action if an equal key is written differently (numeric
1.0 and 1.00), so such tables count too.

Anything may be changed by triggers that stay enabled, because the role does not own their table or event trigger; and
by functions of users in defaults, generated columns, checks, domains and indexes. Functions in C or of the server are
trusted to write no tables.

Of a database with very many tables it is any, because all that are not dumped are named to pg_dump.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from app.archive.index import TableName
from app.ports.source import Part
from app.postgres.merge.match import TableMatch
from app.postgres.merge.schema import LiveSchema
from app.postgres.merge.session import MergeSession
from app.postgres.quoting import literal

_MOST_TABLES = 20_000  # the dump names all others on a command line, which may have 2 MB
# Tables in which an ON UPDATE action of a foreign key to some tables may change rows.
_UPDATED_WITH = """
    SELECT DISTINCT n.nspname, c.relname
    FROM pg_constraint f JOIN pg_class c ON c.oid = coalesce(pg_partition_root(conrelid)::oid, conrelid)
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class p ON p.oid = coalesce(pg_partition_root(confrelid)::oid, confrelid)
        JOIN pg_namespace pn ON pn.oid = p.relnamespace
        JOIN unnest({schemas}, {names}) AS t (schema, name) ON pn.nspname = schema AND p.relname = name
    WHERE contype = 'f' AND confupdtype IN ('c', 'n', 'd')"""
# Whether a function of users is called by what belongs to some tables, by a domain, or by an operator class.
_OTHERS_CODE = """
    WITH tables AS (
        SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            JOIN unnest({schemas}, {names}) AS t (schema, name) ON nspname = schema AND relname = name),
    users AS (
        SELECT p.oid FROM pg_proc p JOIN pg_language l ON l.oid = prolang
        WHERE lanname NOT IN ('internal', 'c') AND pronamespace <> 'pg_catalog'::regnamespace),
    calling AS (
        SELECT 'pg_class'::regclass AS class, oid FROM tables
        UNION ALL SELECT 'pg_class'::regclass, indexrelid FROM pg_index JOIN tables ON oid = indrelid
        UNION ALL SELECT 'pg_attrdef'::regclass, d.oid FROM pg_attrdef d JOIN tables ON tables.oid = adrelid
        UNION ALL SELECT 'pg_constraint'::regclass, c.oid FROM pg_constraint c
            WHERE contypid <> 0 OR conrelid IN (SELECT oid FROM tables)
        UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typtype = 'd'),
    called AS (
        SELECT refclassid, refobjid FROM pg_depend d JOIN calling ON d.classid = class AND d.objid = calling.oid)
    SELECT EXISTS (
        SELECT FROM called JOIN users ON refclassid = 'pg_proc'::regclass AND refobjid = users.oid
        UNION ALL SELECT FROM called JOIN pg_operator o ON refclassid = 'pg_operator'::regclass AND refobjid = o.oid
            JOIN users ON users.oid = oprcode
        UNION ALL SELECT FROM pg_amproc JOIN users ON users.oid = amproc
        UNION ALL SELECT FROM pg_amop JOIN pg_operator o ON o.oid = amopopr JOIN users ON users.oid = oprcode
        UNION ALL SELECT FROM pg_cast JOIN users ON users.oid = castfunc)"""
_SIZE = """
    SELECT coalesce(sum(pg_table_size(c.oid)), 0)::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN unnest({schemas}, {names}) AS t (schema, name) ON nspname = schema AND relname = name"""


def part_to_change(session: MergeSession, live: LiveSchema, matches: Iterable[TableMatch]) -> Part | None:
    """The tables that a merge can change; None if it may be any.

    Args:
        session: of the merge.
        live: the live schema.
        matches: the tables of the merge.
    """
    if len(live.roots) > _MOST_TABLES:
        return None
    merged = {match.name: match.live for match in matches}
    if session.event_triggers.not_disabled or any(table.triggers and not table.owned for table in merged.values()):
        return None
    with session.catalogs():
        roots = set(merged)
        while more := _found(session, _UPDATED_WITH, roots) - roots:
            roots |= more
        # Only the triggers of the merge's own tables are disabled.
        if any(name not in live.tables or live.tables[name].triggers for name in roots - merged.keys()):
            return None
        partitioned = {name for name in roots if live.tables[name].partitioned}
        tables = frozenset(table for table, root in live.roots.items() if root in roots) - partitioned
        if _asked(session, _OTHERS_CODE, tables | roots)[0][0]:
            return None
        size = int(_asked(session, _SIZE, tables)[0][0])
    return Part(tables=tables, names=tuple(sorted(map(str, roots))), size=size)


def _found(session: MergeSession, query: str, tables: Collection[TableName]) -> set[TableName]:
    return {TableName(schema, name) for schema, name in _asked(session, query, tables)}


def _asked(session: MergeSession, query: str, tables: Collection[TableName]) -> list[tuple[Any, ...]]:
    names = sorted(tables)
    schemas = _array(name.schema for name in names)
    filled = query.format(schemas=schemas, names=_array(name.name for name in names))
    return session.query(filled, "what the merge can change")


def _array(texts: Iterable[str]) -> str:
    return f"ARRAY[{', '.join(map(literal, texts))}]::text[]"
