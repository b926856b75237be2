"""Empties a database of all that is its users': what is left is what a new one has, and the extensions.

Everything is found in the catalogs and dropped by the name that the server itself gives it. What belongs to an
extension stays, and the schema that it stands in; rows that users put into an extension's tables go.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import LiteralString

from psycopg import sql

from app.errors import RestoreError, RestorePermissionError, RestoreValidationError
from app.postgres.maintenance import Maintenance
from app.postgres.quoting import quoted
from app.postgres.session import sqlstate_of

_MEMBER = "EXISTS (SELECT FROM pg_depend e WHERE e.classid = {} AND e.objid = {} AND e.deptype = 'e')"
# What is a part of something else goes with that: a range's multirange, an identity column's sequence.
_OURS = "NOT " + _MEMBER.replace("e.deptype = 'e'", "(e.deptype = 'e' OR e.deptype = 'i' AND e.refobjid <> e.objid)")
_NOT_SYSTEM = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
_NEW = 16384  # the first oid that initdb did not give away
# Schemas that an extension is in, or is to be moved to; DROP SCHEMA would take it along.
_KEPT = f"""
    SELECT oid FROM pg_namespace n WHERE {_NOT_SYSTEM} AND (nspname = 'public'
        OR oid IN (SELECT extnamespace FROM pg_extension) OR {_MEMBER.format("'pg_namespace'::regclass", "n.oid")}
        OR EXISTS (SELECT FROM pg_depend e JOIN pg_depend i ON (i.classid, i.objid) = (e.classid, e.objid)
                   WHERE e.deptype = 'e' AND i.refclassid = 'pg_namespace'::regclass AND i.refobjid = n.oid))"""
_SCHEMAS = f"SELECT nspname FROM pg_namespace n WHERE {_NOT_SYSTEM} AND oid NOT IN ({_KEPT}) ORDER BY 1"
_KEPT_NAMES = f"SELECT nspname FROM pg_namespace WHERE oid IN ({_KEPT})"


# Not an array's type, and not that of a table's rows.
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
# What DROP calls a type of object, where that is not what the server calls it; ROUTINE takes any signature.
_DROPPED_AS = {
    "aggregate": "ROUTINE",
    "foreign-data wrapper": "FOREIGN DATA WRAPPER",
    "function": "ROUTINE",
    "procedure": "ROUTINE",
    "statistics object": "STATISTICS",
}
_FOR_ALL = {"FUNCTIONS": "EXECUTE", "TYPES": "USAGE"}  # what everybody has where nothing else is said
# Schema public is the one that no dump creates. Whoever owns it, pg_dump takes it for one with the rights that a new
# database gives (getNamespaces in pg_dump.c); a dump only says what is otherwise.
_PUBLIC = "public"
_PUBLIC_OWNER = """
    SELECT pg_get_userbyid(nspowner), pg_get_userbyid(%s::oid)
    FROM pg_namespace WHERE nspname = 'public' AND pg_has_role(nspowner, 'USAGE')"""
_PUBLIC_SINCE = 150000  # from here on it belongs to the owner of the database, who alone may create in it
_DATABASE_OWNER, _BOOTSTRAP = 6171, 10  # roles: pg_database_owner, and who made the cluster
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
    """Drop all that is the users', within the session's transaction.

    Returns:
        Names of the schemas that stay.

    Raises:
        RestorePermissionError: something belongs to somebody else.
        RestoreBusyError: something stayed locked.
        RestoreValidationError: there is something that cannot be dropped in a transaction, or not without an extension.
    """
    session.query("SELECT set_config('search_path', '', false)")
    if subscriptions := [name for (name,) in session.query(_SUBSCRIPTIONS)]:
        message = f"the database has subscriptions, which no transaction can drop: {', '.join(subscriptions)}"
        raise RestoreValidationError(message, "DROP SUBSCRIPTION by hand, and restore again")
    extensions = set(session.query(_EXTENSIONS))
    kept = {name for (name,) in session.query(_KEPT_NAMES)}
    _drop(session, _EVENT_TRIGGERS)  # before all else, on which they would fire
    _empty_extensions(session)
    for (name,) in session.query(_SCHEMAS):
        session.execute(f"schema {name}", "DROP SCHEMA {} CASCADE", sql.Identifier(name))
    for query in _OBJECTS:
        _drop(session, query)
    session.query(_LARGE_OBJECTS)
    _reset_rights(session)
    if gone := extensions - set(session.query(_EXTENSIONS)):
        names = ", ".join(sorted(name for (name,) in gone))
        raise RestoreValidationError(f"extensions depend on what users made: {names}", "drop them by hand first")
    return kept


def _drop(session: Maintenance, query: str) -> None:
    """Drop the objects that a query finds."""
    for kind, identity in session.query(query):
        named = identity.replace(" on language ", " LANGUAGE ") if kind == "transform" else identity
        session.execute_text(
            f"{kind} {identity}", f"DROP {_DROPPED_AS.get(kind, kind.upper())} IF EXISTS {named} CASCADE"
        )


def _empty_extensions(session: Maintenance) -> None:
    """Delete the rows that a dump would carry; those that refer to others first, whatever their order is."""
    left = session.query(_CONFIG)
    while left:
        later: list[tuple[str, str, str]] = []
        for schema, name, condition in left:
            statement = f"DELETE FROM {quoted(schema, name)} {condition}"
            try:
                with session.transaction(f"rows of {schema}.{name}"):
                    session.execute_text(f"rows of {schema}.{name}", statement)
            except RestorePermissionError:
                continue  # whoever may not empty it cannot fill it either: the load says so where there are rows
            except RestoreError as error:
                if sqlstate_of(error) != _REFERENCED:
                    raise
                later.append((schema, name, condition))
        if len(later) == len(left):
            message = (
                f"rows of {later[0][0]}.{later[0][1]}, a table of an extension, are referred to by others that stay"
            )
            raise RestoreValidationError(message, "delete them by hand")
        left = later


def _reset_rights(session: Maintenance) -> None:
    """Default privileges, and the rights on the schemas that stay, as in a new database."""
    for whose, kind, owner, everywhere, grantees in session.query(_RULES):
        clause = str(whose).rstrip()
        session.execute_text("default privileges", f"{clause} REVOKE ALL ON {kind} FROM {_list(grantees)}")
        if everywhere:
            session.execute_text("default privileges", f"{clause} GRANT ALL ON {kind} TO {owner}")
            if right := _FOR_ALL.get(kind):
                session.execute_text("default privileges", f"{clause} GRANT {right} ON {kind} TO PUBLIC")
    public = _rights_on_public(session)
    for name, owner, grantees, grants in session.query(_SCHEMA_RIGHTS):
        what = f"the rights on schema {name}"
        # Who may grant by a right of his own would take back what he granted, and not what the owner did.
        with suppress(RestorePermissionError), session.transaction(what):
            session.execute(what, "SET LOCAL ROLE {}", sql.Identifier(owner))
        session.execute_text(what, f"REVOKE ALL ON SCHEMA {quoted(name)} FROM {_list(grantees)} CASCADE")
        for grant in public if name == _PUBLIC else grants:
            session.execute_text(what, grant)
        session.execute(what, "SET LOCAL ROLE NONE")


def _rights_on_public(session: Maintenance) -> list[str]:
    """Give schema public back to whom it belongs in a new database; returns the rights that there are then."""
    restricted = session.connection.info.server_version >= _PUBLIC_SINCE
    found = session.query(_PUBLIC_OWNER, _DATABASE_OWNER if restricted else _BOOTSTRAP)
    if not found:
        return []
    owner, first = found[0]
    if owner != first:
        with suppress(RestorePermissionError), session.transaction("the owner of schema public"):
            statement = "ALTER SCHEMA public OWNER TO {}"
            session.execute("the owner of schema public", statement, sql.Identifier(first))
            owner = first
    everybody = "USAGE" if restricted else "ALL"
    return [
        f"GRANT ALL ON SCHEMA {_PUBLIC} TO {quoted(owner)}",
        f"GRANT {everybody} ON SCHEMA {_PUBLIC} TO PUBLIC",
    ]


def _list(grantees: Iterable[str]) -> str:
    return ", ".join(grantees) or "PUBLIC"
