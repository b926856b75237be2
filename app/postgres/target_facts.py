"""Questions to the server that is restored on: what it is, what it lacks, what the role may do there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from psycopg import sql

from app.archive.inspect.needs import Needs
from app.domain.psql import in_psql, quoted
from app.errors import RestorePermissionError, RestoreValidationError
from app.ports.target import TargetFacts
from app.postgres import server_facts as questions
from app.postgres.database import Database
from app.postgres.maintenance import Maintenance, maintenance
from app.postgres.session import as_restore_errors

# A DROP DATABASE that was interrupted leaves -2: nobody can connect to that any more.
_EXISTS = "SELECT datconnlimit = -2 FROM pg_database WHERE datname = %s"
# PostgreSQL 16 tells who may use a role's rights from who may give things to it.
_MAY_CREATE = """
    SELECT rolsuper OR (rolcreatedb AND NOT EXISTS (
        SELECT FROM pg_database WHERE datname = %s AND NOT (
            pg_has_role(datdba, 'USAGE') AND pg_has_role(datdba, CASE WHEN {} THEN 'SET' ELSE 'MEMBER' END))))
    FROM pg_roles WHERE rolname = current_user"""
_SET_OPTION = 160000
# To give a thing away takes the right to become its owner; to go on filling it then, the owner's rights. Who owns the
# database is who restores.
_FOREIGN = """
    SELECT rolname, CASE WHEN NOT rolsuper THEN format('GRANT %%I TO %%I', rolname, current_user) END
    FROM pg_roles WHERE rolname = ANY (%s) AND rolname <> 'pg_database_owner'
        AND NOT (pg_has_role(oid, 'USAGE') AND pg_has_role(oid, CASE WHEN {} THEN 'SET' ELSE 'MEMBER' END))
    ORDER BY rolname"""
# Who reads for the backups is made no member of a superuser.
_AS_SUPERUSER = "restore as a superuser: write such a role into DATABASE_URL"
# The setting is shown to superusers and those who may read all settings.
_DATA_FOLDER = """
    SELECT setting FROM pg_settings WHERE name = 'data_directory'
        AND (inet_server_addr() IS NULL OR inet_server_addr() = inet_client_addr())"""
_ROLE = "SELECT rolname::text, rolsuper FROM pg_roles WHERE rolname = current_user"
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = %s ORDER BY prepared"
_RESTORES = """
    SELECT n.nspname, has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relname = 'backup_restores' AND relkind = 'r'"""
_LACKED = {
    "extension": "SELECT name FROM pg_available_extensions",
    "role": "SELECT rolname FROM pg_roles",
    "tablespace": "SELECT spcname FROM pg_tablespace",
    "collation": """
        SELECT nspname || '.' || collname FROM pg_collation JOIN pg_namespace n ON n.oid = collnamespace
        WHERE collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))""",
}


def target_facts(database: Database) -> TargetFacts:
    """What the server is, and whether the live database exists."""
    try:
        with maintenance(database, database.name) as session:
            found = session.query(_EXISTS, database.name)
            if found and found[0][0]:
                raise _invalid(database.name)
            version = session.connection.info.server_version
            may_create = session.query(_MAY_CREATE.format(version >= _SET_OPTION), database.name)[0][0]
            return _facts(session, database, exists=bool(found), may_create=may_create)
    except RestorePermissionError:
        # Nothing can be renamed from within the live database; in place it can be restored all the same.
        with as_restore_errors(), database.connect() as connection:
            return _facts(Maintenance(connection, database.name), database, exists=True, may_create=False)


def _invalid(name: str) -> RestoreValidationError:
    message = f"database {name} is what an interrupted DROP DATABASE left: nobody can connect to it"
    return RestoreValidationError(message, f"{in_psql('postgres', f'DROP DATABASE {quoted(name)}')}; restore again")


def missing(database: Database, needs: Needs) -> list[str]:
    """What a backup needs and the server has not; see `app.ports.target.Target.missing`."""
    with maintenance(database) as session:
        exists = bool(session.query(_EXISTS, database.name))
        if not exists:
            return list(_missing(session, needs))
    with as_restore_errors(), database.connect() as connection:
        return list(_missing(Maintenance(connection, database.name), needs))


def foreign_owners(database: Database, needs: Needs) -> dict[str, str]:
    """Whom the role may not give things to; see `app.ports.target.Target.foreign_owners`."""
    with maintenance(database) as session:
        since = session.connection.info.server_version >= _SET_OPTION
        # A membership may be there already, without these.
        options = " WITH INHERIT TRUE, SET TRUE" if since else ""
        return {
            owner: grant + options if grant else _AS_SUPERUSER
            for owner, grant in session.query(_FOREIGN.format(since), list(needs.owners))
        }


def knows_restore(database: Database, restore_id: str) -> bool:
    """Whether a database, if it exists, has a catalog in it that knows a restore, or one that cannot be read."""
    with maintenance(database) as session:
        if not session.query(_EXISTS, database.name):
            return False
    with as_restore_errors(), database.connect() as connection:
        session = Maintenance(connection, database.name)
        tables = session.query(_RESTORES)
        known = sql.SQL("SELECT FROM {} WHERE id = %s")
        return any(
            not readable
            or connection.execute(known.format(sql.Identifier(schema, "backup_restores")), (restore_id,)).fetchall()
            for schema, readable in tables
        )


def _missing(session: Maintenance, needs: Needs) -> Iterator[str]:
    # One outside of pg_catalog may come with an extension that the dump makes.
    collations = {name for name in needs.collations if name.startswith("pg_catalog.") or not needs.extensions}
    wanted = {
        "extension": needs.extensions,
        "role": needs.roles,
        "tablespace": needs.tablespaces,
        "collation": collations,
    }
    for kind, those in wanted.items():
        there = {name for (name,) in session.query(_LACKED[kind])} if those else set()
        yield from (f"{kind} {name}" for name in sorted(those - there))


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
