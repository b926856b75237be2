"""A stranger's file is loaded by one who may not: its functions run, and can do nothing to the server."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from app.embedded.postgres import EmbeddedPostgres, binaries
from app.postgres.programs import run
from tests.fix_postgres import TestDatabase, scratch_database
from tests.fix_service import Site, make_site

LAST = "\n--\n-- PostgreSQL database dump complete\n--\n\n"
# A trigger gives the session back, if it can, and then does what a superuser may.
DUMP = """
COMMENT ON DATABASE elsewhere IS 'mine';
COMMENT ON EXTENSION plpgsql IS 'x';
ALTER SCHEMA public OWNER TO postgres;
CREATE TABLE public.t (x int);
ALTER TABLE public.t OWNER TO postgres;
CREATE TABLE public.said (x text);
CREATE FUNCTION public.evil() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        RESET SESSION AUTHORIZATION;
        RESET ROLE;
        CREATE ROLE evil SUPERUSER;
        INSERT INTO public.said VALUES ('made a role');
    EXCEPTION WHEN OTHERS THEN INSERT INTO public.said VALUES (session_user || ': ' || SQLERRM);
    END;
    RETURN NEW;
END $$;
ALTER FUNCTION public.evil() OWNER TO postgres;
CREATE TRIGGER t BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.evil();
COPY public.t (x) FROM stdin;
1
\\.
ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT SELECT ON TABLES TO PUBLIC;
GRANT SELECT ON TABLE public.t TO PUBLIC;
GRANT ALL ON SCHEMA public TO PUBLIC;
"""


@pytest.fixture
def site(postgres_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Site]:
    with scratch_database(postgres_server) as live:
        live.execute("CREATE TABLE people (x int); INSERT INTO people VALUES (1)")
        yield make_site(live, tmp_path / "backups", filled=False)


@pytest.fixture
def stranger(postgres_server: EmbeddedPostgres) -> Iterator[tuple[str, str]]:
    """A role that may log in, and its password."""
    name, password = f"stranger_{secrets.token_hex(3)}", "s3cret word"
    server = TestDatabase("postgres", postgres_server.url())
    identifier = sql.Identifier(name).as_string(None)
    server.execute(f"CREATE ROLE {identifier} LOGIN PASSWORD '{password}'")
    yield name, password
    server.execute(f"DROP ROLE IF EXISTS evil; DROP ROLE {identifier}")


def findings(done: str) -> dict[str, tuple[str, str]]:
    return {each["check"]: (each["severity"], each["message"]) for each in json.loads(done)["checks"]}


def test_what_a_strangers_functions_may_is_what_the_role_may(
    site: Site, stranger: tuple[str, str], tmp_path: Path, postgres_server: EmbeddedPostgres
) -> None:
    file, (role, password) = tmp_path / "file.sql", stranger
    file.write_text(DUMP + LAST)
    name = f"staging_{role}"
    command = ["restore", str(file), "--mode", "replace", "--into", name, "--confirm", name, "--json"]
    staging = TestDatabase(name, postgres_server.url(name))
    try:
        refused = site.cli(*command, RESTORE_FOREIGN_ROLE=role, RESTORE_FOREIGN_PASSWORD="wrong")
        assert refused.code == 12, refused.stderr
        assert f'ALTER ROLE "{role}" LOGIN' in refused.stderr
        done = site.cli(*command, RESTORE_FOREIGN_ROLE=role, RESTORE_FOREIGN_PASSWORD=password)
        assert done.code in {0, 3}, done.stderr
        found = findings(done.stdout)
        assert found["rights"] == ("ok", f"functions in it run with the rights of {role}, and everything belongs to it")
        assert "COMMENT ON DATABASE is passed over" in found["content"][1]
        assert staging.query("SELECT x FROM said") == [(f"{role}: permission denied to create role",)]
        assert not staging.query("SELECT FROM pg_roles WHERE rolname = 'evil'")
        owners = "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        assert staging.query(owners) == [(role,)]
        public = (
            "SELECT nspowner::regrole::text, has_database_privilege(%s, current_database(), 'CREATE') FROM pg_namespace"
        )
        assert staging.query(f"{public} WHERE nspname = 'public'", role) == [("pg_database_owner", False)]
    finally:
        TestDatabase("postgres", postgres_server.url()).execute(f"DROP DATABASE IF EXISTS {name}")


def test_who_owned_what_elsewhere_is_no_difference(
    site: Site, stranger: tuple[str, str], tmp_path: Path, postgres_server: EmbeddedPostgres
) -> None:
    (role, password), file = stranger, tmp_path / "file.sql"
    name = f"staging_{role}"
    with scratch_database(postgres_server) as elsewhere:
        elsewhere.execute(
            f"CREATE SCHEMA s; CREATE TABLE s.t (x int PRIMARY KEY); ALTER SCHEMA public OWNER TO {role};"
            "CREATE EXTENSION hstore; COMMENT ON EXTENSION hstore IS 'mine'; GRANT SELECT ON s.t TO pg_monitor;"
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO pg_monitor"
        )
        run([str(binaries() / "pg_dump"), "--dbname", elsewhere.url, "--file", str(file)], {})
    command = ["restore", str(file), "--mode", "replace", "--into", name, "--confirm", name, "--json", "--as", role]
    try:
        done = site.cli(*command, RESTORE_FOREIGN_PASSWORD=password)
        assert done.code == 0, done.stderr
        assert json.loads(done.stdout)["warnings"] == []
    finally:
        TestDatabase("postgres", postgres_server.url()).execute(f"DROP DATABASE IF EXISTS {name}")


def test_a_superuser_is_warned_of_a_file_of_unknown_make_and_of_no_other(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "file.sql"
    file.write_text("CREATE TABLE t (x int);\n" + LAST)
    dry = site.cli("restore", str(file), "--mode", "replace", "--allow-missing", "--dry-run")
    assert dry.code == 3, dry.stderr
    assert "a superuser: whoever wrote it can do anything" in dry.stderr
    assert "--as ROLE" in dry.stderr
    assert site.cli("create", "manual").code == 0
    own = site.cli("restore", "latest", "--mode", "replace", "--dry-run")
    assert own.code == 0, own.stderr
    merge = site.cli("restore", str(file), "--mode", "merge", "--as", "x", "--dry-run")
    assert merge.code == 13
    assert "--as belongs to a replace" in merge.stderr
    assert f"residency-backup restore {file} --mode merge --dry-run" in merge.stderr
    assert f"residency-backup restore {file} --mode replace --into staging --confirm staging --as x" in merge.stderr


@pytest.mark.parametrize("power", ["CREATEROLE", "REPLICATION", "IN ROLE pg_write_all_data", "owner"])
def test_a_role_that_can_do_more_is_no_stranger(
    site: Site, stranger: tuple[str, str], tmp_path: Path, postgres_server: EmbeddedPostgres, power: str
) -> None:
    file, (role, password) = tmp_path / "file.sql", stranger
    file.write_text("CREATE TABLE t (x int);\n" + LAST)
    server = TestDatabase("postgres", postgres_server.url())
    with scratch_database(postgres_server) as other:
        if power == "owner":
            server.execute(f"ALTER DATABASE {other.name} OWNER TO {role}")
        elif power.startswith("IN ROLE"):
            server.execute(f"GRANT {power.rsplit(maxsplit=1)[-1]} TO {role}")
        else:
            server.execute(f"ALTER ROLE {role} {power}")
        command = ["restore", str(file), "--mode", "replace", "--into", "elsewhere", "--dry-run", "--as", role]
        dry = site.cli(*command, RESTORE_FOREIGN_PASSWORD=password)
    assert dry.code == 3, dry.stderr
    assert "whoever wrote the file can do whatever these may" in dry.stderr
