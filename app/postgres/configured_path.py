"""The search_path that is configured for a database and a role; sessions of this service have an empty one.

Whoever may create objects in a schema of that path can create an operator or function that fits the names in our
queries better than the server's own. Our session, often a superuser's, would run it. So every session starts with an
empty path (`app.postgres.database`), under which names are the server's own. Names that belong to the database's users
are resolved, and their expressions evaluated, under the configured path.

Source: CVE-2018-1058.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

CONFIGURED_PATH = "SELECT reset_val FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'search_path'"
TAKEN_PATH = f"SELECT pg_catalog.set_config('search_path', ({CONFIGURED_PATH}), true)"

# Whether no untrusted role has created, or may create, objects in the schemas of the path:
# - path: these schemas, without pg_catalog.
# - strange: the untrusted roles: all that are no superusers. A session without superuser rights trusts the database's
#   owner and the roles whose rights it has.
# - made: owner and schema of each object.
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
    """Whether only trusted roles have created, or may create, what the path finds.

    Superusers are trusted; if the session is no `superuser`, so are the database's owner and the session's own roles.
    """
    with under_configured_path(connection):
        row = connection.execute(_TRUSTED.format(superuser=superuser).encode()).fetchone()
    return bool(row and row[0])


@contextmanager
def under_configured_path(connection: psycopg.Connection) -> Iterator[None]:
    """A block of queries whose names are all schema-qualified. The block is rolled back."""
    with connection.transaction(force_rollback=True):
        connection.execute(TAKEN_PATH.encode())
        yield
