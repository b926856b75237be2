"""Creates databases that are like another one, and drops databases.

What belongs to a database itself, and so is in no dump of its contents, is copied: owner, encoding, locale, tablespace,
connection limit, settings (also of single roles in it), grants, comment, security labels.

Source: pg_dump's --create (dumpDatabase in pg_dump.c, makeAlterConfigCommand in dumputils.c).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg import sql

from app.archive.manifest import ServerFacts
from app.domain.psql import in_psql, quoted
from app.errors import RestoreBusyError, RestoreError, RestorePermissionError, RestoreValidationError
from app.postgres import replication
from app.postgres.database import Database
from app.postgres.maintenance import Maintenance, maintenance
from app.postgres.session import sqlstate_of

log = structlog.get_logger(__name__)
# By to_jsonb, because not every major has all of these columns.
_TRAITS = """
    SELECT d.oid, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype,
           coalesce(to_jsonb(d)->>'datlocprovider', 'c'),
           coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale'), to_jsonb(d)->>'daticurules',
           nullif(spcname, 'pg_default'), datconnlimit, datistemplate
    FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = %s"""
_CONFIG = """
    SELECT rolname, unnest(setconfig) FROM pg_db_role_setting LEFT JOIN pg_roles r ON r.oid = setrole
    WHERE setdatabase = %s ORDER BY rolname NULLS FIRST"""
_GRANTS = """
    SELECT pg_get_userbyid(a.grantor), CASE WHEN a.grantee <> 0 THEN pg_get_userbyid(a.grantee) END, a.privilege_type,
           a.is_grantable
    FROM pg_database, aclexplode(datacl) a WHERE oid = %s"""
_HAS_GRANTS = "SELECT datacl IS NOT NULL FROM pg_database WHERE oid = %s"
_COMMENT = "SELECT shobj_description(%s, 'pg_database')"
SCRATCH = "scratch database of residency-backup"  # the comment on one; nothing else tells it from somebody's own
_LABELS = "SELECT provider, label FROM pg_shseclabel WHERE classoid = 'pg_database'::regclass AND objoid = %s"
_PROVIDERS = {"c": ("libc", 0), "i": ("icu", 150000), "b": ("builtin", 170000)}  # with the first version that has it
# Settings whose values are lists of names. Quoted as one literal, such a list would be one name.
_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}
_LIST_ITEM = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",\s]+))\s*(?:,|$)')
_BAD_LOCALE = {"42809", "22023", "0A000"}
_MAY_NOT_GIVE = "restore as a superuser; a role without CREATEDB restores in place, and the database keeps what it has"
_TAKEN = "42P04"
_UNKNOWN = "3D000"
_RENAMING = """
    SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = objid
                   WHERE locktype = 'object' AND classid = 'pg_database'::regclass AND mode = 'AccessExclusiveLock'
                         AND granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND datname = ANY (%s))"""
Grant = tuple[str, str | None, str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class _CreateOptions:
    """Options of CREATE DATABASE; None for the server's default."""

    oid: int | None = None
    owner: str | None = None
    encoding: str | None = None
    collate: str | None = None
    ctype: str | None = None
    provider: str = "c"
    locale: str | None = None
    rules: str | None = None
    tablespace: str | None = None
    limit: int = -1
    template: bool = False

    @classmethod
    def of_facts(cls, facts: ServerFacts | None) -> _CreateOptions:
        """Options for a database that was dumped elsewhere: those that decide how text is stored and sorted."""
        if facts is None:
            return cls()
        collate, ctype, provider, locale = (facts.locale.split("/", 3) + [""] * 3)[:4]
        return cls(
            encoding=facts.encoding,
            collate=collate or None,
            ctype=ctype or None,
            provider=provider or "c",
            locale=locale or None,
        )

    def clauses(self, version: int) -> Iterator[sql.Composable]:
        """The clauses that this version of the server knows.

        Raises:
            RestoreValidationError: the server does not know the provider of the locale.
        """
        provider, since = _PROVIDERS[self.provider]
        if version < since:
            message = (
                f"the database sorts text by {provider}, which the server, version {version // 10000}, does not support"
            )
            raise RestoreValidationError(message, f"restore on PostgreSQL {since // 10000} or newer")
        texts = {
            "OWNER": self.owner and sql.Identifier(self.owner),
            "ENCODING": self.encoding,
            "LC_COLLATE": self.collate,
            "LC_CTYPE": self.ctype,
            "LOCALE_PROVIDER": provider if version >= _PROVIDERS["i"][1] else None,
            "ICU_LOCALE": self.locale if provider == "icu" else None,
            "ICU_RULES": self.rules if provider == "icu" else None,
            "BUILTIN_LOCALE": self.locale if provider == "builtin" else None,
            "TABLESPACE": self.tablespace and sql.Identifier(self.tablespace),
            "CONNECTION LIMIT": self.limit,
            "IS_TEMPLATE": self.template,
        }
        for word, value in texts.items():
            if value is not None:
                shown = value if isinstance(value, sql.Composable) else sql.Literal(value)
                yield sql.SQL("{} = {}").format(sql.SQL(word), shown)


def oids(database: Database) -> dict[str, int]:
    """All databases of the server by name, with their oids."""
    with maintenance(database) as session:
        return {str(name): int(oid) for name, oid in session.query("SELECT datname, oid FROM pg_database")}


def renaming(database: Database, names: Collection[str]) -> bool:
    """Whether one of these databases is being renamed or dropped: its lock is held until the result is visible."""
    with maintenance(database) as session:
        return bool(session.query(_RENAMING, list(names))[0][0])


def create(database: Database, name: str, facts: ServerFacts | None, *, shut: bool = False) -> None:
    """Create an empty database like `database`; see `app.ports.target.Target.create`.

    Args:
        database: the live one, which need not exist.
        name: of the new database.
        facts: of the dumped database; used if there is no live one.
        shut: whether it is marked as a scratch database, and nobody but the session's role may connect; else the
            live one's grants and comment are copied.

    Raises:
        RestorePermissionError: the role may not create it, or may not copy the live one's settings and grants.
        RestoreValidationError: the server does not know its locale.
        RestoreError: there is a database of that name.
    """
    with maintenance(database, database.name, name) as session:
        rows = session.query(_TRAITS, database.name)
        options = (
            _CreateOptions(**dict(zip(_CreateOptions.__slots__, rows[0], strict=True)))
            if rows
            else _CreateOptions.of_facts(facts)
        )
        _create(session, name, options)
        if options.oid is not None:
            try:
                with session.transaction(f"the settings and grants of database {name}"):
                    _copy_settings(session, name, options.oid)
                    if shut:
                        _shut(session, name, str(options.owner))
                    else:
                        _copy_grants(session, name, options.oid, str(options.owner))
            except BaseException as error:
                with contextlib.suppress(RestoreError, psycopg.Error):
                    _drop(database, session, name)
                if isinstance(error, RestorePermissionError):
                    raise RestorePermissionError(error.message, _MAY_NOT_GIVE) from error
                raise


def drop(database: Database, name: str) -> bool:
    """Drop a database and end its sessions; see `app.ports.target.Target.drop`.

    Raises:
        RestoreValidationError: it is the live one.
        RestoreBusyError: a session or a prepared transaction stays in it, or it is read through a replication slot.
        RestorePermissionError: the role may not drop it, or a subscription of it.
    """
    if name == database.name:
        raise RestoreValidationError(f"database {name} is the live one: it is not dropped", "this is a bug: report it")
    with maintenance(database, database.name, name) as session:
        return _drop(database, session, name)


def _create(session: Maintenance, name: str, options: _CreateOptions) -> None:
    clauses = sql.SQL(" ").join(options.clauses(session.connection.info.server_version))
    what = f"database {name}"
    try:
        session.execute(what, "CREATE DATABASE {} TEMPLATE template0 {}", sql.Identifier(name), clauses)
    except RestorePermissionError as error:
        # The hint does not suggest a membership: the owner may be a superuser.
        owner = f", and must be a member of the live database's owner {options.owner}" if options.owner else ""
        making = in_psql("postgres", f"ALTER ROLE {quoted(session.connection.info.user)} CREATEDB")
        hint = f"the role must be able to CREATE DATABASE ({making}){owner}"
        raise RestorePermissionError(error.message, hint) from error
    except RestoreError as error:
        state = sqlstate_of(error)
        if state == _TAKEN:
            raise RestoreError(error.message, "to clean up: residency-backup check --repair") from error
        if state in _BAD_LOCALE:
            hint = "install the locale on the server, or make an empty live database with another one first"
            raise RestoreValidationError(error.message, hint) from error
        raise


def _drop(database: Database, session: Maintenance, name: str) -> bool:
    """Drop a database with its subscriptions, unless one of its slots is in use. No other function drops databases."""
    rows = session.query("SELECT datistemplate FROM pg_database WHERE datname = %s", name)
    if not rows:
        return False
    identifier = sql.Identifier(name)
    replication.require_no_readers(session, name)
    slots = replication.slots_of(session, name)
    try:
        if rows[0][0]:
            session.execute(f"database {name}", "ALTER DATABASE {} IS_TEMPLATE false", identifier)
        with replication.without_subscriptions(database, session, name):
            session.execute(f"database {name}", "DROP DATABASE {} WITH (FORCE)", identifier)
    except RestoreBusyError as error:
        detail = error.__cause__.diag.message_detail if isinstance(error.__cause__, psycopg.Error) else None
        raise RestoreBusyError(f"{error.message}: {detail or 'it is in use'}", error.hint) from error
    except RestoreError as error:
        if sqlstate_of(error) == _UNKNOWN:
            return False  # it was renamed or dropped while this session waited
        raise
    if slots:
        log.warning("restore dropped a database with its replication slots", database=name, slots=list(map(str, slots)))
    return True


def _shut(session: Maintenance, name: str, owner: str) -> None:
    """Mark a database as a scratch one, and let only the session's role connect: nothing keeps superusers out."""
    what, target, own = "the rights on the database", sql.Identifier(name), session.connection.info.user
    session.execute("the comment on the database", "COMMENT ON DATABASE {} IS {}", target, sql.Literal(SCRATCH))
    session.execute(what, "REVOKE ALL ON DATABASE {} FROM PUBLIC", target)
    if owner != own:
        session.execute(what, "REVOKE ALL ON DATABASE {} FROM {}", target, sql.Identifier(owner))
        session.execute(what, "GRANT ALL ON DATABASE {} TO {}", target, sql.Identifier(own))


def _copy_settings(session: Maintenance, name: str, source_oid: int) -> None:
    """Copy the settings of a database, also those of single roles in it."""
    target = sql.Identifier(name)
    for role, setting in session.query(_CONFIG, source_oid):
        variable, _, value = setting.partition("=")
        owner_of_setting = sql.SQL("ROLE {} IN DATABASE {}" if role else "DATABASE {1}").format(
            sql.Identifier(role or ""), target
        )
        what = f"setting {variable} of database {name}" + (f" for role {role}" if role else "")
        session.execute(
            what, "ALTER {} SET {} TO {}", owner_of_setting, sql.Identifier(variable), _value(variable, value)
        )


def _copy_grants(session: Maintenance, name: str, source_oid: int, owner: str) -> None:
    """Copy the grants, the comment and the labels of a database."""
    target = sql.Identifier(name)
    if session.query(_HAS_GRANTS, source_oid)[0][0]:
        _grant(session, target, owner, session.query(_GRANTS, source_oid))
    if comment := session.query(_COMMENT, source_oid)[0][0]:
        session.execute("the comment on the database", "COMMENT ON DATABASE {} IS {}", target, sql.Literal(comment))
    for provider, label in session.query(_LABELS, source_oid):
        statement = "SECURITY LABEL FOR {} ON DATABASE {} IS {}"
        session.execute(
            "the security label of the database", statement, sql.Identifier(provider), target, sql.Literal(label)
        )


def _value(variable: str, value: str) -> sql.Composable:
    if variable.lower() not in _LISTS:
        return sql.Literal(value)
    items = [quoted.replace('""', '"') or plain for quoted, plain in _LIST_ITEM.findall(value)]
    return sql.SQL(", ").join(map(sql.Literal, items or [""]))


def _grant(session: Maintenance, target: sql.Identifier, owner: str, grants: Sequence[Grant]) -> None:
    """Grant exactly these privileges, each by its original grantor."""
    what = "the grants on the database"
    session.execute(what, "REVOKE ALL ON DATABASE {} FROM PUBLIC, {}", target, sql.Identifier(owner))
    grantable = {(owner, privilege) for _, _, privilege, _ in grants}
    remaining = list(grants)
    # A grantor needs the privilege WITH GRANT OPTION first.
    while ready := [grant for grant in remaining if (grant[0], grant[2]) in grantable]:
        for grant in ready:
            _grant_one(session, target, owner, grant)
            grantable |= {(str(grant[1]), grant[2])} if grant[3] else set()
            remaining.remove(grant)


def _grant_one(session: Maintenance, target: sql.Identifier, owner: str, grant: Grant) -> None:
    grantor, grantee, privilege, with_grant_option = grant
    what = f"privilege {privilege}, granted by {grantor}"
    parts: list[Any] = [sql.SQL(privilege), target, sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC")]
    if grantor != owner:
        session.execute(what, "SET LOCAL ROLE {}", sql.Identifier(grantor))
    session.execute(
        what, "GRANT {} ON DATABASE {} TO {} {}", *parts, sql.SQL("WITH GRANT OPTION" if with_grant_option else "")
    )
    if grantor != owner:
        session.execute(what, "SET LOCAL ROLE NONE")
