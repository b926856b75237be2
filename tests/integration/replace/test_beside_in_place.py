"""What a stranger's file does to the server is said too where nothing takes it back, or if it is cancelled."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql
from structlog.testing import capture_logs

from app.embedded.postgres import EmbeddedPostgres
from app.postgres import maintenance
from app.postgres.database import Database
from app.postgres.load.server_changes import refuse_server_changes, remark_server_changes
from tests.fix_postgres import TestDatabase
from tests.fix_service import make_site

SLOT = "SELECT pg_create_physical_replication_slot({slot})"
FILE = """
CREATE TABLE public.t (i int, r text DEFAULT pg_catalog.pg_create_physical_replication_slot({slot})::text);
COPY public.t (i) FROM stdin;
1
\\.


--
-- PostgreSQL database dump complete
--

"""


@pytest.fixture
def slot(empty_database: TestDatabase) -> Iterator[str]:
    """The name of a slot, which is dropped at the end."""
    name = f"slot_{secrets.token_hex(3)}"
    yield name
    empty_database.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")


def quoted(name: str) -> str:
    return sql.Literal(name).as_string(None)


def test_what_no_rollback_undoes_is_a_remark_in_place(empty_database: TestDatabase, slot: str, tmp_path: Path) -> None:
    name, role = empty_database.name, f"owner_{slot}"
    empty_database.execute(f"CREATE ROLE {role} LOGIN REPLICATION PASSWORD '{role}'")
    empty_database.execute(f"ALTER DATABASE {name} OWNER TO {role}")
    try:
        url = f"postgresql://{role}:{role}@{empty_database.url.partition('@')[2]}"
        site, file = make_site(empty_database, tmp_path / "backups", filled=False, url=url), tmp_path / "file.sql"
        file.write_text(FILE.format(slot=quoted(slot)))
        done = site.cli("restore", str(file), "--mode", "replace", "--confirm", name)
        assert done.code == 3, done.stderr
        assert (
            f"this was changed outside of its database: replication slot {slot}; look at it"
            in done.stdout + done.stderr
        )
        assert empty_database.query("SELECT i FROM t") == [(1,)]
    finally:
        empty_database.execute(f"ALTER DATABASE {name} OWNER TO postgres")
        empty_database.execute(f"REASSIGN OWNED BY {role} TO postgres; DROP OWNED BY {role}")
        empty_database.execute(f"DROP ROLE {role}")


def cancelled(watched: Database, database: TestDatabase, statement: str) -> None:
    with refuse_server_changes(watched, database.name):
        database.execute(statement)
        raise KeyboardInterrupt


def test_what_is_left_when_a_load_is_cancelled_is_logged(empty_database: TestDatabase, slot: str) -> None:
    database = Database.from_url(empty_database.url)
    with capture_logs() as logs:
        for statement in (SLOT.format(slot=quoted(slot)), "SELECT 1"):
            with pytest.raises(KeyboardInterrupt):
                cancelled(database, empty_database, statement)
    (found,) = [each for each in logs if each["log_level"] == "warning"]
    assert found["changed"].endswith(f"outside of its database: replication slot {slot}")
    assert "revert it" in found["hint"]


def test_a_database_without_an_encoding_is_one_to_look_from(
    empty_database: TestDatabase, postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare, role = f"bare_{empty_database.name}", f"role_{empty_database.name}"
    empty_database.execute(
        f"CREATE DATABASE {bare} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    monkeypatch.setattr(maintenance, "_FIRST", (bare,))
    remarks: list[str] = []
    try:
        with TestDatabase(bare, postgres_server.url(bare)).connect() as inside:
            inside.execute(f'CREATE ROLE "{role}'.encode() + b'\xe9"')
            inside.execute(f'COMMENT ON ROLE "{role}'.encode() + b"\xe9\" IS 'M\xfcller'")
            with remark_server_changes(Database.from_url(empty_database.url), remarks):
                inside.execute(f'ALTER ROLE "{role}'.encode() + b'\xe9" CREATEDB')
            inside.execute(f'DROP ROLE "{role}'.encode() + b'\xe9"')
        (said,) = remarks
        assert f'changed outside of its database: role "{role}\\xe9"; ' in said
    finally:
        empty_database.execute(f"DROP DATABASE {bare} WITH (FORCE)")


def test_where_nobody_can_look_from_that_is_said(empty_database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "_FIRST", ())
    monkeypatch.setattr(maintenance, "_OTHERS", "SELECT datname FROM pg_database WHERE false")
    remarks: list[str] = []
    with remark_server_changes(Database.from_url(empty_database.url), remarks):
        pass
    (said,) = remarks
    assert said.startswith("it is not known whether the file has changed something outside of the database: the role")
