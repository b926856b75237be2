"""What functions of a stranger's file do to the server beside the database is undone, or at least named."""

from __future__ import annotations

import io
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from psycopg import sql

from app.archive.reader import Archive, build_index
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreValidationError
from app.ports.target import LoadOptions
from app.postgres.database import Database
from app.postgres.load.server_changes import refuse_server_changes
from tests.fix_archives import target
from tests.fix_matrix import EMBEDDED, running_major
from tests.fix_postgres import TestDatabase, scratch_database
from tests.fix_service import make_site
from tests.tiers import majors

LAST = "\n--\n-- PostgreSQL database dump complete\n--\n\n"
FUNCTION = """
CREATE FUNCTION public.f{number}() RETURNS {returns} LANGUAGE plpgsql AS $f$ BEGIN {does} END $f$;
CREATE TABLE public.t{number} (x int, y text{default});
"""
DEFAULT = " DEFAULT public.f{number}()"
ROWS = "COPY public.t{number} (x) FROM stdin;\n1\n\\.\n"
TRIGGER = """
CREATE CONSTRAINT TRIGGER a AFTER INSERT ON public.t{number} DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION public.f{number}();
"""
# How the function comes to be called.
WAYS = {
    "COPY": ROWS,
    "INSERT": "INSERT INTO public.t{number} (x) VALUES (1);\n",
    "in a transaction": "BEGIN;\nINSERT INTO public.t{number} (x) VALUES (1);\nCOMMIT;\n",
    "deferred": TRIGGER + ROWS,
    "check": "ALTER TABLE public.t{number} ADD CONSTRAINT c CHECK (public.f{number}() <> '');\n" + ROWS,
    "view": (
        "CREATE MATERIALIZED VIEW public.m{number} AS SELECT public.f{number}() AS a WITH NO DATA;\n"
        "REFRESH MATERIALIZED VIEW public.m{number};\n"
    ),
}
DOES = {
    "roles and their passwords": "ALTER ROLE {role} PASSWORD 'x';",
    "settings of roles": "ALTER ROLE {role} SET work_mem = '1MB';",
    "memberships of roles": "GRANT {role} TO pg_monitor;",
    "rights on databases": "GRANT ALL ON DATABASE template1 TO {role};",
    "tablespaces": "GRANT ALL ON TABLESPACE pg_default TO {role};",
    "comments on roles": "COMMENT ON ROLE {role} IS 'x';",
}
SHARED = """
    SELECT to_jsonb(a)::text FROM pg_authid a UNION ALL SELECT to_jsonb(a)::text FROM pg_auth_members a
    UNION ALL SELECT to_jsonb(a)::text FROM pg_db_role_setting a UNION ALL SELECT to_jsonb(a)::text FROM pg_tablespace a
    UNION ALL SELECT to_jsonb(a)::text FROM pg_shdescription a
    UNION ALL SELECT concat(datname, datacl) FROM pg_database WHERE datname = 'template1' ORDER BY 1"""


def dump(does: str, way: str, number: int = 0) -> str:
    trigger = way == "deferred"
    text = FUNCTION.replace("{default}", "" if trigger else DEFAULT) + WAYS[way]
    returns, answer = ("trigger", "NEW") if trigger else ("text", "'x'")
    return text.format(number=number, returns=returns, does=f"{does} RETURN {answer};")


@pytest.fixture
def live(postgres_server: EmbeddedPostgres) -> Iterator[TestDatabase]:
    with scratch_database(postgres_server) as database:
        yield database


@pytest.fixture(params=majors(18), ids=lambda number: f"PostgreSQL {number}")
def anywhere(request: pytest.FixtureRequest) -> Iterator[TestDatabase]:
    """A database of a server of each major."""
    with ExitStack() as stack:
        if request.param == EMBEDDED:
            server: EmbeddedPostgres = request.getfixturevalue("postgres_server")
            yield stack.enter_context(scratch_database(server))
        else:
            yield stack.enter_context(stack.enter_context(running_major(request.param)).database("beside"))


@pytest.fixture
def role(live: TestDatabase) -> Iterator[str]:
    """One that may log in, with its name as its password."""
    name = f"stranger_{secrets.token_hex(3)}"
    live.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'")
    yield name
    live.execute(f"REASSIGN OWNED BY {name} TO postgres; DROP OWNED BY {name}")
    live.execute(f"DROP ROLE {name}")


def test_no_transaction_that_changes_something_beside_is_committed(anywhere: TestDatabase) -> None:
    role = f"victim_{secrets.token_hex(3)}"
    anywhere.execute(f"CREATE ROLE {role}")
    before = anywhere.query(SHARED)
    cases = [(said, does, way) for way in WAYS for said, does in DOES.items() if way == "COPY" or "settings" in said]
    for number, (said, does, way) in enumerate(cases):
        text = (dump(does.format(role=role), way, number) + LAST).encode()
        source = Archive(lambda text=text: io.BytesIO(text), Codec.NONE, build_index(io.BytesIO(text), Codec.NONE))
        with pytest.raises(RestoreValidationError, match=f"outside of the database.*{said}"):
            target(anywhere).load(anywhere.name, source, LoadOptions(facts=None), lambda _: None)
        anywhere.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert anywhere.query(SHARED) == before
    anywhere.execute(f"DROP ROLE {role}")


def test_a_role_that_loads_a_strangers_file_keeps_its_password_and_settings(
    live: TestDatabase, role: str, tmp_path: Path
) -> None:
    site, file, name = make_site(live, tmp_path / "backups", filled=False), tmp_path / "file.sql", f"staging_{role}"
    before = live.query(SHARED)
    file.write_text(dump("ALTER ROLE CURRENT_USER PASSWORD 'x';", "INSERT") + LAST)
    command = ["restore", str(file), "--mode", "replace", "--into", name, "--confirm", name]
    done = site.cli(*command, "--as", role, RESTORE_FOREIGN_PASSWORD=role)
    assert done.code == 13, done.stderr
    assert "functions in the file change objects outside of the database: roles and their passwords" in done.stderr
    assert live.query(SHARED) == before
    assert not live.query("SELECT FROM pg_database WHERE datname LIKE 'staging%'")


def test_what_no_rollback_undoes_is_named(live: TestDatabase, role: str, tmp_path: Path) -> None:
    site, file, name = make_site(live, tmp_path / "backups", filled=False), tmp_path / "file.sql", f"staging_{role}"
    slot = sql.Literal(role).as_string(None)
    file.write_text(dump(f"PERFORM pg_create_physical_replication_slot({slot});", "COPY") + LAST)
    try:
        done = site.cli("restore", str(file), "--mode", "replace", "--into", name, "--confirm", name)
        assert done.code == 13, done.stderr
        assert f"changed outside of its database: replication slot {role}" in done.stderr
        assert not live.query("SELECT FROM pg_database WHERE datname LIKE 'staging%'")
    finally:
        live.execute(f"SELECT pg_drop_replication_slot({slot})")


def test_a_server_whose_configuration_has_a_line_that_cannot_be_read_is_compared(live: TestDatabase) -> None:
    database = Database.from_url(live.url)
    ((folder,),) = live.query("SHOW data_directory")
    file = Path(folder) / "postgresql.auto.conf"
    before = file.read_text()
    try:
        file.write_text(f"{before}work_mem = = 1\n")
        with refuse_server_changes(database, live.name):
            pass
        with (
            pytest.raises(RestoreValidationError, match="outside of its database: syntax error in "),
            refuse_server_changes(database, live.name),
        ):
            file.write_text(before)
    finally:
        file.write_text(before)


def test_no_transaction_that_changes_something_beside_is_committed_in_place(
    live: TestDatabase, role: str, tmp_path: Path
) -> None:
    live.execute(f"ALTER DATABASE {live.name} OWNER TO {role}")
    url = f"postgresql://{role}:{role}@{live.url.partition('@')[2]}"
    site = make_site(live, tmp_path / "backups", filled=False, url=url)
    before, file = live.query(SHARED), tmp_path / "file.sql"
    file.write_text(dump("ALTER ROLE CURRENT_USER SET work_mem = '1MB';", "COPY") + LAST)
    done = site.cli("restore", str(file), "--mode", "replace", "--confirm", live.name)
    assert done.code == 13, done.stderr
    assert "settings of roles" in done.stderr
    assert live.query(SHARED) == before
