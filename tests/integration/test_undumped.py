"""What is the users', and pg_dump takes for a part of an extension or of the server: a backup says that it lacks it.

Seen in public trackers: pgmq/pgmq#408, citusdata/pg_cron#81.
"""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from app.domain.backup import Tier
from app.operations.check import check
from app.operations.take_backup import BackupRequest, take_backup
from app.postgres.database import Database
from app.postgres.dump import PostgresSource
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
    psql = f"psql -d {empty_database.name} -c"
    assert f"{psql} 'ALTER EXTENSION hstore DROP TABLE public.\"q Jobs\"'; if" in rows
    assert rows.endswith(f"{psql} '\\copy public.\"q Jobs\" TO rows.copy'")
    assert function.endswith(f"{psql} 'ALTER FUNCTION hidden() SET SCHEMA public'")
    said = [each.message for each in check(site.service()) if each.check == "not in dumps"]
    assert [rows, function] == [f"backup is made, but not of everything: {each}" for each in said]
    empty_database.execute(
        'ALTER EXTENSION hstore DROP TABLE public."q Jobs"; ALTER FUNCTION hidden() SET SCHEMA public'
    )
    taken = take_backup(site.service(), MANUAL)
    assert taken is not None
    assert taken.warnings == []
    assert 'COPY public."q Jobs" (id)' in (site.backups / taken.backup.file).read_text()


def test_a_table_that_cannot_be_looked_at_is_no_reason_to_make_no_backup(empty_database: TestDatabase) -> None:
    empty_database.execute("""
        CREATE EXTENSION hstore; CREATE TABLE "half %s full" (id int); CREATE TABLE lost (id int);
        ALTER EXTENSION hstore ADD TABLE "half %s full"; ALTER EXTENSION hstore ADD TABLE lost""")
    empty_database.execute('INSERT INTO "half %s full" VALUES (1)')
    ((file,),) = empty_database.query("SELECT current_setting('data_directory') || '/' || pg_relation_filepath('lost')")
    Path(file).unlink()
    with capture_logs() as logs:
        (said,) = PostgresSource(Database.from_url(empty_database.url)).undumped()
    assert 'rows of public."half %s full" are in no backup' in said
    assert [event["table"] for event in logs if event["log_level"] == "warning"] == ["public.lost"]
