"""A database as a value: what it is read from, and where its password does not get to."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from app.errors import (
    BackupCreationError,
    BackupError,
    BackupPermissionError,
    DatabaseMissingError,
    ServerUnavailableError,
)
from app.postgres.database import CONNECT_SECONDS, Database
from app.postgres.dump.source import pg_dump_arguments

PASSWORD = "p@ss:w/rd?#%41 ' \\ \" & ="
OURS = {"PGTZ": "UTC", "LC_MESSAGES": "C"}
OWN = {
    *("application_name", "connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    "tcp_user_timeout",
}


def database(url: str = "postgresql://me:s3cr3t@db.example:5433/app") -> Database:
    return Database.from_url(url)


def asked(found: Database) -> dict[str, str]:
    """The parameters that the URL gave."""
    return {name: value for name, value in found.parameters.items() if name not in OWN}


@pytest.mark.parametrize(
    ("url", "parameters", "password"),
    [
        (
            "postgresql://me:pw@db.example:5433/app",
            {"user": "me", "host": "db.example", "port": "5433", "dbname": "app"},
            "pw",
        ),
        ("postgres://db/app", {"host": "db", "dbname": "app"}, None),
        ("postgresql+psycopg://me:pw@db/app", {"user": "me", "host": "db", "dbname": "app"}, "pw"),
        ("postgresql+psycopg2://me@db/app", {"user": "me", "host": "db", "dbname": "app"}, None),
        ("postgres+asyncpg://me@db/app", {"user": "me", "host": "db", "dbname": "app"}, None),
        (
            "postgresql:///app?host=/var/run/pg&port=5433",
            {"host": "/var/run/pg", "port": "5433", "dbname": "app"},
            None,
        ),
        ("postgresql://me@%2Fvar%2Frun%2Fpg/app", {"user": "me", "host": "/var/run/pg", "dbname": "app"}, None),
        ("postgresql://m%40e:p%40%3A%2F%25@db/a%20b", {"user": "m@e", "host": "db", "dbname": "a b"}, "p@:/%"),
        ("postgresql://[::1]:5433/app", {"host": "::1", "port": "5433", "dbname": "app"}, None),
        ("postgresql://a:1,b:2/app", {"host": "a,b", "port": "1,2", "dbname": "app"}, None),
        ("postgresql://db/app?password=pw", {"host": "db", "dbname": "app"}, "pw"),
        ("postgresql://db/?dbname=app", {"host": "db", "dbname": "app"}, None),
        ("postgresql://db/app?sslmode=verify-full", {"host": "db", "dbname": "app", "sslmode": "verify-full"}, None),
        ("host=db dbname='a b' password='p \\' w'", {"host": "db", "dbname": "a b"}, "p ' w"),
        ("postgresql://me:@db/app", {"user": "me", "host": "db", "dbname": "app"}, None),
    ],
)
def test_a_url_or_connection_string_is_read_as_libpq_reads_it(
    url: str, parameters: dict[str, str], password: str | None
) -> None:
    found = database(url)
    assert asked(found) == parameters
    assert found.name == parameters["dbname"]
    assert found.password == password


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "names no database"),
        ("host=db password=s3cr3t", "names no database"),
        ("postgresql://me:s3cr3t@db", "names no database"),
        ("postgresql://me:s3cr3t@db/", "names no database"),
        ("me:s3cr3t@db/app", "not a PostgreSQL URL"),
        ("mysql://me:s3cr3t@db/app", "mysql is not PostgreSQL"),
        ("postgresql://me:s3cr3t%zz@db/app", "not a PostgreSQL URL"),
        ("postgresql://me:s3cr3t@db/app?s3cr3t=1", "not a PostgreSQL URL"),
    ],
)
def test_what_is_no_database_is_refused_without_repeating_it(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        database(url)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_silent_server_is_noticed_unless_the_url_says_otherwise() -> None:
    assert database().parameters["connect_timeout"] == str(CONNECT_SECONDS)
    own = database("postgresql://db/app?connect_timeout=3&application_name=x").parameters
    assert (own["connect_timeout"], own["application_name"]) == ("3", "x")


@pytest.mark.parametrize("password", ["s3cr3t", PASSWORD])
def test_the_password_is_in_no_text_and_no_argument_list(password: str) -> None:
    found = database(make_conninfo(host="db", dbname="app", user="me", password=password))
    assert found.password == password
    argv = pg_dump_arguments("/bin/pg_dump", found, "00000003-1", "UTF8")
    for text in (repr(found), str(found), found.conninfo, *argv):
        assert password not in text
        assert "password=" not in text
    assert "--no-password" in argv
    assert conninfo_to_dict(found.conninfo) == found.parameters


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_password_comes_through(password: str) -> None:
    found = database(make_conninfo(host="db", dbname="app", password=password))
    assert found.environment({})["PGPASSWORD"] == password
    assert asked(found) == {"host": "db", "dbname": "app"}


def test_a_program_gets_the_password_and_only_what_it_needs_of_the_environment() -> None:
    inherited = {
        "PATH": "/bin",
        "HOME": "/root",
        "LANG": "de_DE.UTF-8",
        "LC_TIME": "C",
        "TMPDIR": "/t",
        "PGSSLROOTCERT": "/ca.pem",
        "KRB5CCNAME": "/k",
        "PGSERVICE": "x",
        "PGHOST": "elsewhere",
        "PGOPTIONS": "-c statement_timeout=1",
        "DATABASE_URL": "postgresql://me:s3cr3t@db/app",
        "POSTGRES_PASSWORD": "s3cr3t",
        "AWS_SECRET_ACCESS_KEY": "s3cr3t",
        "PGBACKREST_REPO1_S3_KEY_SECRET": "s3cr3t",
        "PGADMIN_DEFAULT_PASSWORD": "s3cr3t",
        "PGPASSWORD": "another's",
        "PGTZ": "Mars",
        "LANGUAGE": "de",
        "LC_ALL": "de_DE.UTF-8",
        "LC_MESSAGES": "de_DE.UTF-8",
        "LD_PRELOAD": "x",
        "PYTHONPATH": "x",
    }
    before = dict(inherited)
    passed = {name: inherited[name] for name in list(inherited)[:10]}
    assert database().environment(inherited) == passed | OURS | {"PGPASSWORD": "s3cr3t"}
    assert database("postgresql://db/app").environment(inherited) == passed | OURS | {"PGPASSWORD": "another's"}
    assert inherited == before


def test_the_environment_of_this_process_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "disable")
    monkeypatch.setenv("LC_TIME", "C")
    assert database().environment({}) == OURS | {"PGPASSWORD": "s3cr3t"}


def test_a_database_is_a_value() -> None:
    assert database() == database()
    assert database() != database("postgresql://me:other@db.example:5433/app")
    with pytest.raises(AttributeError):
        database().name = "other"


@pytest.mark.parametrize(
    ("error", "typed"),
    [
        (psycopg.OperationalError('FATAL:  password authentication failed for user "me"'), BackupPermissionError),
        (psycopg.OperationalError('FATAL:  Peer authentication failed for user "me"'), BackupPermissionError),
        (psycopg.OperationalError('FATAL:  LDAP authentication failed for user "me"'), BackupPermissionError),
        (psycopg.OperationalError("fe_sendauth: no password supplied"), BackupPermissionError),
        (psycopg.OperationalError('FATAL:  no pg_hba.conf entry for host "h", user "me"'), BackupPermissionError),
        (psycopg.OperationalError('FATAL:  pg_hba.conf rejects connection for host "h"'), BackupPermissionError),
        (psycopg.OperationalError('FATAL:  role "me" does not exist'), BackupPermissionError),
        (psycopg.OperationalError('FATAL:  role "me" is not permitted to log in'), BackupPermissionError),
        (psycopg.OperationalError('FATAL:  permission denied for database "app"'), BackupPermissionError),
        (psycopg.errors.InsufficientPrivilege("permission denied for table t"), BackupPermissionError),
        (psycopg.OperationalError('FATAL:  database "app" does not exist'), DatabaseMissingError),
        (psycopg.errors.UndefinedTable('relation "t" does not exist'), BackupCreationError),
        (psycopg.OperationalError('connection to server at "db", port 1 failed'), ServerUnavailableError),
        (psycopg.errors.AdminShutdown("terminating connection"), ServerUnavailableError),
        (psycopg.OperationalError("server closed the connection\n\tunexpectedly"), ServerUnavailableError),
    ],
)
def test_a_drivers_error_becomes_ours_with_its_words_on_one_line(
    error: psycopg.Error, typed: type[BackupError]
) -> None:
    with pytest.raises(BackupError) as caught, database().translated():
        raise error
    assert type(caught.value) is typed
    assert caught.value.__cause__ is error
    assert " ".join(str(error).split()) in caught.value.message
    assert "app" in caught.value.message


def test_who_may_not_connect_is_told_the_grant() -> None:
    denied = psycopg.OperationalError(
        'FATAL:  permission denied for database "app"\nDETAIL:  User does not have CONNECT privilege.'
    )
    with pytest.raises(BackupPermissionError) as caught, Database.from_url("postgresql://me@db/app").translated():
        raise denied
    assert """psql -d postgres -c 'GRANT CONNECT ON DATABASE "app" TO "me"'""" in caught.value.hint


def test_another_error_passes_as_it_is() -> None:
    with pytest.raises(KeyError), database().translated():
        raise KeyError("mine")


def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    nowhere = database("postgresql://me:s3cr3t@127.0.0.1:1/app")
    with pytest.raises(ServerUnavailableError) as caught, nowhere.connect():
        pytest.fail("port 1 answers")
    assert "app" in caught.value.message
    assert caught.value.hint
    assert "s3cr3t" not in f"{caught.value!r}{caught.value.__cause__!r}"


def test_another_database_of_the_server_is_reached_in_the_same_way() -> None:
    database = Database.from_url("postgresql://me:secret@host:1234/live?sslmode=require")
    other = database.named("other's")
    assert (other.name, other.password) == ("other's", "secret")
    assert other.parameters == {**database.parameters, "dbname": "other's"}
    assert database.name == "live"


def test_settings_for_sessions_are_added_to_those_that_the_url_asks_for() -> None:
    database = Database.from_url("postgresql://me@host/live?options=-c%20geqo%3Doff")
    assert database.with_settings({}).parameters == database.parameters
    options = database.with_settings({"a": "x y\\z", "b": ""}).parameters["options"]
    assert options == "-c geqo=off -c a=x\\ y\\\\z -c b="
    assert Database.from_url("postgresql://me@host/live").with_settings({}).parameters.get("options") is None
