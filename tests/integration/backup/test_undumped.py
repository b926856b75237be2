"""What is the users', and pg_dump takes for a part of an extension or of the server: a backup says that it lacks it.

Seen in public trackers: pgmq/pgmq#408, citusdata/pg_cron#81.
"""

from __future__ import annotations

import json
from pathlib import Path

from structlog.testing import capture_logs

from app.domain.backup import Tier
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.health.check import check
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
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

# Each in a transaction of its own, as people do it.
ADDED = (
    "CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE TABLE sound (h hstore, l ltree)",
    """CREATE TABLE mine (id int PRIMARY KEY); INSERT INTO mine VALUES (1);
    CREATE FUNCTION made(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
    CREATE VIEW seen AS SELECT 1 AS n; CREATE TYPE mood AS ENUM ('a'); CREATE SCHEMA held""",
    """ALTER EXTENSION hstore ADD TABLE mine; ALTER EXTENSION hstore ADD FUNCTION made(int);
    ALTER EXTENSION hstore ADD VIEW seen; ALTER EXTENSION hstore ADD TYPE mood;
    ALTER EXTENSION hstore ADD SCHEMA held""",
    """CREATE TABLE t (id int, made int GENERATED ALWAYS AS (made(id)) STORED, m mood);
    CREATE VIEW relying AS SELECT n FROM seen; CREATE TABLE held.t (id int)""",
)


def test_what_pg_dump_leaves_out_is_named_with_what_brings_it_into_the_next_backup(
    empty_database: TestDatabase, tmp_path: Path
) -> None:
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


def test_what_pg_dump_leaves_out_stays_known_and_other_additions_to_an_extension_are_named(
    empty_database: TestDatabase, tmp_path: Path
) -> None:
    for statement in ADDED:
        empty_database.execute(statement)
    site = make_site(empty_database, tmp_path / "backups", filled=False)
    made = json.loads(site.cli("create", "manual", "--json").stdout)
    psql = f"psql -d {empty_database.name} -c 'ALTER EXTENSION hstore DROP"
    for what in ("function public.made(integer)", "type public.mood", "view public.seen", "schema held"):
        assert any(said.endswith(f"{psql} {what}'") for said in made["warnings"])
    assert len(made["warnings"]) == 4 + 1

    verified = site.cli("verify", "latest")
    assert (verified.code, f"{made['backup']} lacks what no dump carries: rows of public.mine" in verified.stderr) == (
        3,
        True,
    )
    assert "lacks what no dump carries" in site.cli("list").stdout
    shown = json.loads(site.cli("show", "latest", "--json").stdout)
    assert len(shown["lacking"]) == 5
    plan = site.cli("restore", "latest", "--dry-run", "--json", "--mode", "replace")
    assert any("lacks what no dump carries" in said for said in json.loads(plan.stdout)["warnings"])
