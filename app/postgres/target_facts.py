"""Facts of the server that a restore works on: its version, what it lacks, what the role may do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from psycopg import sql

from app.archive.index import TableName
from app.archive.inspect.needs import Needs
from app.domain.psql import in_psql, quoted
from app.errors import RestorePermissionError, RestoreValidationError
from app.ports.target import TargetFacts
from app.postgres import server_facts as questions
from app.postgres.database import Database
from app.postgres.maintenance import Maintenance, maintenance
from app.postgres.session import as_restore_errors

# An interrupted DROP DATABASE leaves -2: nobody can connect to the database any more.
_EXISTS = "SELECT datconnlimit = -2 FROM pg_database WHERE datname = %s"
# Since PostgreSQL 16, using a role's rights (USAGE) and giving objects to it (SET) are two options of a membership.
_MAY_CREATE = """
    SELECT rolsuper OR (rolcreatedb AND NOT EXISTS (
        SELECT FROM pg_database WHERE datname = %s AND NOT (
            pg_has_role(datdba, 'USAGE') AND pg_has_role(datdba, CASE WHEN {} THEN 'SET' ELSE 'MEMBER' END))))
    FROM pg_roles WHERE rolname = current_user"""
_SET_OPTION = 160000
# ALTER … OWNER TO needs SET ROLE on the new owner; loading rows afterwards needs its privileges (INHERIT).
# `pg_database_owner` is the role that restores.
_FOREIGN = """
    SELECT rolname, CASE WHEN NOT rolsuper THEN format('GRANT %%I TO %%I', rolname, current_user) END
    FROM pg_roles WHERE rolname = ANY (%s) AND rolname <> 'pg_database_owner'
        AND NOT (pg_has_role(oid, 'USAGE') AND pg_has_role(oid, CASE WHEN {} THEN 'SET' ELSE 'MEMBER' END))
    ORDER BY rolname"""
# No hint makes the role a member of a superuser.
_AS_SUPERUSER = "restore as a superuser: write such a role into DATABASE_URL"
# The setting is visible to superusers and roles that may read all settings.
_DATA_FOLDER = """
    SELECT setting FROM pg_settings WHERE name = 'data_directory'
        AND (inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr())"""
_ROLE = "SELECT rolname::text, rolsuper FROM pg_roles WHERE rolname = current_user"
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = %s ORDER BY prepared"
_RESTORES = """
    SELECT n.nspname, has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relname = 'backup_restores' AND relkind = 'r'"""
# A type of users may have a cast of theirs, which would run with the rights of this session.
_READABLE_COLUMN = """
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_attribute a ON attrelid = c.oid
        JOIN pg_type t ON t.oid = atttypid AND typnamespace = 'pg_catalog'::regnamespace
    WHERE nspname = %s AND relname = %s AND attname = %s AND relkind = 'r' AND NOT attisdropped
        AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
        AND NOT row_security_active(c.oid)"""
_LACKED = {
    "extension": "SELECT name FROM pg_available_extensions",
    "role": "SELECT rolname FROM pg_roles",
    "tablespace": "SELECT spcname FROM pg_tablespace",
    "collation": """
        SELECT nspname || '.' || collname FROM pg_collation JOIN pg_namespace n ON n.oid = collnamespace
        WHERE collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))""",
}


def target_facts(database: Database) -> TargetFacts:
    """The facts; see `app.ports.target.Target.facts`."""
    try:
        with maintenance(database, database.name) as session:
            rows = session.query(_EXISTS, database.name)
            if rows and rows[0][0]:
                raise _invalid(database.name)
            version = session.connection.info.server_version
            may_create = session.query(_MAY_CREATE.format(version >= _SET_OPTION), database.name)[0][0]
            return _facts(session, database, exists=bool(rows), may_create=may_create)
    except RestorePermissionError:
        # A database cannot be renamed from within, so a restore in place is the only one possible.
        with as_restore_errors(), database.connect() as connection:
            return _facts(Maintenance(connection, database.name), database, exists=True, may_create=False)


def _invalid(name: str) -> RestoreValidationError:
    message = f"database {name} is unusable: a DROP DATABASE of it was interrupted"
    return RestoreValidationError(message, f"{in_psql('postgres', f'DROP DATABASE {quoted(name)}')}; restore again")


def missing(database: Database, needs: Needs) -> list[str]:
    """Requirements that the server lacks; see `app.ports.target.Target.missing`."""
    with maintenance(database) as session:
        exists = bool(session.query(_EXISTS, database.name))
        if not exists:
            return list(_missing(session, needs))
    with as_restore_errors(), database.connect() as connection:
        return list(_missing(Maintenance(connection, database.name), needs))


def foreign_owners(database: Database, needs: Needs) -> dict[str, str]:
    """Owners that the role may not give objects to; see `app.ports.target.Target.foreign_owners`."""
    with maintenance(database) as session:
        has_options = session.connection.info.server_version >= _SET_OPTION
        # A membership may exist without these options.
        options = " WITH INHERIT TRUE, SET TRUE" if has_options else ""
        return {
            owner: grant + options if grant else _AS_SUPERUSER
            for owner, grant in session.query(_FOREIGN.format(has_options), list(needs.owners))
        }


def versions(database: Database, columns: Mapping[TableName, str]) -> dict[TableName, frozenset[str]]:
    """What tables have in one column; see `app.ports.target.Target.versions`."""
    found: dict[TableName, frozenset[str]] = {}
    with as_restore_errors(), database.connect() as connection:
        for table, column in columns.items():
            if connection.execute(_READABLE_COLUMN, (*table, column)).rowcount:
                query = sql.SQL("SELECT {0}::text FROM ONLY {1} WHERE {0} IS NOT NULL").format(
                    sql.Identifier(column), sql.Identifier(*table)
                )
                found[table] = frozenset(value for (value,) in connection.execute(query))
    return found


def knows_restore(database: Database, restore_id: str) -> bool:
    """Whether a database exists and holds a catalog that has a restore, or that the role cannot read."""
    with maintenance(database) as session:
        if not session.query(_EXISTS, database.name):
            return False
    with as_restore_errors(), database.connect() as connection:
        session = Maintenance(connection, database.name)
        tables = session.query(_RESTORES)
        query = sql.SQL("SELECT FROM {} WHERE id = %s")
        return any(
            not readable
            or connection.execute(query.format(sql.Identifier(schema, "backup_restores")), (restore_id,)).fetchall()
            for schema, readable in tables
        )


def _missing(session: Maintenance, needs: Needs) -> Iterator[str]:
    # An extension in the dump may bring a collation outside of pg_catalog.
    collations = {name for name in needs.collations if name.startswith("pg_catalog.") or not needs.extensions}
    requirements = {
        "extension": needs.extensions,
        "role": needs.roles,
        "tablespace": needs.tablespaces,
        "collation": collations,
    }
    for kind, required in requirements.items():
        available = {name for (name,) in session.query(_LACKED[kind])} if required else set()
        yield from (f"{kind} {name}" for name in sorted(required - available))


def _facts(session: Maintenance, database: Database, *, exists: bool, may_create: bool) -> TargetFacts:
    live = None
    if exists:
        with as_restore_errors(), database.connect() as connection:
            live = questions.server_facts(connection)
    version, number = session.query("SELECT current_setting('server_version'), current_setting('server_version_num')")[
        0
    ]
    role, superuser = session.query(_ROLE)[0]
    folder = session.query(_DATA_FOLDER)
    path = Path(folder[0][0]) if folder else None
    return TargetFacts(
        version=version.split()[0],
        version_num=int(number),
        live=live,
        may_create=may_create,
        data_folder=path if path and _is_here(path) else None,
        prepared=tuple(gid for (gid,) in session.query(_PREPARED, database.name)),
        system_identifier=questions.system_identifier(session.connection),
        role=role,
        superuser=superuser,
    )


def _is_here(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
