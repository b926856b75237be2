"""A copy of the backup that is migrated belongs to the restore alone, and is gone when that ends, whatever happens."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import psycopg
import pytest

from app.domain.adaptation import ColumnRef, Filled, TableRef
from app.domain.restore import PREVIEW
from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreBusyError, RestoreMigrationError
from app.postgres.database import Database
from app.postgres.post_command import CommandPlace
from app.postgres.replace.databases import SCRATCH
from app.postgres.target import PostgresTarget
from tests.fix_postgres import TestDatabase

NAME = "x_preview_0123456789ab"
RUN = "import os, sys, psycopg; psycopg.connect(os.environ['DATABASE_URL'], autocommit=True).execute(sys.argv[1])"


def sql(statement: str) -> list[str]:
    """A program that runs a statement on the database of DATABASE_URL."""
    return [sys.executable, "-c", RUN, statement]


@pytest.fixture
def target(empty_database: TestDatabase) -> PostgresTarget:
    return PostgresTarget(Database.from_url(empty_database.url), commands=CommandPlace())


@pytest.fixture
def role(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """Another superuser."""
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE scratch_other SUPERUSER LOGIN PASSWORD 'x'")
        yield "scratch_other"
        connection.execute("DROP ROLE scratch_other")


def names(database: TestDatabase) -> list[str]:
    return [name for (name,) in database.query("SELECT datname FROM pg_database WHERE datname = %s", NAME)]


def test_what_a_command_made_is_told_by_numbers_that_names_do_not_change(
    target: PostgresTarget, empty_database: TestDatabase, postgres_server: EmbeddedPostgres
) -> None:
    with target.scratch(NAME, None) as scratch:
        copy = TestDatabase(NAME, postgres_server.url(NAME))
        copy.execute("CREATE TABLE t (a int PRIMARY KEY, b int, c int); CREATE TABLE u (a int)")
        made = scratch.migrate(
            sql(
                "ALTER TABLE t RENAME b TO bb; ALTER TABLE t ALTER c TYPE text, ADD d int;"
                " CREATE SCHEMA s; ALTER TABLE u SET SCHEMA s; ALTER TABLE s.u ADD e int; CREATE TABLE v (a int)"
            ),
            "--migrate",
        )
        columns = {ColumnRef(TableRef("public", "t"), "d"), ColumnRef(TableRef("s", "u"), "e")}
        assert made == Filled(frozenset(columns), frozenset({TableRef("public", "v")}))
        shut = "SELECT has_database_privilege('pg_monitor', %s, 'CONNECT')"
        assert empty_database.query(shut, NAME) == [(False,)]
        assert target.abandoned(PREVIEW) == []
        scratch.require_alone()
    assert names(empty_database) == []


def test_a_command_that_fails_ends_the_block_with_what_it_said(
    target: PostgresTarget, empty_database: TestDatabase
) -> None:
    words = f'--migrate on database {NAME}.*relation "nowhere" does not exist'
    refused = pytest.raises(RestoreMigrationError, match=re.compile(words, re.DOTALL))
    with refused, target.scratch(NAME, None) as scratch:
        scratch.migrate(sql("DELETE FROM nowhere"), "--migrate")
    assert names(empty_database) == []


def test_a_session_of_another_role_ends_the_restore(
    target: PostgresTarget, empty_database: TestDatabase, postgres_server: EmbeddedPostgres, role: str
) -> None:
    address = psycopg.conninfo.make_conninfo(postgres_server.url(NAME), user=role, password="x")
    refused = pytest.raises(RestoreBusyError, match=f"somebody else used the scratch database {NAME}: .* role {role}")
    with refused, target.scratch(NAME, None) as scratch, psycopg.connect(address):
        scratch.require_alone()
    assert names(empty_database) == []


def test_a_database_whose_process_is_gone_is_known_by_its_comment(
    target: PostgresTarget, empty_database: TestDatabase
) -> None:
    comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
    with target.scratch(NAME, None):
        assert empty_database.query(comment, NAME) == [(SCRATCH,)]
    empty_database.execute(f"CREATE DATABASE {NAME} TEMPLATE template0 STRATEGY FILE_COPY")
    try:
        assert target.abandoned(PREVIEW) == []  # somebody's own, of such a name
        empty_database.execute(f"COMMENT ON DATABASE {NAME} IS '{SCRATCH}'")
        assert target.abandoned(PREVIEW) == [NAME]
    finally:
        empty_database.execute(f"DROP DATABASE {NAME}")
