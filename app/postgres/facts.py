"""Questions to a server: what it is, what it holds, and what the role may not read."""

from __future__ import annotations

from typing import Any

import psycopg

from app.archive.index import TableName
from app.archive.manifest import Extension, ServerFacts

# What pg_dump sets for its own session; the rest is read from ours, which has the same role and database.
_PG_DUMP_SETS = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "TimeZone": "UTC",
}

_DATABASE = """
    SELECT current_setting('server_version'), current_setting('server_version_num')::int, pg_encoding_to_char(encoding),
           concat_ws('/', datcollate, datctype, to_jsonb(d)->>'datlocprovider', to_jsonb(d)->>'datlocale'),
           pg_database_size(oid), current_setting('bytea_output')
    FROM pg_database d WHERE datname = current_database()"""
_EXTENSIONS = "SELECT extname, extversion FROM pg_extension ORDER BY extname"
# pg_shdepend leaves out the bootstrap superuser, who may own anything.
_ROLES = """
    SELECT rolname FROM pg_roles WHERE oid IN (
        SELECT refobjid FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid
        WHERE datname = current_database() AND refclassid = 'pg_authid'::regclass
        UNION SELECT datdba FROM pg_database WHERE datname = current_database()
        UNION SELECT relowner FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
              WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
    ORDER BY rolname"""
_ALEMBIC = """
    SELECT quote_ident(nspname) || '.alembic_version' FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relname = 'alembic_version' AND relkind = 'r' AND pg_table_is_visible(c.oid)
      AND has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid)"""

# A relation that pg_dump reads: not the system's, and not an extension's unless that asks for its rows to be dumped.
_DUMPED = """
    n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relpersistence <> 't' AND (
        NOT EXISTS (SELECT FROM pg_depend e
                    WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
        OR c.oid IN (SELECT unnest(extconfig) FROM pg_extension))"""
_TABLES = f"""
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND {_DUMPED}"""
_UNREADABLE = f"""
    SELECT 'S' = c.relkind,
           CASE c.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || n.nspname || '.' || c.relname || ': ' || CASE
        WHEN NOT has_schema_privilege(n.oid, 'USAGE') THEN 'no USAGE right on its schema'
        WHEN c.relkind = 'S' THEN 'no SELECT right'
        WHEN NOT has_table_privilege(c.oid, 'SELECT') THEN 'no SELECT right'
        ELSE 'row level security would hide rows from the role' END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'S') AND {_DUMPED} AND NOT (
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
    """What the server and its database are."""
    version, number, encoding, locale, size, bytea_output = _one(connection, _DATABASE)
    revision = None
    if table := connection.execute(_ALEMBIC).fetchone():
        revision = ",".join(sorted(row[0] for row in connection.execute(f"SELECT version_num FROM {table[0]}"))) or None
    return ServerFacts(
        version=version.split()[0],
        version_num=number,
        encoding=encoding,
        locale=locale,
        size=size,
        extensions=tuple(Extension(name=name, version=its) for name, its in connection.execute(_EXTENSIONS)),
        roles=tuple(row[0] for row in connection.execute(_ROLES)),
        alembic_revision=revision,
        read_settings=_PG_DUMP_SETS | {"client_encoding": encoding, "bytea_output": bytea_output},
    )


def dumped_tables(connection: psycopg.Connection) -> frozenset[TableName]:
    """Every table whose rows a complete dump carries."""
    return frozenset(TableName(*row) for row in connection.execute(_TABLES))


def unreadable(connection: psycopg.Connection) -> list[str]:
    """What the role may not read, each with the reason."""
    return [row[1] for row in connection.execute(_UNREADABLE)]


def _one(connection: psycopg.Connection, query: str) -> tuple[Any, ...]:
    row = connection.execute(query).fetchone()
    if row is None:
        raise psycopg.DataError("the server has no row for its own database")
    return row
