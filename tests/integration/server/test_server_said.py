"""What the server says beside its message: shown to who sits there, never logged with a row; the table is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.errors import BackupCreationError
from app.operations.backup.take import BackupRequest, take_backup
from app.postgres.dump import ranges
from tests.fix_postgres import TestDatabase, scratch_database
from tests.fix_service import Site, make_site

CANARY = "canary-row-4711"
INTO = "said_by_the_server"
DUPLICATE = f"""\
CREATE TABLE public.people (name text);
COPY public.people (name) FROM stdin;
{CANARY}
{CANARY}
\\.
ALTER TABLE ONLY public.people ADD CONSTRAINT people_pkey PRIMARY KEY (name);
"""
FUNCTION = f"""\
CREATE FUNCTION public.fits(name text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'does not fit' USING DETAIL = name, HINT = 'try ' || name || repeat('x', 5000);
END $$;
CREATE TABLE public.people (name text, CHECK (public.fits(name)));
COPY public.people (name) FROM stdin;
{CANARY}
\\.
"""


@pytest.fixture
def empty(empty_database: TestDatabase, tmp_path: Path) -> Iterator[Site]:
    yield make_site(empty_database, tmp_path / "backups", filled=False)
    with empty_database.connect() as connection:
        left = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [INTO]).fetchone()
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(INTO)))
    assert left is None, "the half-loaded database is gone, and so nobody is told to drop it"


@pytest.mark.parametrize(
    ("dump", "message", "shown"),
    [
        (DUPLICATE, "could not create unique index", f"DETAIL: Key (name)=({CANARY}) is duplicated."),
        (FUNCTION, ", in PL/pgSQL function fits(text) line 3 at RAISE", f"DETAIL: {CANARY}"),
    ],
    ids=["key", "function"],
)
def test_a_restore_that_the_server_refuses(empty: Site, tmp_path: Path, dump: str, message: str, shown: str) -> None:
    file, lines = tmp_path / "given.sql", tmp_path / "lines.log"
    file.write_text(f"-- PostgreSQL database dump\n{dump}\n-- PostgreSQL database dump complete\n")
    words = ("restore", str(file), "--mode", "replace", "--into", INTO, "--confirm", INTO)
    done = empty.cli(*words, LOG_COMMANDS_TO=str(lines), LOG_LEVEL="INFO")
    assert done.code == 18, done.stderr
    assert message in done.stderr
    assert shown in done.stderr
    assert "drop the half-loaded" not in done.stderr
    assert max(map(len, done.stderr.splitlines())) < 1500, "shortened"
    logged = lines.read_text()
    assert "restore failed" in logged
    assert message in logged
    assert CANARY not in logged
    assert CANARY not in str(empty.service().restores.restores(empty.database.name))
    assert CANARY in empty.cli("-v", *words, LOG_LEVEL="DEBUG").stderr


def test_a_damaged_page_is_told_with_its_table(
    own_postgres_server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranges, "LARGE_BYTES", 64 << 10)
    monkeypatch.setattr(ranges, "MANY_BYTES", 0)
    with scratch_database(own_postgres_server) as database:
        database.execute(
            "CREATE TABLE wide AS SELECT g AS id, repeat(md5(g::text), 20) AS v FROM generate_series(1, 2000) g"
        )
        ((path, folder),) = database.query("SELECT pg_relation_filepath('wide'), current_setting('data_directory')")
        own_postgres_server.stop()
        with Path(folder, path).open("r+b") as file:
            file.seek(3 * 8192 + 24)
            file.write(b"\xff" * 4000)
        own_postgres_server.start()
        again = TestDatabase(database.name, own_postgres_server.url(database.name))
        site = make_site(again, tmp_path / "backups", filled=False)
        with pytest.raises(BackupCreationError, match=r"table public\.wide: .*invalid page in block 3"):
            take_backup(site.service(BACKUP_JOBS="2"), BackupRequest(tier=Tier.MANUAL))
