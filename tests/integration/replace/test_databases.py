"""Databases are made like the live one, on each major, and dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
import pytest

from app.archive.inspect.needs import Needs
from app.archive.manifest import ServerFacts
from app.errors import (
    RestoreError,
    RestorePermissionError,
    RestoreValidationError,
    TargetUnavailableError,
)
from app.postgres.database import Database
from app.postgres.target import PostgresTarget
from tests.fix_archives import as_role, target
from tests.fix_matrix import Major, running_major
from tests.fix_postgres import TestDatabase
from tests.tiers import majors

MAJORS = majors(18)
OWN = {"oid", "datname", "datfrozenxid", "datminmxid", "datlastsysoid", "datcollversion", "datacl"}
DRESSED = """
    CREATE ROLE "the own""er" LOGIN CREATEDB PASSWORD 'secret';
    CREATE ROLE friend;
    CREATE ROLE other LOGIN PASSWORD 'secret';
    CREATE ROLE stranger LOGIN CREATEDB PASSWORD 'secret'"""
LOOKS = r"""
    ALTER DATABASE live OWNER TO "the own""er";
    ALTER DATABASE live CONNECTION LIMIT 17;
    ALTER DATABASE live SET search_path = public, "odd "" one", pg_catalog;
    ALTER DATABASE live SET work_mem = '65536';
    ALTER DATABASE live SET statement_timeout = '90min';
    ALTER DATABASE live SET default_transaction_read_only = on;
    ALTER DATABASE live SET "app.key" = 'it''s; a \ value, "quoted"';
    ALTER DATABASE live SET temp_tablespaces = '';
    ALTER DATABASE live SET DateStyle = 'SQL, DMY';
    ALTER ROLE friend IN DATABASE live SET search_path = "Friend", public;
    ALTER ROLE friend IN DATABASE live SET lock_timeout = 4711;
    REVOKE ALL ON DATABASE live FROM PUBLIC;
    GRANT CONNECT ON DATABASE live TO friend WITH GRANT OPTION;
    GRANT CREATE, TEMPORARY ON DATABASE live TO other;
    SET ROLE friend; GRANT CONNECT ON DATABASE live TO other; RESET ROLE;
    COMMENT ON DATABASE live IS 'it''s the live one'"""
BEYOND_AN_OWNER = ("ROLE friend", "app.key")
CONFIG = """
    SELECT coalesce(rolname, ''), setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase
    LEFT JOIN pg_roles r ON r.oid = setrole WHERE datname = %s ORDER BY 1"""
RIGHTS = """
    SELECT a.grantor::regrole::text, a.grantee::regrole::text, privilege_type, is_grantable
    FROM pg_database, aclexplode(datacl) a WHERE datname = %s ORDER BY 1, 2, 3"""
HAS_RIGHTS = "SELECT datacl IS NULL, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"


@pytest.fixture(scope="module", params=MAJORS, ids=lambda each: f"PostgreSQL {each}")
def major(request: pytest.FixtureRequest) -> Iterator[Major]:
    with running_major(request.param) as found:
        with psycopg.connect(found.server.url(), autocommit=True) as connection:
            connection.execute(DRESSED.encode())
        yield found


@contextlib.contextmanager
def live(major: Major, options: str = "") -> Iterator[TestDatabase]:
    with major.database("live", options) as database:
        try:
            yield database
        finally:
            target(database).drop("made")


def look(major: Major, name: str) -> tuple[object, ...]:
    """All that the server knows of a database as such."""
    with psycopg.connect(major.server.url(), autocommit=True) as connection:
        row = connection.execute("SELECT to_jsonb(d) FROM pg_database d WHERE datname = %s", [name]).fetchone()
        assert row
        columns = {key: value for key, value in row[0].items() if key not in OWN}
        answers = [connection.execute(query, [name]).fetchall() for query in (CONFIG, RIGHTS, HAS_RIGHTS)]
        return columns, *answers


@pytest.mark.parametrize("role", ["postgres", 'the own"er'])
def test_a_new_database_is_like_the_live_one_in_all_that_no_dump_carries(major: Major, role: str) -> None:
    options = "ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'"
    with live(major, options) as database:
        with psycopg.connect(major.server.url(), autocommit=True) as connection:
            for statement in LOOKS.split(";\n"):
                if role == "postgres" or not any(word in statement for word in BEYOND_AN_OWNER):
                    connection.execute(statement.encode())
        url = database.url if role == "postgres" else as_role(database.url, 'the own"er')
        made = PostgresTarget(Database.from_url(url))
        made.create("made", None)
        assert look(major, "made") == look(major, "live")
        assert {"made", "live", "postgres"} <= made.databases().keys()
        made.drop("made")
        assert "made" not in made.databases()


def locales(major: Major) -> dict[str, str]:
    found = {"libc": "LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'"}
    if major.number >= 15:
        found["icu"] = "LOCALE_PROVIDER icu ICU_LOCALE 'de-u-co-phonebk' LOCALE 'C.UTF-8'"
    if major.number >= 16:
        found["icu with rules"] = "LOCALE_PROVIDER icu ICU_LOCALE 'de' ICU_RULES '&a < g' LOCALE 'C.UTF-8'"
    if major.number >= 17:
        found["builtin"] = "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'"
    return found


@pytest.mark.parametrize("provider", ["libc", "icu", "icu with rules", "builtin"])
def test_every_way_of_sorting_text_is_carried_over(major: Major, provider: str) -> None:
    options = locales(major).get(provider)
    if options is None:
        pytest.skip(f"PostgreSQL {major.number} has no such locales")
    with contextlib.ExitStack() as stack:
        try:
            database = stack.enter_context(live(major, options))
        except psycopg.errors.FeatureNotSupported:
            pytest.skip("this server is built without ICU")
        target(database).create("made", None)
        assert look(major, "made") == look(major, "live")
        facts = target(database).facts().live
        assert facts
        target(database).drop("made")
        missing = PostgresTarget(Database.from_url(major.server.url("missing")))
        missing.create("made", facts)
        if provider != "icu with rules":
            assert look(major, "made") == look(major, "live")


def test_a_template_that_nobody_may_enter_in_large_numbers_is_made_and_dropped(major: Major) -> None:
    with live(major, "IS_TEMPLATE true CONNECTION LIMIT 1") as database:
        try:
            target(database).create("made", None)
            assert look(major, "made") == look(major, "live")
            target(database).drop("made")
            target(database).drop("made")  # missing is no error
            assert "made" not in target(database).databases()
        finally:
            database.execute("ALTER DATABASE live IS_TEMPLATE false")


def test_a_live_database_with_default_rights_gives_default_rights(major: Major) -> None:
    with live(major) as database:
        target(database).create("made", None)
        assert look(major, "made") == look(major, "live")


def test_a_name_that_is_taken_is_left_alone(major: Major) -> None:
    with live(major) as database, major.database("taken"):
        with pytest.raises(RestoreError, match="already exists") as caught:
            target(database).create("taken", None)
        assert caught.value.hint
        assert "taken" in target(database).databases()


def test_a_locale_that_the_server_lacks_is_named(major: Major) -> None:
    facts = ServerFacts(version="18.1", version_num=180001, encoding="UTF8", locale="xx_YY/xx_YY/c", size=1)
    missing = PostgresTarget(Database.from_url(major.server.url("missing")))
    with pytest.raises(RestoreValidationError, match="locale") as caught:
        missing.create("made", facts)
    assert "locale" in caught.value.hint
    if major.number < 17:
        newer = facts.model_copy(update={"locale": "C/C/b/C.UTF-8"})
        with pytest.raises(RestoreValidationError, match="builtin") as caught:
            missing.create("made", newer)
        assert "17" in caught.value.hint
    assert "made" not in missing.databases()


def test_what_the_role_may_not_give_is_said_and_nothing_is_left(major: Major) -> None:
    with live(major) as database:
        with psycopg.connect(major.server.url(), autocommit=True) as connection:
            connection.execute('ALTER DATABASE live OWNER TO "the own""er"')
            connection.execute("ALTER DATABASE live SET log_statement = 'all'")
        owner = PostgresTarget(Database.from_url(as_role(database.url, 'the own"er')))
        with pytest.raises(RestorePermissionError, match="log_statement") as caught:
            owner.create("made", None)
        assert "superuser" in caught.value.hint
        assert "made" not in owner.databases()


@pytest.mark.parametrize("role", ["other", "stranger"])
def test_a_role_that_may_not_create_is_known_and_told(major: Major, role: str) -> None:
    with live(major) as database:
        its = PostgresTarget(Database.from_url(as_role(database.url, role)))
        assert not its.facts().may_create
        with pytest.raises(RestorePermissionError) as caught:
            its.create("made", None)
        assert f"CREATE DATABASE (psql -d postgres -c 'ALTER ROLE \"{role}\" CREATEDB')" in caught.value.hint
        assert "made" not in its.databases()


def test_who_may_create_is_known(major: Major) -> None:
    with live(major) as database:
        database.execute('ALTER DATABASE live OWNER TO "the own""er"')
        assert target(database).facts().may_create
        assert PostgresTarget(Database.from_url(as_role(database.url, 'the own"er'))).facts().may_create
    stranger = PostgresTarget(Database.from_url(as_role(major.server.url("missing"), "stranger")))
    assert stranger.facts().may_create
    assert stranger.facts().live is None


def test_nobody_is_told_to_become_a_member_of_a_superuser(major: Major) -> None:
    with live(major) as database:
        reader = PostgresTarget(Database.from_url(as_role(database.url, "stranger")))
        wanted = reader.foreign_owners(Needs(owners=frozenset({"friend", "postgres"})))
    assert wanted["friend"].startswith("GRANT friend TO stranger")
    assert wanted["postgres"] == "restore as a superuser: write such a role into DATABASE_URL"


def test_where_only_the_live_database_lets_the_role_in_it_is_restored_in_place(major: Major) -> None:
    with live(major) as database:
        database.execute("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")
        try:
            its = PostgresTarget(Database.from_url(as_role(database.url, "stranger")))
            assert not its.facts().may_create
            with pytest.raises(RestorePermissionError, match="the role can connect to no database") as caught:
                its.swap("new", "live", "old")
            assert "CONNECT" in caught.value.hint
        finally:
            database.execute("GRANT CONNECT ON DATABASE postgres, template1 TO PUBLIC")


def test_the_facts_say_what_the_server_is(major: Major) -> None:
    with live(major) as database:
        facts = target(database).facts()
        assert facts.version_num // 10000 == major.number
        assert facts.version.startswith(f"{major.number}.")
        assert facts.live
        assert facts.live.encoding == "UTF8"
        assert facts.data_folder == major.server.folder / "data"
        its = PostgresTarget(Database.from_url(as_role(database.url, "other"))).facts()
        assert its.data_folder is None
        assert facts.prepared == ()


def test_the_live_database_is_never_dropped(major: Major) -> None:
    with live(major) as database:
        with pytest.raises(RestoreValidationError, match="live") as caught:
            target(database).drop("live")
        assert caught.value.hint
        assert "live" in target(database).databases()


def test_a_database_in_use_is_dropped_with_its_sessions(major: Major) -> None:
    with live(major) as database:
        target(database).create("made", None)
        with psycopg.connect(major.server.url("made"), autocommit=True) as session:
            target(database).drop("made")
            with pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 1")


def test_what_the_server_lacks_is_named(major: Major) -> None:
    needs = Needs(
        extensions=frozenset({"hstore", "none_such"}),
        roles=frozenset({"friend", "nobody here"}),
        collations=frozenset({"pg_catalog.ucs_basic", "pg_catalog.xx-x-icu"}),
        tablespaces=frozenset({"pg_default", "fast"}),
    )
    lacks = ["extension none_such", "role nobody here", "tablespace fast", "collation pg_catalog.xx-x-icu"]
    with live(major) as database:
        assert target(database).missing(needs) == lacks
        own = Needs(collations=frozenset({"public.mine"}))
        assert target(database).missing(own) == ["collation public.mine"]
        database.execute("CREATE COLLATION public.mine (provider = libc, locale = 'C')")
        assert target(database).missing(own) == []
        assert target(database).foreign_owners(Needs(owners=frozenset({"friend"}))) == {}
    assert PostgresTarget(Database.from_url(major.server.url("missing"))).missing(needs) == lacks


def test_a_server_that_does_not_answer_is_a_passing_failure() -> None:
    gone = PostgresTarget(Database.from_url("postgresql://a@127.0.0.1:1/live"))
    for ask in (gone.facts, gone.databases, lambda: gone.create("a", None), lambda: gone.drop("a")):
        with pytest.raises(TargetUnavailableError) as caught:
            ask()
        assert caught.value.hint
        assert caught.value.transient


def test_a_wrong_password_is_said(major: Major) -> None:
    wrong = PostgresTarget(Database.from_url(as_role(major.server.url("postgres"), "postgres", "wrong")))
    with pytest.raises(RestorePermissionError, match="password authentication failed") as caught:
        wrong.databases()
    assert caught.value.hint
