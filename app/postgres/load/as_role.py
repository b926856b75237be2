"""Loads a foreign dump as a role with few rights, because functions in the file run with the loading role's rights.

The role connects by itself: if a superuser's session took on its name with SET ROLE, the file could undo that with
RESET. So the role has a login. During the load it may create objects in the new database and owns the schema public.
It owns everything that is loaded; owners in the dump are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
from psycopg import sql

from app.archive.inspect.grammar_ddl import is_about_owners
from app.archive.reader import Archive
from app.domain.psql import in_psql, quoted
from app.errors import RestorePermissionError
from app.ports.target import Loader, LoadResult
from app.postgres.database import Database
from app.postgres.load.loader import load
from app.postgres.load.statements import syntax_of
from app.postgres.load.watched import WatchedSession
from app.postgres.maintenance import Maintenance, maintenance
from app.postgres.session import RestoreSession, as_restore_errors, restore_session
from app.postgres.without_login_triggers import without_login_triggers

log = structlog.get_logger(__name__)
_LACKING = """
    SELECT wanted FROM unnest('{CREATE,CONNECT,TEMPORARY}'::text[]) wanted
    WHERE NOT has_database_privilege(%s, %s, wanted)"""
_POWERS = """
    SELECT rolname FROM pg_roles r WHERE pg_has_role(session_user, oid, 'MEMBER') AND (
        rolsuper OR NOT (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) AND (
            rolcreaterole OR rolreplication OR rolbypassrls OR rolname ~ '^pg_'
            OR EXISTS (SELECT FROM pg_database WHERE datdba = r.oid)))
    ORDER BY 1"""
_OWNER = "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'"


def loader_of(database: Database, role: str, password: str | None) -> Loader:
    """Make sure that a role can load a dump, and return its other rights; see `app.ports.target.Target.loader`.

    Raises:
        RestorePermissionError: the role cannot connect.
        TargetUnavailableError: the server does not answer.
    """
    try:
        with maintenance(database.as_role(role, password)) as found:
            return Loader(role, tuple(name for (name,) in found.query(_POWERS)))
    except RestorePermissionError as error:
        raise RestorePermissionError(f"role {role} cannot load the file: {error.message}", _hint(role)) from error


def load_as(  # noqa: PLR0913, PLR0917 -- what a load takes, and the role
    database: Database,
    who: tuple[str, str | None],
    archive: Archive,
    jobs: int,
    progress: Callable[[int], None],
    search_path: str | None = None,
) -> LoadResult:
    """Load an archive into an empty database as another role; see `app.postgres.load.loader.load`.

    Args:
        database: as the role that created it.
        who: name and password of the role that loads it.
        archive: of any origin.
        jobs: number of connections.
        progress: called with the number of bytes of row data sent.
        search_path: of functions during the load.

    Raises:
        RestorePermissionError: the file needs a right that the role lacks.
        RestoreError, BackupError: as `load`.
    """
    with _granted_access(database, who[0]):
        try:
            return load(database.as_role(*who), archive, jobs, progress, search_path, session_factory=_session)
        except RestorePermissionError as error:
            hint = (
                f"role {who[0]} may not do this; if you trust the file, load it without --as and RESTORE_FOREIGN_ROLE"
            )
            raise RestorePermissionError(error.message, hint) from error


@contextmanager
def _granted_access(database: Database, role: str) -> Iterator[None]:
    """A block in which a role may create objects in a database and owns its schema public."""
    with as_restore_errors(), database.connect() as connection:
        ours = Maintenance(connection, database.name)
        rights = [sql.SQL(right) for (right,) in ours.query(_LACKING, role, database.name)]
        database_name, role_name = sql.Identifier(database.name), sql.Identifier(role)
        what = f"rights of role {role} in database {database.name}"
        for right in rights:
            ours.execute(what, "GRANT {} ON DATABASE {} TO {}", right, database_name, role_name)
        owner = ours.query(_OWNER)[0][0]
        ours.execute(what, "ALTER SCHEMA public OWNER TO {}", role_name)
    yield
    # The role may have the right to create event triggers.
    with as_restore_errors(), without_login_triggers(database, database.name).connect() as connection:
        ours = Maintenance(connection, database.name)
        if ours.query(_OWNER) == [(role,)]:
            ours.execute(what, "ALTER SCHEMA public OWNER TO {}", sql.Identifier(owner))
        for right in rights:
            ours.execute(what, "REVOKE {} ON DATABASE {} FROM {}", right, database_name, role_name)


class _OwnerlessSession(WatchedSession):
    """A session that skips statements about owners: everything belongs to the role."""

    takes_owners = False

    def run(self, statement: bytes, what: str) -> None:
        if is_about_owners(statement, syntax_of(self)):
            log.debug("restore skips an owner", what=what)
            return
        super().run(statement, what)


@contextmanager
def _session(database: Database, jobs: int) -> Iterator[RestoreSession]:
    with restore_session(database, jobs) as found:
        yield _OwnerlessSession(found.connection, database.name)


def _hint(role: str) -> str:
    login = in_psql("postgres", f"ALTER ROLE {quoted(role)} LOGIN")
    return f"it must be able to log in: {login}; its password is RESTORE_FOREIGN_PASSWORD, or in ~/.pgpass"
