"""What a database's users have made is never run with the rights of a superuser who backs it up or restores it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from app.embedded.postgres import EmbeddedPostgres
from tests.fix_postgres import TestDatabase, scratch_database
from tests.fix_service import Site, make_site

LAST = "\n--\n-- PostgreSQL database dump complete\n--\n\n"
# Each operator fits the questions that are asked of a catalog better than the server's own, where the path leads to it.
SPRUNG = """
    CREATE FUNCTION {schema}.spring() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
        IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) current_user) THEN
            ALTER ROLE {role} SUPERUSER;
        END IF;
    EXCEPTION WHEN read_only_sql_transaction THEN RAISE EXCEPTION 'sprung'; END $$;
    CREATE FUNCTION {schema}.unlike(name, name) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN PERFORM {schema}.spring(); RETURN NOT $1::text OPERATOR(pg_catalog.~) $2::text; END $$;
    CREATE OPERATOR {schema}.!~ (FUNCTION = {schema}.unlike, LEFTARG = name, RIGHTARG = name);
    CREATE FUNCTION {schema}.same(oid, regclass) RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN PERFORM {schema}.spring(); RETURN $1 OPERATOR(pg_catalog.=) $2::oid; END $$;
    CREATE OPERATOR {schema}.= (FUNCTION = {schema}.same, LEFTARG = oid, RIGHTARG = regclass);
    CREATE TYPE {schema}.v AS (v text);
    CREATE FUNCTION {schema}.text_of({schema}.v) RETURNS text LANGUAGE plpgsql AS $$
        BEGIN PERFORM {schema}.spring(); RETURN 'x'; END $$;
    CREATE CAST ({schema}.v AS text) WITH FUNCTION {schema}.text_of({schema}.v);
    CREATE TABLE {schema}.alembic_version (version_num {schema}.v);
"""
ROWS = "COPY public.alembic_version (version_num) FROM stdin;\n(1)\n\\.\n"


@pytest.fixture
def role(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """One that may log in, with its name as its password."""
    name = f"trapper_{secrets.token_hex(3)}"
    server = TestDatabase("postgres", postgres_server.url())
    server.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    yield name
    server.execute(f"DROP ROLE {name}")


@pytest.fixture
def live(postgres_server: EmbeddedPostgres, role: str) -> Iterator[TestDatabase]:
    """A database that belongs to that role."""
    with scratch_database(postgres_server) as database:
        database.execute(f"ALTER DATABASE {database.name} OWNER TO {role}")
        yield database


@pytest.fixture
def site(live: TestDatabase, tmp_path: Path) -> Site:
    return make_site(live, tmp_path / "backups", filled=False)


def as_owner(live: TestDatabase, role: str, *statements: str) -> None:
    with psycopg.connect(live.url, user=role, password=role, autocommit=True) as connection:
        for each in statements:
            connection.execute(each.encode())


def is_superuser(live: TestDatabase, role: str) -> bool:
    return bool(live.query("SELECT rolsuper FROM pg_roles WHERE rolname = %s", role)[0][0])


@pytest.mark.parametrize("path", [None, "trap, pg_catalog"])
def test_no_verb_calls_what_the_owner_of_the_database_has_made(
    site: Site, live: TestDatabase, role: str, path: str | None
) -> None:
    schema = "trap" if path else "public"
    as_owner(live, role, "CREATE SCHEMA trap", SPRUNG.format(schema=schema, role=role))
    as_owner(live, role, f"INSERT INTO {schema}.alembic_version VALUES ('(1)')", "CREATE TABLE rows (x int)")
    if path:
        backend = "CREATE FUNCTION trap.pg_backend_pid() RETURNS int LANGUAGE sql AS $$"
        as_owner(live, role, f"{backend} SELECT trap.spring(); SELECT pg_catalog.pg_backend_pid() $$")
        as_owner(live, role, f"ALTER DATABASE {live.name} SET search_path = {path}")
    assert site.cli("create", "manual").code == 0
    for verb in (["check"], ["diff", "latest"], ["restore", "latest", "--mode", "replace", "--dry-run"]):
        done = site.cli(*verb)
        assert done.code in {0, 3}, done.stderr
    assert not is_superuser(live, role)


def test_an_expression_that_knows_our_quotes_stays_an_expression(site: Site, live: TestDatabase, role: str) -> None:
    way_out = f"$residency_backup$; ALTER ROLE {role} SUPERUSER; COMMIT; BEGIN; SELECT $residency_backup$"
    as_owner(
        live,
        role,
        f"ALTER DATABASE {live.name} SET check_function_bodies = off",
        "CREATE FUNCTION public.f(int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1::text; END $$",
        f"CREATE TABLE t (x int CHECK (public.f(x) <> '{way_out}'))",
        "INSERT INTO t VALUES (1)",
    )
    assert site.cli("create", "manual").code == 0
    assert not is_superuser(live, role)


def test_what_a_strangers_file_made_is_not_called_by_who_proves_it(
    site: Site, live: TestDatabase, role: str, tmp_path: Path
) -> None:
    file, name = tmp_path / "file.sql", f"staging_{role}"
    file.write_text(SPRUNG.format(schema="public", role=role) + ROWS + LAST)
    command = ["restore", str(file), "--mode", "replace", "--into", name, "--confirm", name, "--as", role]
    try:
        done = site.cli(*command, RESTORE_FOREIGN_PASSWORD=role)
        assert done.code in {0, 3}, done.stderr
        assert not is_superuser(live, role)
    finally:
        live_server = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
        live.execute(live_server.as_string(None))


def test_a_superusers_function_is_not_tried_where_others_may_put_what_it_calls(
    site: Site, live: TestDatabase, role: str
) -> None:
    slot = f"sprung_{role}"
    live.execute(
        f"CREATE SCHEMA trap; GRANT ALL ON SCHEMA trap TO {role}; ALTER DATABASE {live.name} SET search_path = trap;"
        "CREATE FUNCTION public.f(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN helper($1); END $$;"
        "CREATE TABLE public.t (x int); INSERT INTO public.t VALUES (1)"
    )
    as_owner(live, role, "CREATE FUNCTION trap.helper(int) RETURNS boolean LANGUAGE sql AS 'SELECT true'")
    live.execute("ALTER TABLE public.t ADD CHECK (public.f(x))")
    as_owner(
        live,
        role,
        "CREATE OR REPLACE FUNCTION trap.helper(int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN"
        " IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) AND NOT EXISTS"
        f" (SELECT FROM pg_replication_slots WHERE slot_name = '{slot}')"
        f" THEN PERFORM pg_create_physical_replication_slot('{slot}'); END IF; RETURN true; END $$",
    )
    try:
        done = site.cli("create", "manual")
        assert done.code == 3, done.stderr
        assert "function helper(integer) does not exist" in done.stderr
        assert not live.query("SELECT FROM pg_replication_slots WHERE slot_name = %s", slot)
    finally:
        live.execute(f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}'")
