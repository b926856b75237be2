"""The search_path that a database and a role have, which a session of ours does not.

Anybody who may create things in a schema of that path can make an operator or a function that fits the words of a
question better than the server's own does, and would so be run by whoever asks: often by a superuser. So every session
begins with an empty path (`app.postgres.database`), under which names are the server's own; what belongs to the
database's users is looked for, and evaluated, under theirs.

Source: CVE-2018-1058.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

CONFIGURED_PATH = "SELECT reset_val FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'search_path'"
_TAKEN = f"SELECT pg_catalog.set_config('search_path', ({CONFIGURED_PATH}), true)"

# Whether nobody strange has made, or may make, anything in the schemas of the path:
# - path: these schemas, without the server's own.
# - strange: the roles that are no superusers; for a session of no superuser without the database's owner, and without
#   the roles whose rights it has itself: it trusts those anyway.
# - made: who owns what in which schema.
_TRUSTED = """
    WITH path AS (SELECT oid, nspowner, nspacl FROM pg_catalog.pg_namespace
                  WHERE nspname OPERATOR(pg_catalog.=) ANY (pg_catalog.current_schemas(false))
                      AND nspname OPERATOR(pg_catalog.<>) 'pg_catalog'),
    strange AS (SELECT r.oid FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
                WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
                    AND NOT r.rolsuper AND r.rolname OPERATOR(pg_catalog.!~) '^pg_'
                    AND ({superuser} OR NOT (pg_catalog.pg_has_role(r.oid, 'USAGE')
                                             OR r.oid OPERATOR(pg_catalog.=) d.datdba))),
    made (owner, schema) AS (
        SELECT proowner, pronamespace FROM pg_catalog.pg_proc
        UNION ALL SELECT oprowner, oprnamespace FROM pg_catalog.pg_operator
        UNION ALL SELECT typowner, typnamespace FROM pg_catalog.pg_type
        UNION ALL SELECT relowner, relnamespace FROM pg_catalog.pg_class)
    SELECT NOT EXISTS (SELECT FROM made, path, strange
                       WHERE made.schema OPERATOR(pg_catalog.=) path.oid
                           AND made.owner OPERATOR(pg_catalog.=) strange.oid)
        AND NOT EXISTS (
            SELECT FROM path, strange
            WHERE pg_catalog.pg_has_role(strange.oid, nspowner, 'MEMBER')
                OR EXISTS (SELECT FROM pg_catalog.aclexplode(nspacl) a
                           WHERE privilege_type OPERATOR(pg_catalog.=) 'CREATE'
                               AND (grantee OPERATOR(pg_catalog.=) 0::pg_catalog.oid
                                    OR pg_catalog.pg_has_role(strange.oid, grantee, 'MEMBER'))))"""


def path_is_trusted(connection: psycopg.Connection, *, superuser: bool) -> bool:
    """Whether nobody but superusers has made, or may make, what is found by the path.

    Others may, whom the session's role trusts anyway, if it is no `superuser`.
    """
    with under_configured_path(connection):
        row = connection.execute(_TRUSTED.format(superuser=superuser).encode()).fetchone()
    return bool(row and row[0])


@contextmanager
def under_configured_path(connection: psycopg.Connection) -> Iterator[None]:
    """A block of questions, each of whose names says its schema; all else that it does is undone."""
    with connection.transaction(force_rollback=True):
        connection.execute(_TAKEN.encode())
        yield
