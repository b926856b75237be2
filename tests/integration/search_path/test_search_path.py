"""Functions that rely on search_path: a backup of what calls them says so, and a restore has a way around."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.archive.writer import ArchiveWriter
from app.domain.backup import Codec
from app.errors import RestoreDataError, RestoreValidationError
from app.operations.health.doubts import check_doubts
from app.operations.restore.request import RestoreRequest
from app.ports.target import LoadOptions
from app.postgres.database import Database
from app.postgres.dump import ranges
from app.postgres.dump.search_path import reliance as relies
from app.postgres.dump.search_path.reliance import find_doubts
from app.postgres.dump.source import PostgresSource
from tests.fix_archives import archive_of, as_role, target
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, make_site

RELYING = """
    CREATE FUNCTION hex(b bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT encode(b, 'hex') $$;
    CREATE FUNCTION hex(v text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT hex(convert_to(v, 'UTF8')) $$;
    CREATE FUNCTION fold(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT
        AS $$ BEGIN RETURN lower(hex(v)); END $$;
    CREATE FUNCTION unlike(a text, b text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN hex(a) <> hex(b); END $$;
    CREATE OPERATOR <~> (LEFTARG = text, RIGHTARG = text, FUNCTION = unlike);
    CREATE DOMAIN folded AS text CHECK (fold(VALUE) <> '');
    CREATE TABLE items (id int PRIMARY KEY, name text, other folded, CONSTRAINT never CHECK (name <~> 'x'),
        short text GENERATED ALWAYS AS (hex(name)) STORED, slug text GENERATED ALWAYS AS (fold(name)) STORED);
    CREATE INDEX items_fold ON items (id) WHERE fold(name) IS NOT NULL;
    CREATE STATISTICS items_stat ON hex(name), id FROM items;
    INSERT INTO items SELECT i, CASE WHEN i > 100 THEN 'name' || i END, 'o' FROM generate_series(1, 200) i;
    CREATE TABLE parts (v text) PARTITION BY LIST (fold(v));
    CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('61');
    CREATE TABLE parts_b PARTITION OF parts FOR VALUES IN ('62');
    INSERT INTO parts VALUES ('a'), ('b')"""
# Nothing of these relies on it: the function sets it, names all in full, or is in no expression that is evaluated.
SOUND = """
    CREATE FUNCTION set_itself(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE SET search_path = public
        AS $$ BEGIN RETURN hex(v); END $$;
    CREATE FUNCTION in_full(v text) RETURNS text LANGUAGE sql IMMUTABLE
        AS $$ SELECT lower(v) || public.set_itself(v) $$;
    CREATE FUNCTION strange(v int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1 / v; END $$;
    CREATE TABLE sound (id int CHECK (strange(id) IS NOT NULL), name text CHECK (in_full(name) <> set_itself('x')),
        def text DEFAULT fold('x'));
    INSERT INTO sound VALUES (1, 'a', 'b'); ALTER TABLE sound DISABLE TRIGGER ALL;
    CREATE VIEW v AS SELECT fold(name) FROM sound"""
DOUBTFUL = {
    "check never of public.items calls public.unlike(text,text)",
    "domain public.folded calls public.fold(text)",
    "generated column public.items.short calls public.hex(text)",
    "generated column public.items.slug calls public.fold(text)",
    "index public.items_fold calls public.fold(text)",
    "partitions of public.parts calls public.fold(text)",
    "statistics public.items_stat calls public.hex(text)",
}


def doubts_of(database: TestDatabase) -> list[str]:
    return [str(doubt) for doubt in PostgresSource(Database.from_url(database.url)).doubts()]


def test_a_backup_names_what_relies_on_search_path_and_a_restore_the_way_around(
    empty_database: TestDatabase, site_of: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_database.execute(f"{RELYING}; {SOUND}")
    for name in ("LARGE_BYTES", "MANY_BYTES", "RANGE_BYTES"):
        monkeypatch.setattr(ranges, name, 1)  # a range is planned, with what relies on the path
    with PostgresSource(Database.from_url(empty_database.url), 2).snapshot():
        archive, facts = archive_of(empty_database)
    doubts = doubts_of(empty_database)
    assert {doubt.partition(", which finds")[0] for doubt in doubts} == DOUBTFUL
    assert all("mend it: ALTER FUNCTION public." in doubt for doubt in doubts)
    assert all("SET search_path = public; until then restore with --search-path public" in doubt for doubt in doubts)
    assert [each.message for each in check_doubts(site_of.service().source)] == doubts
    server = target(empty_database)
    before = empty_database.query("SELECT oid::regprocedure::text, proconfig FROM pg_proc WHERE oid > 16384 ORDER BY 1")
    for path in (None, "public"):
        shadow = f"shadow_{uuid.uuid4().hex[:8]}"
        server.create(shadow, facts)
        try:
            if path is None:
                with pytest.raises(RestoreDataError, match=r"function .* relies on search_path: ") as failed:
                    server.load(shadow, archive, LoadOptions(facts=facts), lambda _: None)
                assert "--search-path public" in (failed.value.hint or "")
            else:
                server.load(shadow, archive, LoadOptions(facts=facts, search_path=path), lambda _: None)
                assert server.prove(shadow, archive, LoadOptions(facts=facts), lambda _: None) == []
        finally:
            server.drop(shadow)
    server.replace_in_place(archive, facts, lambda _: None, "")  # as the database has it
    after = empty_database.query("SELECT oid::regprocedure::text, proconfig FROM pg_proc WHERE oid > 16384 ORDER BY 1")
    assert after == before
    assert empty_database.query("SELECT count(*), count(slug) FROM items") == [(200, 100)]


def test_the_command_line_says_so_and_takes_the_path(empty_database: TestDatabase, site_of: Site) -> None:
    empty_database.execute(RELYING)
    made = site_of.cli("create", "manual")
    assert made.code == 3
    assert "ALTER FUNCTION public.fold(text) SET search_path = public" in made.stdout + made.stderr
    restore = ("restore", "latest", "--mode", "replace", "--confirm", empty_database.name)
    done = site_of.cli(*restore, "--search-path", "public")
    assert done.code == 3, done.stderr  # the safety backup has the same doubts


@pytest.mark.parametrize("path", ["", "a b", "public;", "public,", 'x"', "it's"])
def test_what_is_no_list_of_schemas_is_refused(site_of: Site, path: str) -> None:
    with pytest.raises(RestoreValidationError, match="no list of schemas"):
        RestoreRequest.parse(site_of.service(), "latest", search_path=path)


def test_functions_of_others_run_with_their_owners_rights_only(empty_database: TestDatabase) -> None:
    """One that finds itself a superuser's, or comes to be, says so; the same one that relies on the path is found."""
    with a_role(empty_database) as role:
        empty_database.execute(f"""
            CREATE SCHEMA theirs AUTHORIZATION {role};
            GRANT CREATE ON SCHEMA public TO {role}; SET ROLE {role};
            CREATE FUNCTION theirs.hex(v text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT v $$;
            CREATE FUNCTION public.folds(v text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN theirs_hex(v); END $$;
            CREATE FUNCTION public.theirs_hex(v text) RETURNS text LANGUAGE sql AS $$ SELECT v $$;
            CREATE FUNCTION theirs.climbs(v text) RETURNS boolean LANGUAGE plpgsql AS $$
                BEGIN
                    BEGIN RESET ROLE; EXCEPTION WHEN OTHERS THEN NULL; END;
                    BEGIN RESET SESSION AUTHORIZATION; EXCEPTION WHEN OTHERS THEN NULL; END;
                    BEGIN CREATE TABLE theirs.mark (); EXCEPTION WHEN read_only_sql_transaction THEN NULL; END;
                    IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
                        RAISE undefined_table USING MESSAGE = 'it is a superuser';
                    END IF;
                    RETURN true;
                END $$;
            CREATE TABLE theirs.t (v text, folded text);
            INSERT INTO theirs.t VALUES ('a', 'b');
            ALTER TABLE theirs.t ADD CHECK (theirs.climbs(v)) NOT VALID, ADD CHECK (public.folds(v) = v);
            RESET ROLE;
            UPDATE pg_constraint SET convalidated = true WHERE NOT convalidated;  -- as if an older row were right
            CREATE FUNCTION public.noted() RETURNS event_trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE undefined_table USING MESSAGE = 'it was seen'; END $$;
            CREATE EVENT TRIGGER seen ON ddl_command_end EXECUTE FUNCTION public.noted()""")
        (doubt,) = doubts_of(empty_database)
        assert doubt.startswith("check t_v_check1 of theirs.t calls public.folds(text), which finds")
        assert empty_database.query("SELECT to_regclass('theirs.mark')") == [(None,)]
        # Who is no superuser has no way to give its rights away, and so tries nothing of roles that it does not trust.
        empty_database.execute(f"CREATE ROLE {role}_r LOGIN PASSWORD 'secret' IN ROLE pg_read_all_data")
        reader = Database.from_url(as_role(empty_database.url, f"{role}_r"))
        with reader.connect() as connection:
            assert find_doubts(connection, reader) == ()


@contextmanager
def a_role(database: TestDatabase) -> Iterator[str]:
    role = f"role_{uuid.uuid4().hex[:8]}"
    database.execute(f"CREATE ROLE {role}")
    try:
        yield role
    finally:
        database.execute(
            f"DROP EVENT TRIGGER IF EXISTS seen; DROP OWNED BY {role} CASCADE; DROP ROLE {role};"
            f"DROP ROLE IF EXISTS {role}_r"
        )


@pytest.fixture
def site_of(empty_database: TestDatabase, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A service for the empty database."""
    return make_site(empty_database, tmp_path_factory.mktemp("paths") / "backups", filled=False)


def test_slow_functions_do_not_keep_a_dump_waiting(
    empty_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty_database.execute(RELYING)
    monkeypatch.setattr(relies, "BESIDE_SECONDS", -1.0)
    with PostgresSource(Database.from_url(empty_database.url)).snapshot() as snapshot:
        snapshot.dump_into(ArchiveWriter(io.BytesIO(), Codec.NONE))
        assert not snapshot.doubts
