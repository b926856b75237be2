"""No statement of a file changes what is outside of the database that it is loaded into, also if the load fails."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator

import pytest

from app.archive.reader import Archive, build_index
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreError
from app.postgres.database import Database
from app.postgres.load.loader import load
from tests.fix_postgres import TestDatabase, scratch_database

LAST = b"\n--\n-- PostgreSQL database dump complete\n--\n\n"
ROLES = "mallory victim"
VIEW = "CREATE VIEW v AS SELECT {columns} FROM {catalog};\n"
USERS = (
    "oid, rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls,"
    " rolconnlimit"
)
FOREIGN = """
CREATE EXTENSION postgres_fdw;
CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{host}', port '{port}', dbname '{live}');
CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (user 'postgres', password_required 'false');
CREATE FOREIGN TABLE {name} (x int) SERVER s OPTIONS (schema_name 'public', table_name 'people');
"""
# Each is the whole of a foreign dump, but for its end. {c} is where a comment may stand.
STATEMENTS = [
    "REVOKE ALL ON{c}DATABASE {live} FROM PUBLIC;",
    "GRANT CREATE ON{c}DATABASE {live} TO mallory;",
    "GRANT ALL ON{c}TABLESPACE pg_default TO mallory;",
    "GRANT{c}SET ON{c}PARAMETER work_mem TO mallory;",
    "GRANT ALTER SYSTEM ON{c}PARAMETER work_mem TO mallory;",
    "GRANT{c}victim TO mallory;",
    "GRANT victim TO mallory WITH ADMIN OPTION;",
    "DROP{c}OWNED BY victim;",
    "COMMENT ON{c}DATABASE {live} IS 'mine';",
    "COMMENT ON{c}ROLE victim IS 'mine';",
    "COMMENT{c}ON TABLESPACE pg_default IS 'mine';",
    "SECURITY LABEL FOR x ON{c}ROLE victim IS 'mine';",
    "ALTER{c}ROLE victim SUPERUSER;",
    "ALTER ROLE victim IN DATABASE {live} SET work_mem = '1MB';",
    "ALTER{c}DATABASE {live} SET work_mem = '1MB';",
    "ALTER{c}SYSTEM SET work_mem = '1MB';",
    "CREATE{c}ROLE evil SUPERUSER LOGIN;",
    "CREATE{c}USER mapping SUPERUSER;",
    "CREATE{c}DATABASE evil;",
    "DROP{c}DATABASE {other};",
    "DROP{c}ROLE victim;",
    "CREATE SCHEMA evil GRANT ALL ON DATABASE {live} TO mallory;",
    "CREATE SCHEMA evil AUTHORIZATION postgres GRANT CREATE ON DATABASE {live} TO mallory;",
    VIEW.format(columns=USERS, catalog="pg_authid") + "INSERT{c}INTO v VALUES (4711, 'evil', true, true, true, true,"
    " true, true, true, -1);",
    (
        VIEW.format(columns=USERS, catalog="pg_authid") + "CREATE SCHEMA names;\n"
        "CREATE FUNCTION names.to_regclass(text) RETURNS regclass LANGUAGE sql AS $$SELECT 'public.t'::regclass$$;\n"
        "SET search_path = names, pg_catalog;\n"
        "INSERT INTO public.v VALUES (4711, 'evil', true, true, true, true, true, true, true, -1);"
    ),
    VIEW.format(columns="*", catalog="pg_database") + "INSERT INTO v SELECT * FROM pg_database;",
    VIEW.format(columns="*", catalog="pg_db_role_setting") + "INSERT INTO public.v VALUES (0, 0, '{{work_mem=1MB}}');",
    (
        "CREATE RULE r AS ON INSERT TO t DO INSTEAD INSERT INTO pg_db_role_setting VALUES (0, 0, '{{work_mem=1MB}}');\n"
        "INSERT INTO t VALUES (1);"
    ),
    "ALTER SCHEMA pg_catalog RENAME TO c;\nINSERT INTO c.pg_db_role_setting VALUES (0, 0, '{{work_mem=1MB}}');",
    (
        'ALTER{c}SCHEMA "pg_catalog" RENAME TO c;\n'
        "COPY c.pg_db_role_setting (setdatabase, setrole, setconfig) FROM stdin;\n0\t0\t{{{{work_mem=1MB}}}}\n\\.\n"
    ),
    "INSERT INTO t VALUES (1) RETURNING set_config('x.y', {slot}('evil')::text, false);",
    "INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET x = (SELECT 1 FROM {slot}('evil'));",
    "INSERT INTO t SELECT 1 FROM {slot}('evil');",
    "INSERT INTO t VALUES ((SELECT 1 FROM {slot}('evil')));",
    "WITH a AS (SELECT {slot}('evil')) INSERT INTO t SELECT 1 FROM a;",
    "ALTER TABLE t ALTER COLUMN x{c}TYPE text USING {slot}('evil')::text;",
    "ALTER TABLE t ALTER COLUMN x SET DEFAULT 1, ADD COLUMN y text DEFAULT {slot}('evil')::text;",
    "ALTER TABLE t{c}ADD y text DEFAULT {slot}('evil')::text;",
    (
        "CREATE TABLE n (a text) PARTITION BY LIST (a);\n"
        "CREATE TABLE p PARTITION OF n FOR{c}VALUES IN ({slot}('evil')::text);"
    ),
    (
        "CREATE TABLE n (a text) PARTITION BY RANGE (a);\nCREATE TABLE p (a text);\n"
        "ALTER TABLE ONLY n ATTACH PARTITION p FOR VALUES FROM ('0') TO ({slot}('evil')::text);"
    ),
    "CREATE TABLE n{c}AS SELECT {slot}('evil');",
    "CREATE TABLE n (a) WITH (fillfactor = 70) AS SELECT {slot}('evil')::text;",
    "SELECT {slot}('evil') INTO n;",
    "SELECT setval('q', 1) INTO n FROM {slot}('evil');",
    "CREATE MATERIALIZED VIEW n AS SELECT {slot}('evil');",
    "CREATE SUBSCRIPTION s CONNECTION '{conninfo}' PUBLICATION p WITH (create_slot = true, slot_name = 'evil');",
    (
        "CREATE SUBSCRIPTION s CONNECTION '{conninfo}' PUBLICATION p WITH (connect = false, slot_name = 'kept');\n"
        "DROP SUBSCRIPTION s;"
    ),
    (
        "CREATE SUBSCRIPTION s CONNECTION '{conninfo}' PUBLICATION p WITH (connect = false, slot_name = 'kept');\n"
        "ALTER SUBSCRIPTION s ENABLE;"
    ),
    "SET client_encoding = 'SJIS';\nSELECT setval(E'\x95\\', 1) FROM {slot}($$evil$$) --');",
    ("SET standard_conforming_strings = off;\nSELECT pg_catalog.setval('q', '\\' , 1 FROM {slot}(''evil'') , \\'1');"),
    "CREATE TABLE n (x text DEFAULT E'a'\n'\\'') AS SELECT {slot}('evil'); --');",
    FOREIGN.replace("{name}", "f") + "INSERT INTO f VALUES (666);",
    FOREIGN.replace("{name}", "f") + "COPY public.f (x) FROM stdin;\n666\n\\.\n",
    "CREATE TABLE g (x int) PARTITION BY LIST (x);\n"
    + FOREIGN.replace("{name}", "f")
    + "ALTER TABLE ONLY g ATTACH PARTITION f DEFAULT;\nCOPY public.g (x) FROM stdin;\n666\n\\.\n",
]
STATE = """
    SELECT 'role', to_jsonb(a)::text FROM pg_authid a
    UNION ALL SELECT 'member', to_jsonb(a)::text FROM pg_auth_members a
    UNION ALL SELECT 'database', (to_jsonb(a) - 'datfrozenxid' - 'datminmxid')::text FROM pg_database a
        WHERE datname NOT LIKE 'test%%' OR datname = ANY (%s)
    UNION ALL SELECT 'tablespace', to_jsonb(a)::text FROM pg_tablespace a
    UNION ALL SELECT 'comment', to_jsonb(a)::text FROM pg_shdescription a
    UNION ALL SELECT 'label', to_jsonb(a)::text FROM pg_shseclabel a
    UNION ALL SELECT 'setting', to_jsonb(a)::text FROM pg_db_role_setting a
    UNION ALL SELECT 'parameter', to_jsonb(a)::text FROM pg_parameter_acl a
    UNION ALL SELECT 'file', setting || sourcefile FROM pg_file_settings
    UNION ALL SELECT 'slot', slot_name::text || coalesce(plugin, '') FROM pg_replication_slots
    ORDER BY 1, 2"""


def text(statement: str, live: TestDatabase, other: TestDatabase) -> bytes:
    with live.connect() as connection:
        info = connection.info
        places = {
            "slot": "pg_create_physical_replication_slot",
            "live": live.name,
            "other": other.name,
            "host": info.host,
            "port": info.port,
        }
        conninfo = f"host={info.host} port={info.port} dbname={live.name} user=postgres"
    made = "CREATE TABLE public.t (x int);\nCREATE SEQUENCE public.q;\n" + statement.format(
        conninfo=conninfo, c="/**/ -- \n", **places
    )
    return made.encode("latin-1") + b"\n" + LAST


def archive(data: bytes, codec: Codec = Codec.NONE) -> Archive:
    return Archive(lambda: io.BytesIO(data), codec, build_index(io.BytesIO(data), codec))


@pytest.fixture
def live(own_postgres_server: EmbeddedPostgres) -> Iterator[TestDatabase]:
    """A database with rows, beside which two roles and a replication slot stand."""
    with scratch_database(own_postgres_server) as database:
        for name in ROLES.split():
            database.execute(f"CREATE ROLE {name}")
        database.execute(
            "CREATE TABLE people (x int); INSERT INTO people VALUES (1); CREATE PUBLICATION p FOR TABLE people"
        )
        database.execute(f"GRANT CONNECT ON DATABASE {database.name} TO victim")
        database.execute("SELECT pg_create_physical_replication_slot('kept')")
        yield database


def forget_subscriptions(shadow: TestDatabase) -> None:
    for (name,) in shadow.query(
        "SELECT subname FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = current_database()"
    ):
        shadow.execute(f"ALTER SUBSCRIPTION {name} DISABLE")
        shadow.execute(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")
        shadow.execute(f"DROP SUBSCRIPTION {name}")


def state(*databases: TestDatabase) -> list[object]:
    shared = databases[0].query(STATE, [each.name for each in databases])
    return [*shared, *(row for each in databases for row in each.query("SELECT x FROM people"))]


OF_ONE_DATABASE = re.compile(r"(?:CREATE|ALTER|DROP)\{c\}DATABASE|(?:COMMENT|GRANT \w+|REVOKE \w+) ON\{c\}DATABASE")


def untouched(database: TestDatabase) -> bool:
    return not database.query("SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace")


def test_a_corpus_of_hostile_statements_changes_nothing_outside(
    own_postgres_server: EmbeddedPostgres, live: TestDatabase
) -> None:
    with scratch_database(own_postgres_server) as other, contextlib.ExitStack() as stack:
        other.execute("CREATE TABLE people (x int); INSERT INTO people VALUES (2)")
        before = state(live, other)
        passed = set()
        shadow = stack.enter_context(scratch_database(own_postgres_server))
        for statement in STATEMENTS:
            with contextlib.suppress(RestoreError):
                load(Database.from_url(shadow.url), archive(text(statement, live, other)), 2)
                passed.add(statement)
            forget_subscriptions(shadow)
            if not untouched(shadow):
                shadow = stack.enter_context(scratch_database(own_postgres_server))
        assert state(live, other) == before
        # What a dump of --clean or --create, or an older pg_dump, has is passed over; all else was refused.
        assert passed == {each for each in STATEMENTS if OF_ONE_DATABASE.match(each) or "\nDROP" in each}
