"""Rows that break a constraint of their schema: nothing is restored, and the error says how to have all the rest."""

from __future__ import annotations

import subprocess
from pathlib import Path

from app.embedded.postgres import EmbeddedPostgres, binaries
from app.errors import RestoreDataError
from tests.fix_postgres import TestDatabase, scratch_database
from tests.fix_service import make_site

ORPHAN = """
    CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (1);
    CREATE TABLE reminders (id int PRIMARY KEY, user_id int REFERENCES users); INSERT INTO reminders VALUES (1, 1);
    SET session_replication_role = replica; INSERT INTO reminders VALUES (2, 26); RESET session_replication_role"""


def test_rows_that_break_a_foreign_key_come_back_by_psql(
    empty_database: TestDatabase, postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    empty_database.execute(ORPHAN)
    site = make_site(empty_database, tmp_path / "backups", filled=False)
    assert site.cli("create", "daily").code == 0
    done = site.cli("restore", "latest", "--mode", "replace", "--confirm", empty_database.name)
    assert done.code == RestoreDataError.exit_code
    assert "psql -X -d rescued -f FILE" in done.stderr
    assert empty_database.query("SELECT count(*) FROM reminders") == [(2,)], "the live database is as before"
    [file] = site.backups.glob("daily/*.sql")
    with scratch_database(postgres_server) as rescued:
        load = [str(binaries() / "psql"), "-X", "-d", rescued.url, "-f", str(file)]
        said = subprocess.run(load, capture_output=True, text=True, timeout=60, check=False)
        assert (said.returncode, said.stderr.count("ERROR:")) == (0, 1), said.stderr
        assert rescued.query("SELECT count(*) FROM reminders") == [(2,)]
