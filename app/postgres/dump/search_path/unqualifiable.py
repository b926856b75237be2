"""Finds expressions with operators that a dump cannot schema-qualify.

SQL has no way to qualify the operator `=` that `IS DISTINCT FROM`, `NULLIF`, `CASE … WHEN` and `JOIN … USING` compare
by. In a restore, an operator of an extension (hstore, ltree, citext) is searched among the server's own: either none is
found and the object is not created, or another one is taken. Nothing needs to be tried: the tree of the expression
holds the operator.
Source: ruleutils.c, get_rule_expr, get_from_clause_item.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable

import psycopg

from app.domain.doubts import Doubt
from app.domain.psql import in_psql
from app.postgres.server_facts import DUMPED

_EQUAL = "oprname = '=' AND oprnamespace <> 'pg_catalog'::regnamespace"
_ANY = f"SELECT EXISTS (SELECT FROM pg_operator WHERE {_EQUAL})"
_BEFORE_15 = "current_setting('server_version_num')::int < 150000"  # there the column depends on it, not its expression
# Expressions of objects, and the object that each belongs to.
_TREES = f"""
    tree(class, id, part, owner_class, owner, says) AS (
        SELECT 'pg_constraint'::regclass::oid, oid, 0, 'pg_class'::regclass::oid, conrelid, conbin::text
        FROM pg_constraint WHERE contype = 'c' AND conislocal
        UNION ALL SELECT 'pg_attrdef'::regclass, oid, 0, 'pg_class'::regclass, adrelid, adbin::text FROM pg_attrdef
        UNION ALL SELECT 'pg_class'::regclass, adrelid, adnum, 'pg_class'::regclass, adrelid, adbin::text
        FROM pg_attrdef WHERE {_BEFORE_15}
        UNION ALL SELECT 'pg_class'::regclass, indexrelid, 0, 'pg_class'::regclass, indrelid,
                         concat(indexprs::text, indpred::text)
        FROM pg_index
        UNION ALL SELECT 'pg_class'::regclass, partrelid, 0, 'pg_class'::regclass, partrelid, partexprs::text
        FROM pg_partitioned_table
        UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, 0, 'pg_class'::regclass, stxrelid, stxexprs::text
        FROM pg_statistic_ext
        UNION ALL SELECT 'pg_rewrite'::regclass, oid, 0, 'pg_class'::regclass, ev_class,
                         concat(ev_qual::text, ev_action::text)
        FROM pg_rewrite
        UNION ALL SELECT 'pg_trigger'::regclass, oid, 0, 'pg_class'::regclass, tgrelid, tgqual::text
        FROM pg_trigger WHERE tgparentid = 0
        UNION ALL SELECT 'pg_policy'::regclass, oid, 0, 'pg_class'::regclass, polrelid,
                         concat(polqual::text, polwithcheck::text)
        FROM pg_policy
        UNION ALL SELECT 'pg_publication_rel'::regclass, oid, 0, 'pg_class'::regclass, prrelid,
                         to_jsonb(p)->>'prqual'
        FROM pg_publication_rel p
        UNION ALL SELECT 'pg_proc'::regclass, oid, 0, 'pg_proc'::regclass, oid,
                         concat(proargdefaults::text, prosqlbody::text)
        FROM pg_proc WHERE prosqlbody IS NOT NULL OR proargdefaults IS NOT NULL
        UNION ALL SELECT 'pg_type'::regclass, oid, 0, 'pg_type'::regclass, oid, typdefaultbin::text FROM pg_type
        UNION ALL SELECT 'pg_constraint'::regclass, oid, 0, 'pg_type'::regclass, contypid, conbin::text
        FROM pg_constraint WHERE contypid <> 0)"""
_HOW = r"""format('\{(DISTINCTEXPR|NULLIFEXPR) :opno %1$s '
    || '|\{OPEXPR :opno %1$s [^{]*:args \(\{(\w+ [^{]*\{)?CASETESTEXPR'
    || '|:usingClause \("[^{]*(\{ALIAS [^}]*\}[^{]*)?:quals \{(BOOLEXPR .*)?OPEXPR :opno %1$s ', operator)"""
_FOUND = f"""
    WITH equal(operator, schema) AS (SELECT oid, oprnamespace::regnamespace::text FROM pg_operator WHERE {_EQUAL}),
    used(class, id, part, operator, schema) AS MATERIALIZED (
        SELECT DISTINCT classid, objid, objsubid, operator, schema
        FROM equal JOIN pg_depend ON refclassid = 'pg_operator'::regclass AND refobjid = operator
        WHERE classid NOT IN ('pg_opclass'::regclass, 'pg_amop'::regclass, 'pg_operator'::regclass)),
    {_TREES}
    SELECT CASE WHEN class = 'pg_rewrite'::regclass AND EXISTS (
                    SELECT FROM pg_rewrite WHERE oid = id AND rulename = '_RETURN')
                THEN pg_describe_object(owner_class, owner, 0) ELSE pg_describe_object(class, id, part) END,
           array_agg(DISTINCT operator::regoperator::text), array_agg(DISTINCT schema)
    FROM used JOIN tree USING (class, id, part)
    WHERE says ~ {_HOW} AND NOT EXISTS (
        SELECT FROM pg_depend e WHERE e.deptype = 'e' AND e.classid = owner_class AND e.objid = owner)
    GROUP BY 1 ORDER BY 1"""

_SCATTERED = f"""
    WITH RECURSIVE inside(root, type) AS (
        SELECT partrelid, atttypid FROM pg_partitioned_table CROSS JOIN LATERAL generate_series(1, partnatts) at
            JOIN pg_attribute ON attrelid = partrelid AND attnum = partattrs[at - 1]
            JOIN pg_opclass o ON o.oid = partclass[at - 1] AND opcintype <> ALL ('{{anyenum}}'::regtype[])
        WHERE partstrat = 'h'
        UNION SELECT root, within.type FROM inside CROSS JOIN LATERAL (
            SELECT unnest(ARRAY[typbasetype, typelem]) FROM pg_type WHERE oid = inside.type
            UNION ALL SELECT rngsubtype FROM pg_range WHERE inside.type IN (rngtypid, rngmultitypid)
            UNION ALL SELECT atttypid FROM pg_type t JOIN pg_attribute ON attrelid = typrelid
            WHERE t.oid = inside.type AND typrelid <> 0 AND attnum > 0 AND NOT attisdropped) within(type)
        WHERE within.type <> 0)
    SELECT format('%I.%I', n.nspname, c.relname), min(type::regtype::text)
    FROM inside JOIN pg_type t ON t.oid = type AND typtype = 'e'
        JOIN pg_class c ON c.oid = root JOIN pg_namespace n ON n.oid = relnamespace
    WHERE {DUMPED} GROUP BY 1 ORDER BY 1"""


def unwritable(connection: psycopg.Connection, own_path: Callable[[], str]) -> list[Doubt]:
    """Objects that a restore creates differently, or not at all.

    Args:
        connection: with an empty search_path, so that names are shown qualified.
        own_path: returns the search_path of the database's own sessions, as SQL.
    """
    row = connection.execute(_ANY).fetchone()
    if not (row and row[0]):
        return []
    rows = connection.execute(_FOUND.encode()).fetchall()
    path = _with(own_path(), sorted({schema for *_, schemas in rows for schema in schemas})) if rows else ""
    return [
        Doubt(
            name,
            (),
            f"IS DISTINCT FROM, NULLIF, CASE or JOIN USING in it compares by {', '.join(operators)}, whose schema no"
            " dump can write, so that a restore finds no such operator, or another one",
            lasting=False,
            path=path,
            mending=with_path(path),
        )
        for name, operators, _ in rows
    ]


def _with(path: str, schemas: list[str]) -> str:
    schemas_of_path = path.split(", ")
    return ", ".join(filter(None, [*schemas_of_path, *(schema for schema in schemas if schema not in schemas_of_path)]))


def with_path(path: str) -> str:
    """A hint for what a search_path of the restore cures."""
    return f"restore it with --search-path {shlex.quote(path)}"


def scattered(connection: psycopg.Connection, database: str) -> list[Doubt]:
    """Tables whose rows do not fit their partitions in another database, because the hash of an enum differs there.

    If an enum itself is the key, pg_dump knows and loads the rows through the root.
    """
    return [
        Doubt(
            f"partitions of {table}",
            (),
            f"the hash of {enum} inside of its key differs between databases, so that rows do not fit",
            lasting=True,
            path="",
            mending="partition it by LIST or RANGE, or save its rows to load them through the root: "
            + in_psql(database, f"\\copy (SELECT * FROM {table}) TO rows.copy"),
        )
        for table, enum in connection.execute(_SCATTERED.encode()).fetchall()
    ]
