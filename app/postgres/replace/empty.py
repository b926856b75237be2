"""Drops all objects of users in a database, so that it is like a new one with its extensions.

The objects are found in the catalogs, and dropped by the names that the server gives them. Objects of extensions stay,
and so do their schemas; rows that users put into an extension's tables are deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import LiteralString

from psycopg import sql

from app.domain.psql import in_psql
from app.domain.replication import freeing
from app.errors import RestoreError, RestorePermissionError, RestoreValidationError
from app.postgres.maintenance import Maintenance
from app.postgres.quoting import literal, quoted
from app.postgres.session import sqlstate_of

_MEMBER = "EXISTS (SELECT FROM pg_depend e WHERE e.classid = {} AND e.objid = {} AND e.deptype = 'e')"
# A part of another object is dropped with it: a range's multirange, an identity column's sequence.
_OURS = "NOT " + _MEMBER.replace("e.deptype = 'e'", "(e.deptype = 'e' OR e.deptype = 'i' AND e.refobjid <> e.objid)")
_NOT_SYSTEM = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
_NEW = 16384  # FirstNormalObjectId: initdb assigns lower oids
# Schemas that stay: an extension is in it, or will be moved to it; DROP SCHEMA would drop the extension.
_KEPT = f"""
    SELECT oid FROM pg_namespace n WHERE {_NOT_SYSTEM} AND (nspname = 'public'
        OR oid IN (SELECT extnamespace FROM pg_extension) OR {_MEMBER.format("'pg_namespace'::regclass", "n.oid")}
        OR EXISTS (SELECT FROM pg_depend e JOIN pg_depend i ON (i.classid, i.objid) = (e.classid, e.objid)
                   WHERE e.deptype = 'e' AND i.refclassid = 'pg_namespace'::regclass AND i.refobjid = n.oid))"""
_SCHEMAS = f"SELECT nspname FROM pg_namespace n WHERE {_NOT_SYSTEM} AND oid NOT IN ({_KEPT}) ORDER BY 1"
_KEPT_NAMES = f"SELECT nspname FROM pg_namespace WHERE oid IN ({_KEPT})"


# No array types, and no row types of tables.
_TYPES: LiteralString = """o.typtype IN ('b', 'd', 'e', 'r', 'c') AND o.typelem = 0
            AND NOT EXISTS (SELECT FROM pg_class r WHERE r.oid = o.typrelid AND r.relkind <> 'c')"""


def _identified(catalog: LiteralString, namespace: LiteralString | None, more: LiteralString = "true") -> str:
    """A query for the type and identity of the users' objects in one catalog."""
    inside = f"o.{namespace} IN ({_KEPT})" if namespace else f"o.oid >= {_NEW}"
    return f"""
        SELECT i.type, i.identity FROM {catalog} o, pg_identify_object('{catalog}'::regclass, o.oid, 0) i
        WHERE {inside} AND {more} AND {_OURS.format(f"'{catalog}'::regclass", "o.oid")} ORDER BY o.oid DESC"""


_OBJECTS = (
    _identified("pg_publication", None),
    _identified("pg_foreign_data_wrapper", None),
    _identified("pg_foreign_server", None),
    _identified("pg_transform", None),
    _identified("pg_cast", None),
    _identified("pg_class", "relnamespace", "o.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"),
    _identified("pg_operator", "oprnamespace"),
    _identified("pg_opclass", "opcnamespace"),
    _identified("pg_opfamily", "opfnamespace"),
    _identified("pg_proc", "pronamespace"),
    _identified("pg_type", "typnamespace", _TYPES),
    _identified("pg_collation", "collnamespace"),
    _identified("pg_conversion", "connamespace"),
    _identified("pg_statistic_ext", "stxnamespace"),
    _identified("pg_ts_config", "cfgnamespace"),
    _identified("pg_ts_dict", "dictnamespace"),
    _identified("pg_ts_parser", "prsnamespace"),
    _identified("pg_ts_template", "tmplnamespace"),
    _identified("pg_language", None),
    _identified("pg_am", None),
)
_EVENT_TRIGGERS = _identified("pg_event_trigger", None)
_GRANTEE = "CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END"
_RULES = f"""
    SELECT format('ALTER DEFAULT PRIVILEGES FOR ROLE %I %s', pg_get_userbyid(defaclrole),
                  'IN SCHEMA ' || quote_ident(nspname)),
           CASE defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
               WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END,
           quote_ident(pg_get_userbyid(defaclrole)), nspname IS NULL,
           ARRAY(SELECT DISTINCT {_GRANTEE} FROM aclexplode(defaclacl))
    FROM pg_default_acl LEFT JOIN pg_namespace n ON n.oid = defaclnamespace"""
# The name of an object type in DROP, if pg_identify_object uses another one. ROUTINE accepts any signature.
_DROPPED_AS = {
    "aggregate": "ROUTINE",
    "foreign-data wrapper": "FOREIGN DATA WRAPPER",
    "function": "ROUTINE",
    "procedure": "ROUTINE",
    "statistics object": "STATISTICS",
}
_FOR_ALL = {"FUNCTIONS": "EXECUTE", "TYPES": "USAGE"}  # privileges of PUBLIC by default
# No dump creates schema public. Whoever owns it, pg_dump assumes the grants that it has in a new database
# (getNamespaces in pg_dump.c), and writes the differences only.
_PUBLIC = "public"
_PUBLIC_OWNER = """
    SELECT pg_get_userbyid(nspowner), pg_get_userbyid(%s::oid)
    FROM pg_namespace WHERE nspname = 'public' AND pg_has_role(nspowner, 'USAGE')"""
_PUBLIC_SINCE = 150000  # from here on it belongs to pg_database_owner, and only that role may create objects in it
_DATABASE_OWNER, _BOOTSTRAP = 6171, 10  # oids of roles: pg_database_owner, and the one that initdb created
_SCHEMA_RIGHTS = f"""
    SELECT n.nspname, pg_get_userbyid(nspowner), ARRAY(SELECT DISTINCT {_GRANTEE} FROM aclexplode(nspacl)),
           ARRAY(SELECT format('GRANT %s ON SCHEMA %I TO %s', privilege_type, n.nspname, {_GRANTEE})
                 FROM aclexplode(coalesce(initprivs, acldefault('n', nspowner))))
    FROM pg_namespace n LEFT JOIN pg_init_privs p ON p.objoid = n.oid AND p.classoid = 'pg_namespace'::regclass
    WHERE n.oid IN ({_KEPT}) AND (nspacl IS NOT NULL OR nspname = '{_PUBLIC}') AND pg_has_role(nspowner, 'USAGE')"""
_CONFIG = """
    SELECT n.nspname, c.relname, coalesce(condition, '')
    FROM pg_extension, unnest(extconfig, extcondition) AS config (id, condition)
        JOIN pg_class c ON c.oid = id JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p')"""
_EXTENSIONS = "SELECT extname FROM pg_extension"
_SUBSCRIPTIONS = """
    SELECT subname FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = current_database()"""
_LARGE_OBJECTS = "SELECT count(lo_unlink(oid)) FROM pg_largeobject_metadata"
_REFERENCED = "23503"


def empty(session: Maintenance) -> set[str]:
    """Drop all objects of users, in the session's transaction.

    Returns:
        Names of the schemas that stay.

    Raises:
        RestorePermissionError: an object belongs to another role.
        RestoreBusyError: an object stayed locked.
        RestoreValidationError: an object cannot be dropped in a transaction, or not without an extension.
    """
    session.query("SELECT set_config('search_path', '', false)")
    if subscriptions := [name for (name,) in session.query(_SUBSCRIPTIONS)]:
        message = (
            f"the database has subscriptions, which cannot be dropped in a transaction: {', '.join(subscriptions)}"
        )
        by_hand = _in_psql(session, (statement for name in subscriptions for statement in freeing(name)))
        raise RestoreValidationError(message, f"drop them, and restore again: {by_hand}")
    extensions = set(session.query(_EXTENSIONS))
    kept = {name for (name,) in session.query(_KEPT_NAMES)}
    _drop(session, _EVENT_TRIGGERS)  # first: they would fire on what follows
    _empty_extensions(session)
    for (name,) in session.query(_SCHEMAS):
        session.execute(f"schema {name}", "DROP SCHEMA {} CASCADE", sql.Identifier(name))
    for query in _OBJECTS:
        _drop(session, query)
    session.query(_LARGE_OBJECTS)
    _reset_rights(session)
    if dropped := extensions - set(session.query(_EXTENSIONS)):
        names = sorted(name for (name,) in dropped)
        by_hand = _in_psql(session, (f"DROP EXTENSION {quoted(name)}" for name in names))
        message = f"extensions depend on objects of users: {', '.join(names)}"
        raise RestoreValidationError(message, f"drop them first: {by_hand}")
    return kept


def _in_psql(session: Maintenance, statements: Iterable[str]) -> str:
    """The command by which an administrator runs statements in the session's database."""
    ((database,),) = session.query("SELECT current_database()::text")
    return in_psql(database, *statements)


def _drop(session: Maintenance, query: str) -> None:
    """Drop the objects that a query finds."""
    for kind, identity in session.query(query):
        named = identity.replace(" on language ", " LANGUAGE ") if kind == "transform" else identity
        session.execute_text(
            f"{kind} {identity}", f"DROP {_DROPPED_AS.get(kind, kind.upper())} IF EXISTS {named} CASCADE"
        )


def _empty_extensions(session: Maintenance) -> None:
    """Delete the rows of extensions' tables that a dump would hold; referring rows first, whatever their order is."""
    pending = session.query(_CONFIG)
    while pending:
        later: list[tuple[str, str, str]] = []
        for schema, name, condition in pending:
            statement = f"DELETE FROM {quoted(schema, name)} {condition}"
            try:
                with session.transaction(f"rows of {schema}.{name}"):
                    session.execute_text(f"rows of {schema}.{name}", statement)
            except RestorePermissionError:
                continue  # if the role may not delete, it may not insert either: the load reports it if there are rows
            except RestoreError as error:
                if sqlstate_of(error) != _REFERENCED:
                    raise
                later.append((schema, name, condition))
        if len(later) == len(pending):
            schema, name, _ = later[0]
            message = f"other rows, which stay, refer to rows of {schema}.{name}, a table of an extension"
            table = literal(quoted(schema, name))
            keys = f"SELECT conrelid::regclass, conname FROM pg_constraint WHERE confrelid = {table}::regclass"
            raise RestoreValidationError(
                message, f"delete them first; to see by which keys: {_in_psql(session, [keys])}"
            )
        pending = later


def _reset_rights(session: Maintenance) -> None:
    """Reset default privileges, and the grants on the schemas that stay, to those of a new database."""
    for prefix, kind, owner, everywhere, grantees in session.query(_RULES):
        clause = str(prefix).rstrip()
        session.execute_text("default privileges", f"{clause} REVOKE ALL ON {kind} FROM {_list(grantees)}")
        if everywhere:
            session.execute_text("default privileges", f"{clause} GRANT ALL ON {kind} TO {owner}")
            if right := _FOR_ALL.get(kind):
                session.execute_text("default privileges", f"{clause} GRANT {right} ON {kind} TO PUBLIC")
    public = _rights_on_public(session)
    for name, owner, grantees, grants in session.query(_SCHEMA_RIGHTS):
        what = f"the grants on schema {name}"
        # A role with its own grant option would revoke only what it granted itself, not the owner's grants.
        with suppress(RestorePermissionError), session.transaction(what):
            session.execute(what, "SET LOCAL ROLE {}", sql.Identifier(owner))
        session.execute_text(what, f"REVOKE ALL ON SCHEMA {quoted(name)} FROM {_list(grantees)} CASCADE")
        for grant in public if name == _PUBLIC else grants:
            session.execute_text(what, grant)
        session.execute(what, "SET LOCAL ROLE NONE")


def _rights_on_public(session: Maintenance) -> list[str]:
    """Give schema public to its owner in a new database; returns the grants that it has then."""
    restricted = session.connection.info.server_version >= _PUBLIC_SINCE
    rows = session.query(_PUBLIC_OWNER, _DATABASE_OWNER if restricted else _BOOTSTRAP)
    if not rows:
        return []
    owner, default_owner = rows[0]
    if owner != default_owner:
        with suppress(RestorePermissionError), session.transaction("the owner of schema public"):
            statement = "ALTER SCHEMA public OWNER TO {}"
            session.execute("the owner of schema public", statement, sql.Identifier(default_owner))
            owner = default_owner
    public_right = "USAGE" if restricted else "ALL"
    return [
        f"GRANT ALL ON SCHEMA {_PUBLIC} TO {quoted(owner)}",
        f"GRANT {public_right} ON SCHEMA {_PUBLIC} TO PUBLIC",
    ]


def _list(grantees: Iterable[str]) -> str:
    return ", ".join(grantees) or "PUBLIC"
