"""Facts of a server and a database: versions, tables that a dump holds, and what the role may not read."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import psycopg

from app.archive.index import TableName
from app.archive.manifest import Extension, ServerFacts
from app.domain.servers import Identity
from app.postgres.configured_path import TAKEN_PATH
from app.postgres.questions import Question, Rows, ask
from app.postgres.session_settings import PG_DUMP_READS

_NO_ROW = "the server has no row for its own database"
_DATABASE = """
    SELECT current_setting('server_version'), current_setting('server_version_num')::int, pg_encoding_to_char(encoding),
           concat_ws('/', datcollate, datctype, to_jsonb(d)->>'datlocprovider',
                     coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale')),
           pg_database_size(oid), current_setting('bytea_output'), oid::bigint
    FROM pg_database d WHERE datname = current_database()"""
# An administrator may have revoked the right; the function then fails for the role in any query.
_MAY_ASK = "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
_SYSTEM = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"
_OID = "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"
_EXTENSIONS = "SELECT extname, extversion FROM pg_extension ORDER BY extname"
# pg_shdepend does not list the bootstrap superuser, who may own anything.
_ROLES = """
    SELECT rolname FROM pg_roles WHERE oid IN (
        SELECT refobjid FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
        WHERE datname = current_database() AND refclassid = 'pg_authid'::regclass
        UNION SELECT datdba FROM pg_database WHERE datname = current_database()
        UNION SELECT relowner FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
              WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
    ORDER BY rolname"""
# The table that users find by that name, under the configured path. The path is reset for the queries that follow in
# the same message; the transaction's end does so too.
_SEEN = """
    SELECT pg_catalog.set_config('residency_backup.revisions',
        coalesce(pg_catalog.to_regclass('alembic_version')::pg_catalog.oid::pg_catalog.text, '0'), true),
        pg_catalog.set_config('search_path', '', true)"""
# A type of users may have a cast of theirs, which would run with the rights of this session.
_ALEMBIC = """
    SELECT quote_ident(nspname) || '.alembic_version' FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND attname = 'version_num' AND NOT attisdropped
        JOIN pg_type t ON t.oid = atttypid AND typnamespace = 'pg_catalog'::regnamespace
    WHERE c.oid = current_setting('residency_backup.revisions')::oid AND relkind = 'r'
      AND has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid)"""
_REVISIONS = "SELECT version_num::text FROM ONLY {} WHERE version_num IS NOT NULL"

# A relation whose rows pg_dump reads: no system table; an extension's only if it declares them for dumps.
DUMPED = """
    n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relpersistence <> 't' AND (
        NOT EXISTS (SELECT FROM pg_depend e
                    WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
        OR c.oid IN (SELECT unnest(extconfig) FROM pg_extension))"""
# A standby has no rows of unlogged tables and refuses to read them; pg_dump leaves them out there.
READABLE = "NOT (c.relpersistence = 'u' AND pg_is_in_recovery())"
_LEFT_OUT = f"""
    SELECT format('%s.%s', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'S') AND {DUMPED} AND NOT {READABLE} ORDER BY 1"""
# Tables below a table that is hash partitioned by an enum. pg_dump loads their rows through the root, because the hash
# of an enum's value differs between databases (pg_dump.c, forcePartitionRootLoad).
THROUGH_ROOT = """
    through_root AS (
        SELECT partrelid AS oid FROM pg_partitioned_table WHERE partstrat = 'h' AND EXISTS (
            SELECT FROM pg_opclass o JOIN pg_am a ON a.oid = o.opcmethod
            WHERE o.oid = ANY (partclass) AND opcname = 'enum_ops' AND amname = 'hash')
        UNION SELECT inhrelid FROM pg_inherits JOIN through_root ON oid = inhparent)"""
_TABLES = f"""
    WITH RECURSIVE {THROUGH_ROOT}
    SELECT n.nspname, c.relname, rn.nspname, r.relname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_class r ON r.oid = CASE WHEN c.oid IN (SELECT oid FROM through_root)
                                   THEN pg_partition_root(c.oid)::oid ELSE c.oid END
        JOIN pg_namespace rn ON rn.oid = r.relnamespace
    WHERE c.relkind = 'r' AND {DUMPED} AND {READABLE}"""
# A role's limit does not bind a superuser. Background workers are counted here and not by the server: a safe error.
_FREE = """
    SELECT least(
        current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true), '0')::int - (SELECT count(*) FROM sessions),
        CASE WHEN datconnlimit >= 0 THEN datconnlimit - (SELECT count(*) FROM sessions WHERE datid = d.oid) END,
        CASE WHEN rolconnlimit >= 0 AND NOT rolsuper
             THEN rolconnlimit - (SELECT count(*) FROM sessions WHERE usesysid = r.oid) END)::int
    FROM pg_database d, pg_roles r WHERE datname = current_database() AND rolname = session_user"""
_UNREADABLE = f"""
    SELECT 'S' = c.relkind,
           CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || n.nspname || '.' || c.relname || ': ' || CASE
        WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN 'no USAGE right on its schema'
        WHEN c.relkind = 'S' THEN 'no SELECT right'
        WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN 'no SELECT right'
        ELSE 'row level security would hide rows from the role' END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND {DUMPED} AND NOT (
        has_schema_privilege(n.oid, 'USAGE') AND CASE c.relkind
            WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT')
            ELSE has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid) END)
    UNION ALL
    SELECT true, 'large object ' || l.oid || ': no SELECT right' FROM pg_largeobject_metadata l
    WHERE NOT pg_has_role(lomowner, 'USAGE') AND current_setting('is_superuser') <> 'on' AND NOT EXISTS (
        SELECT FROM aclexplode(lomacl) a
        WHERE a.privilege_type = 'SELECT' AND (a.grantee = 0 OR pg_has_role(a.grantee, 'USAGE')))
    ORDER BY 1, 2"""


def server_facts(connection: psycopg.Connection) -> ServerFacts:
    """The facts of the server and of the session's database."""
    return ask(connection, facts_question())


def facts_question() -> Question[ServerFacts]:
    """The same as a question, of two round trips."""
    queries = (_DATABASE, _EXTENSIONS, _ROLES, _MAY_ASK, TAKEN_PATH, _SEEN, _ALEMBIC)
    database, extensions, roles, may_ask, _, _, tables = yield queries
    version, number, encoding, locale, size, bytea_output, oid = _only(database)
    systems, revisions = yield from _second(may_ask=_only(may_ask)[0], tables=[row[0] for row in tables])
    return ServerFacts(
        version=version.split()[0],
        version_num=number,
        encoding=encoding,
        locale=locale,
        size=size,
        extensions=tuple(Extension(name=row[0], version=row[1]) for row in extensions),
        roles=tuple(row[0] for row in roles),
        alembic_revision=",".join(sorted(row[0] for row in revisions)) or None,
        read_settings=PG_DUMP_READS | {"client_encoding": encoding, "bytea_output": bytea_output},
        system_identifier=systems[0][0] if systems else None,
        database_oid=oid,
    )


def _second(*, may_ask: bool, tables: Sequence[str]) -> Generator[Sequence[str], list[Rows], tuple[Rows, Rows]]:
    """The rows of the queries that depend on others: system identifier, revisions."""
    queries = [*([_SYSTEM] if may_ask else []), *(_REVISIONS.format(table) for table in tables[:1])]
    found = (yield queries) if queries else []
    return (found[0] if may_ask else []), (found[-1] if tables else [])


def identity(connection: psycopg.Connection) -> Identity:
    """The identity of the session's server and database."""
    return Identity(system_identifier(connection), _one(connection, _OID)[0])


def system_identifier(connection: psycopg.Connection) -> str | None:
    """The server's system identifier; None if the role may not read it."""
    return str(_one(connection, _SYSTEM)[0]) if _one(connection, _MAY_ASK)[0] else None


def read_settings(connection: psycopg.Connection) -> dict[str, str]:
    """The settings under which a dump by this session's role reads rows of its database."""
    return dict(server_facts(connection).read_settings)


def dumped_tables(connection: psycopg.Connection) -> dict[TableName, TableName]:
    """Every table whose rows a complete dump holds, with the table under whose name it holds them."""
    rows = connection.execute(_TABLES)
    return {TableName(schema, name): TableName(root_schema, root_name) for schema, name, root_schema, root_name in rows}


def free_connections(connection: psycopg.Connection) -> int:
    """Number of connections that the server has left for this role and database."""
    return int(
        _one(connection, f"WITH sessions AS (SELECT * FROM pg_stat_activity WHERE datid IS NOT NULL) {_FREE}")[0]
    )


def unreadable(connection: psycopg.Connection) -> list[str]:
    """Tables, sequences and large objects that the role may not read, each with the reason."""
    return ask(connection, unreadable_question())


def unreadable_question() -> Question[list[str]]:
    """The same as a question, of one round trip."""
    (rows,) = yield (_UNREADABLE,)
    return [row[1] for row in rows]


def left_out(connection: psycopg.Connection) -> list[str]:
    """Unlogged tables and sequences, if the server is a standby, which has no content of them."""
    return ask(connection, left_out_question())


def left_out_question() -> Question[list[str]]:
    """The same as a question, of one round trip."""
    (rows,) = yield (_LEFT_OUT,)
    return [row[0] for row in rows]


def _only(rows: Rows) -> tuple[Any, ...]:
    if not rows:
        raise psycopg.DataError(_NO_ROW)
    return rows[0]


def _one(connection: psycopg.Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    if row is None:
        raise psycopg.DataError(_NO_ROW)
    return row
