"""What a restore does without, or comes back to, since stock pg_dump writes it in a way that no server takes at once.

Seen in public trackers: views that functions read (dimitri/pgcopydb#484), foreign servers that are away, settings that
the application makes, mappings for everybody, servers that pg_upgrade made, comments on extensions of others
(heroku/heroku-pg-extras#55), rights of roles that were dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.domain.backup import Tier
from app.embedded.postgres import EmbeddedPostgres
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.restore.preview import diff
from app.operations.restore.request import RestoreRequest
from app.operations.restore.run import restore
from tests.fix_damaged import execute
from tests.fix_postgres import TestDatabase
from tests.fix_prepared import drop_databases
from tests.fix_service import Site, make_site

MANUAL = BackupRequest(tier=Tier.MANUAL)
ODD = """
    DROP EXTENSION plpgsql; CREATE EXTENSION plpgsql; COMMENT ON EXTENSION plpgsql IS 'as pg_upgrade leaves it';
    CREATE EXTENSION postgres_fdw; CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
    CREATE FOREIGN TABLE logs (id int) SERVER files OPTIONS (filename '/nowhere/logs.csv');
    CREATE SERVER away FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1');
    CREATE USER MAPPING FOR PUBLIC SERVER away OPTIONS (user 'x', password 'y');
    CREATE FOREIGN TABLE remote (id int) SERVER away;
    CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2); GRANT SELECT ON t TO PUBLIC;
    CREATE MATERIALIZED VIEW z_first AS SELECT count(*) AS n FROM t;
    CREATE FUNCTION n() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT n FROM public.z_first';
    CREATE MATERIALIZED VIEW a_second AS SELECT public.n() AS n;
    CREATE MATERIALIZED VIEW a_third AS SELECT n FROM a_second;
    CREATE VIEW v AS SELECT id FROM t; CREATE MATERIALIZED VIEW far AS SELECT id FROM v;
    CREATE OR REPLACE VIEW v AS SELECT id FROM remote;
    CREATE VIEW w AS SELECT id FROM t; CREATE MATERIALIZED VIEW logged AS SELECT id FROM w;
    CREATE OR REPLACE VIEW w AS SELECT id FROM logs;
    SET app.tenant = '2';
    CREATE MATERIALIZED VIEW own AS SELECT * FROM t WHERE id = current_setting('app.tenant')::int;
    CREATE UNIQUE INDEX ON own (id);
    SET allow_system_table_mods = on;
    UPDATE pg_class SET relacl = relacl || makeaclitem(99999, 10, 'SELECT', false) WHERE relname = 't'"""


@pytest.fixture
def odd(empty_database: TestDatabase, tmp_path: Path, postgres_server: EmbeddedPostgres) -> Iterator[Site]:
    empty_database.execute(ODD)
    yield make_site(empty_database, tmp_path / "backups", filled=False)
    drop_databases(postgres_server, empty_database.name)


def test_views_are_filled_in_the_order_that_works_and_what_no_server_takes_stands_in_no_way(odd: Site) -> None:
    service = odd.service()
    taken = take_backup(service, MANUAL)
    assert taken is not None
    done = restore(
        service, RestoreRequest.parse(service, backup=taken.backup.id, mode="replace", confirm=odd.database.name)
    )
    away, logged, tenant = sorted(each for each in done.warnings if "stays without rows" in each)
    assert 'view data far: could not connect to server "away"' in away
    assert away.endswith("REFRESH MATERIALIZED VIEW public.far")
    assert 'view data logged: could not open file "/nowhere/logs.csv"' in logged
    assert 'view data own: unrecognized configuration parameter "app.tenant"' in tenant
    (rights,) = {*done.warnings} - {away, logged, tenant}
    assert rights.startswith('rights of "99999" are left out, because there is no such role')
    assert 'CREATE ROLE "99999" NOLOGIN' in rights
    assert odd.database.query("SELECT n FROM a_third") == [(2,)]
    assert odd.database.query("SELECT usename FROM pg_user_mappings") == [("public",)]
    assert odd.database.query("SELECT has_table_privilege('pg_monitor', 't', 'SELECT')") == [(True,)]
    assert not diff(service, taken.backup.id, None).schema
    odd.database.execute("SET app.tenant = '2'; REFRESH MATERIALIZED VIEW own")
    assert odd.database.query("SELECT id FROM own") == [(2,)]


def test_an_owner_brings_back_what_others_extensions_are_commented_with(
    empty_database: TestDatabase, tmp_path: Path, postgres_server: EmbeddedPostgres
) -> None:
    name, role = empty_database.name, f"owner_{empty_database.name}"
    empty_database.execute("DROP EXTENSION plpgsql; CREATE EXTENSION plpgsql; COMMENT ON EXTENSION plpgsql IS 'x'")
    execute(postgres_server, f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD 'secret-4711'")
    execute(postgres_server, f'ALTER DATABASE "{name}" OWNER TO {role}')
    url = psycopg.conninfo.make_conninfo(empty_database.url, user=role, password="secret-4711")
    site = make_site(TestDatabase(name, url), tmp_path / "backups", filled=False)
    site.database.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
    try:
        taken = take_backup(site.service(), MANUAL)
        assert taken is not None
        done = restore(
            site.service(), RestoreRequest.parse(site.service(), backup=taken.backup.id, mode="replace", confirm=name)
        )
        assert done.warnings == []
        assert site.database.query("SELECT id FROM t") == [(1,)]
    finally:
        drop_databases(postgres_server, name)
        execute(postgres_server, f'DROP DATABASE "{name}"')
        execute(postgres_server, f"DROP ROLE {role}")
