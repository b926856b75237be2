"""What a restore could not evaluate, because its functions find what they name by the search_path alone.

A dump is loaded under an empty search_path, and so are checks, generated columns and indexes evaluated, domains
checked and materialized views filled. Each expression that calls a function of users is tried under that: on some rows
of its table. Nothing is written, and what a function does is undone; see `relying_try` for whose rights it runs with.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog

from app.archive.index import TableName
from app.errors import BackupError
from app.postgres.database import Database
from app.postgres.facts import DUMPED
from app.postgres.live_schema import SAME, quoted
from app.postgres.own_path import under_own_path
from app.postgres.relying_try import UNTRIED, Roles, Tries, tries
from app.postgres.said import message_of

log = structlog.get_logger(__name__)
# Functions that rely on nothing: the server's own, those in C, and those that set their search_path themselves.
_USED = """
    WITH RECURSIVE risky AS (
        SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace JOIN pg_language l ON l.oid = prolang
        WHERE nspname NOT IN ('pg_catalog', 'information_schema') AND nspname !~ '^pg_temp' AND prokind IN ('f', 'w')
            AND lanname NOT IN ('internal', 'c')
            AND NOT EXISTS (SELECT FROM unnest(proconfig) setting WHERE setting LIKE 'search_path=%')),
    called(class, id, function) AS (
        SELECT 'pg_proc'::regclass::oid, oid, oid FROM risky
        UNION ALL SELECT 'pg_operator'::regclass, o.oid, r.oid FROM pg_operator o JOIN risky r ON r.oid = oprcode
        UNION ALL SELECT 'pg_proc'::regclass, aggfnoid, r.oid FROM pg_aggregate
            JOIN risky r ON r.oid IN (aggtransfn, aggfinalfn)),
    used(class, id, function) AS (
        SELECT classid, objid, function FROM pg_depend JOIN called ON refclassid = class AND refobjid = called.id
        UNION SELECT classid, objid, function FROM used
            JOIN pg_rewrite v ON class = 'pg_rewrite'::regclass AND v.oid = id
            JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = ev_class AND classid = class
                AND objid <> id),
    object(class, id, functions) AS (SELECT class, id, array_agg(DISTINCT function) FROM used GROUP BY class, id)"""
_LEAF = """(SELECT l.relid FROM pg_partition_tree(c.oid) l JOIN pg_class k ON k.oid = l.relid AND k.relkind = 'r'
            ORDER BY relpages DESC LIMIT 1)"""
# Kind and name of each object, the table whose rows it is tried on, and its expressions as SQL.
_FOUND = f"""
    found(class, id, functions, kind, name, relation, says) AS (
        SELECT o.*, 'generated column', format('%I.%I.%I', n.nspname, c.relname, attname), c.oid,
               pg_get_expr(adbin, adrelid)
        FROM object o JOIN pg_attrdef d ON class = 'pg_attrdef'::regclass AND d.oid = id
            JOIN pg_attribute a ON attrelid = adrelid AND attnum = adnum AND attgenerated <> ''
            JOIN pg_class c ON c.oid = adrelid AND relkind = 'r' JOIN pg_namespace n ON n.oid = relnamespace
        WHERE {DUMPED}
        UNION ALL
        SELECT o.*, 'index', format('%I.%I', n.nspname, i.relname), c.oid, concat_ws(', ',
               (SELECT string_agg(pg_get_indexdef(indexrelid, k, true), ', ') FROM generate_series(1, indnatts) k
                WHERE indkey[k - 1] = 0), pg_get_expr(indpred, indrelid))
        FROM object o JOIN pg_index x ON class = 'pg_class'::regclass AND indexrelid = id AND indisvalid
            JOIN pg_class i ON i.oid = indexrelid JOIN pg_class c ON c.oid = indrelid AND c.relkind IN ('r', 'm')
            JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {DUMPED} AND (indexprs IS NOT NULL OR indpred IS NOT NULL)
        UNION ALL
        SELECT o.*, 'check', format('%I of %I.%I', conname, n.nspname, c.relname), c.oid, pg_get_expr(conbin, conrelid)
        FROM object o JOIN pg_constraint k ON class = 'pg_constraint'::regclass AND k.oid = id AND contype = 'c'
            JOIN pg_class c ON c.oid = conrelid AND relkind = 'r' JOIN pg_namespace n ON n.oid = relnamespace
        WHERE {DUMPED}
        UNION ALL
        SELECT o.*, 'statistics', format('%I.%I', s.nspname, stxname), c.oid,
               array_to_string(pg_get_statisticsobjdef_expressions(x.oid), ', ')
        FROM object o JOIN pg_statistic_ext x ON class = 'pg_statistic_ext'::regclass AND x.oid = id
            JOIN pg_namespace s ON s.oid = stxnamespace
            JOIN pg_class c ON c.oid = stxrelid AND relkind IN ('r', 'm') JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {DUMPED}
        UNION ALL
        SELECT o.*, 'partitions', format('of %I.%I', n.nspname, c.relname), {_LEAF}, pg_get_expr(partexprs, partrelid)
        FROM object o JOIN pg_partitioned_table p ON class = 'pg_class'::regclass AND partrelid = id
            JOIN pg_class c ON c.oid = partrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {DUMPED} AND partexprs IS NOT NULL
        UNION ALL
        SELECT o.*, 'materialized view', format('%I.%I', n.nspname, c.relname), c.oid, pg_get_viewdef(c.oid)
        FROM object o JOIN pg_rewrite r ON class = 'pg_rewrite'::regclass AND r.oid = id
            JOIN pg_class c ON c.oid = ev_class AND relkind = 'm' AND relispopulated
            JOIN pg_namespace n ON n.oid = relnamespace
        WHERE {DUMPED}
        UNION ALL
        SELECT o.*, 'domain', format('%I.%I', n.nspname, typname), u.attrelid,
               format('CAST(CAST(%s AS %s) AS %I.%I)', coalesce(quote_ident(attname), 'NULL'),
                      format_type(typbasetype, typtypmod), n.nspname, typname)
        FROM object o JOIN pg_constraint k ON class = 'pg_constraint'::regclass AND k.oid = id
            JOIN pg_type t ON t.oid = contypid JOIN pg_namespace n ON n.oid = typnamespace
            LEFT JOIN LATERAL (SELECT attrelid, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
                               WHERE atttypid = t.oid AND NOT attisdropped AND relkind = 'r' AND relpersistence <> 't'
                               ORDER BY relpages DESC LIMIT 1) u ON true)"""
_QUERY = f"""{_USED}, {_FOUND}
    SELECT kind, name, says, n.nspname, c.relname,
           ARRAY(SELECT DISTINCT attname::text
                 FROM pg_depend JOIN pg_attribute a ON attrelid = refobjid AND attnum = refobjsubid
                 WHERE classid = class AND objid = id AND refclassid = 'pg_class'::regclass AND refobjid = relation
                 AND attgenerated = '' AND NOT attisdropped ORDER BY 1),
           ARRAY(SELECT f::regprocedure::text FROM unnest(functions) f ORDER BY 1),
           ARRAY(SELECT pg_get_userbyid(owner)::text FROM (
                     SELECT c.relowner AS owner, 0 AS at WHERE c.oid IS NOT NULL
                     UNION ALL SELECT proowner, 1 FROM pg_proc p WHERE p.oid = ANY (functions)) o ORDER BY at, owner)
    FROM found LEFT JOIN pg_class c ON c.oid = relation LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    ORDER BY c.relpages DESC NULLS LAST, name"""
# Somebody may wait for what the snapshot has locked.
BESIDE_SECONDS = 2.0
ALONE_SECONDS = 10.0
_SHOWN = 10
_ROWS = 3  # of those that have values in most of the columns
_LOOKED_AT = 1000
_SCHEMAS = "SELECT pg_catalog.current_schemas(false)::pg_catalog.text[]"
_SHOWN_PATH = "SELECT coalesce(string_agg(quote_ident(s), ', '), 'public') FROM unnest(%s::text[]) s"


@dataclass(frozen=True, slots=True)
class Doubt:
    """An object that a restore could not make, or not fill.

    Attributes:
        name: with its kind: ``index public.people_name``.
        functions: those of users that it calls.
        said: by the server.
        lasting: whether it fails in the database's own sessions too.
        path: what they find it by.
    """

    name: str
    functions: tuple[str, ...]
    said: str
    lasting: bool
    path: str

    def __str__(self) -> str:
        called = ", ".join(self.functions)
        if self.lasting:
            return f"{self.name} calls {called}, which fails in every session, and so in a restore: {self.said}"
        set_path = "; ".join(f"ALTER FUNCTION {each} SET search_path = {self.path}" for each in self.functions)
        return (
            f"{self.name} calls {called}, which finds what it names by search_path alone, and so not in a restore: "
            f"{self.said}; mend it: {set_path}; until then restore with --search-path"
        )


@dataclass(frozen=True, slots=True)
class Relying:
    """What was found; `tables` are those that no query can be planned on under an empty search_path, or perhaps not."""

    doubts: tuple[Doubt, ...] = ()
    tables: frozenset[TableName] = frozenset()


@dataclass(frozen=True, slots=True)
class _Object:
    """What calls functions of users."""

    kind: str
    name: str
    says: str
    table: TableName | None
    columns: tuple[str, ...]
    functions: tuple[str, ...]
    owners: tuple[str, ...]

    @property
    def statement(self) -> str:
        """What evaluates it; all of its names are qualified."""
        if self.kind == "materialized view":
            return f"SELECT * FROM ({self.says.rstrip(';')}) filled LIMIT 1"
        if self.table is None:
            return f"SELECT {self.says}"
        table = f"ONLY {quoted(*self.table)}"
        columns = ", ".join(map(quoted, self.columns))
        looked_at = f"SELECT ctid{columns and ', '}{columns} FROM {table} LIMIT {_LOOKED_AT}"
        full = f"ORDER BY pg_catalog.num_nulls({columns})" if columns else ""  # a function that is STRICT is not called
        rows = f"SELECT ctid FROM ({looked_at}) looked_at {full} LIMIT {_ROWS}"
        return f"SELECT {self.says} FROM {table} WHERE ctid {SAME} ANY (ARRAY({rows}))"


def relying(connection: psycopg.Connection, database: Database, snapshot: str | None = None) -> Relying:
    """Look for what relies on search_path, and try it; what cannot be tried now is no reason not to go on.

    Args:
        connection: asks the catalogs, and is left as it was.
        database: the same; a connection of its own tries, if there is anything to try.
        snapshot: what the server calls an exported one, which shows the rows to try it on.

    Raises:
        psycopg.OperationalError: the connection was lost.
    """
    found: list[_Object] = []
    try:
        found = _look(connection)
        if not found:
            return Relying()
        roles = Roles.of(connection, {owner for each in found for owner in each.owners})
        with under_own_path(connection):
            schemas = _one(connection, _SCHEMAS)
        path = _one(connection, _SHOWN_PATH, schemas)
        with database.connect() as trying:
            seconds = BESIDE_SECONDS if snapshot else ALONE_SECONDS
            return _tried(tries(trying, roles, snapshot), path, found, time.monotonic() + seconds)
    except (psycopg.Error, BackupError) as error:
        if connection.closed:
            raise
        reason = error.message if isinstance(error, BackupError) else message_of(error)
        log.warning("backup does not know whether functions rely on search_path", reason=reason)
        return Relying(tables=frozenset(each.table for each in found if each.table))


def _look(connection: psycopg.Connection) -> list[_Object]:
    with connection.transaction(force_rollback=True):  # which takes the setting back, also within a transaction
        connection.execute("SET LOCAL search_path = ''")
        return list(_distinct(connection.execute(_QUERY.encode()).fetchall()))


def _distinct(rows: Iterable[tuple[Any, ...]]) -> Iterator[_Object]:
    """Of what all partitions have alike, that of the largest."""
    seen: set[tuple[str, str, tuple[str, ...]]] = set()
    for kind, name, says, schema, relation, columns, functions, owners in rows:
        table = TableName(schema, relation) if relation is not None else None
        if says and (kind, says, tuple(functions)) not in seen:
            seen.add((kind, says, tuple(functions)))
            yield _Object(kind, name, says, table, tuple(columns), tuple(functions), tuple(owners))


def _tried(trying: Tries, path: str, found: Iterable[_Object], deadline: float) -> Relying:
    doubts, tables, left = [], set(), []
    for each in found:
        if time.monotonic() > deadline:
            left.append(f"{each.kind} {each.name}")
        outcome = trying.outcome(each.statement, each.owners) if not left else UNTRIED
        if outcome.said is not None:
            name = f"{each.kind} {each.name}"
            doubts.append(Doubt(name, each.functions, outcome.said, outcome.lasting, path))
        if each.table is not None and (outcome.said is not None or not outcome.tried):
            tables.add(each.table)
    if left:
        log.warning("backup had no time to try all functions", left=left[:_SHOWN], of=len(left))
    return Relying(tuple(doubts), frozenset(tables))


def _one(connection: psycopg.Connection, query: str, *params: object) -> Any:
    row = connection.execute(query.encode(), params).fetchone()
    return row[0] if row else None
