"""What is the users', and pg_dump takes for a part of an extension or of the server: a backup says that it lacks it.

Seen in public trackers: pgmq/pgmq#408, citusdata/pg_cron#81.
"""

from __future__ import annotations

from pathlib import Path

from app.domain.backup import Tier
from app.operations.check import check
from app.operations.take_backup import BackupRequest, take_backup
from tests.fix_postgres import TestDatabase
from tests.fix_service import make_site

MANUAL = BackupRequest(tier=Tier.MANUAL)
LOST = """
    CREATE EXTENSION hstore; CREATE EXTENSION earthdistance CASCADE;
    CREATE TABLE "q Jobs" (id int); CREATE TABLE q_empty (id int); CREATE TABLE mine (id int);
    ALTER EXTENSION hstore ADD TABLE "q Jobs"; ALTER EXTENSION hstore ADD TABLE q_empty;
    CREATE FUNCTION pg_catalog.hidden() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION pg_catalog.unused() RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION pg_catalog.spelled(int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1::varchar::text';
    ALTER TABLE mine ADD made int DEFAULT pg_catalog.hidden()"""


def test_it_is_named_with_what_brings_it_into_the_next_backup(empty_database: TestDatabase, tmp_path: Path) -> None:
    empty_database.execute(LOST)
    empty_database.execute('INSERT INTO "q Jobs" VALUES (1)')
    site = make_site(empty_database, tmp_path / "backups", filled=False)
    taken = take_backup(site.service(), MANUAL)
    assert taken is not None
    rows, function = (each for each in taken.warnings if "backup" in each)
    assert 'ALTER EXTENSION hstore DROP TABLE public."q Jobs" brings it' in rows
    assert "ALTER FUNCTION hidden() SET SCHEMA public" in function
    said = [each.message for each in check(site.service()) if each.check == "not in dumps"]
    assert [rows, function] == [f"backup is made, but no dump carries all: {each}" for each in said]
    empty_database.execute(
        'ALTER EXTENSION hstore DROP TABLE public."q Jobs"; ALTER FUNCTION hidden() SET SCHEMA public'
    )
    taken = take_backup(site.service(), MANUAL)
    assert taken is not None
    assert taken.warnings == []
    assert 'COPY public."q Jobs" (id)' in (site.backups / taken.backup.file).read_text()
