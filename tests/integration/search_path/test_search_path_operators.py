"""Operators of extensions that a dump has no way to write: IS DISTINCT FROM, NULLIF, CASE and JOIN USING."""

from __future__ import annotations

import shlex
import uuid

import pytest

from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreDataError
from app.ports.target import LoadOptions
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from tests.fix_archives import archive_of, database, target
from tests.fix_postgres import TestDatabase

BY_NAME = """
    CREATE EXTENSION citext; CREATE SCHEMA "Own"; CREATE EXTENSION hstore SCHEMA "Own";
    CREATE TABLE people (id int PRIMARY KEY, email citext CONSTRAINT nobody CHECK (email IS DISTINCT FROM 'root'),
        own citext GENERATED ALWAYS AS (NULLIF(email, 'none')) STORED);
    CREATE TABLE sent (email citext, n int);
    INSERT INTO people VALUES (1, 'A@b.c'), (2, 'None'); INSERT INTO sent VALUES ('a@B.c', 1);
    CREATE INDEX people_own ON people ((NULLIF(email, 'none')));
    CREATE VIEW cased AS SELECT CASE email WHEN 'a@b.c' THEN 'a' ELSE 'b' END AS who FROM people;
    CREATE VIEW joined AS SELECT id, n FROM people JOIN sent USING (email);
    CREATE FUNCTION same(a citext, b citext) RETURNS boolean BEGIN ATOMIC SELECT a IS NOT DISTINCT FROM b; END;
    CREATE POLICY others ON people USING (email IS DISTINCT FROM 'admin')"""
UNMADE = """
    SET search_path = public, "Own";
    CREATE TABLE bags (h hstore); INSERT INTO bags VALUES ('a=>1');
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER touched BEFORE UPDATE ON bags FOR EACH ROW WHEN (OLD.h IS DISTINCT FROM NEW.h)
        EXECUTE FUNCTION touch()"""
# The operators that these compare by are the server's own, or are written with their schema.
SOUND = """
    CREATE VIEW sound AS SELECT h = 'a=>1'::hstore AS same, CASE WHEN h = 'b=>1'::hstore THEN 1 END AS other,
        CASE 'x'::text WHEN 'y' THEN 1 END AS text, NULLIF(h -> 'a', 'b') AS value
    FROM bags WHERE h ? 'a' IS DISTINCT FROM false"""
PATH = 'public, "Own"'
NAMED = {
    "constraint nobody on table public.people",
    "default value for column own of table public.people",
    "function public.same(public.citext,public.citext)",
    "index public.people_own",
    "policy others on table public.people",
    "trigger touched on table public.bags",
    "view public.cased",
    "view public.joined",
}


def test_operators_that_rely_on_search_path_are_named_and_restored_by_a_path(
    empty_database: TestDatabase, postgres_server: EmbeddedPostgres
) -> None:
    empty_database.execute(BY_NAME)
    archive, facts = archive_of(empty_database)
    server, name = target(empty_database), f"shadow_{uuid.uuid4().hex[:8]}"
    # There is one that fits in the server's own schema, and it is another one.
    server.create(name, facts)
    try:
        server.load(name, archive, LoadOptions(facts=facts), lambda _: None)
        (remark,) = server.prove(name, archive, LoadOptions(facts=facts), lambda _: None)
        assert "differ from the backup" in remark
        assert remark.endswith("may give other results now: restore with --search-path")
        assert database(postgres_server, name).query("SELECT who FROM cased") == [("b",), ("b",)]
    finally:
        server.drop(name)

    empty_database.execute(f"{UNMADE}; {SOUND}")
    doubts = PostgresSource(Database.from_url(empty_database.url)).doubts()
    assert {doubt.name for doubt in doubts} == NAMED
    assert all(str(doubt).endswith(f"restore it with --search-path {shlex.quote(PATH)}") for doubt in doubts)
    archive, facts = archive_of(empty_database)
    for path in (None, PATH):
        server.create(name, facts)
        try:
            if path is None:
                with pytest.raises(RestoreDataError, match="operator does not exist") as failed:
                    server.load(name, archive, LoadOptions(facts=facts), lambda _: None)
                assert "--search-path public" in (failed.value.hint or "")
            else:
                server.load(name, archive, LoadOptions(facts=facts, search_path=path), lambda _: None)
                assert server.prove(name, archive, LoadOptions(facts=facts), lambda _: None) == []
                there = database(postgres_server, name)
                assert there.query("SELECT who FROM cased ORDER BY 1") == [("a",), ("b",)]
                assert there.query("SELECT id, n FROM joined") == [(1, 1)]
        finally:
            server.drop(name)
    server.replace_in_place(archive, facts, lambda _: None, PATH)
    assert empty_database.query("SELECT id, own FROM people ORDER BY 1") == [(1, "A@b.c"), (2, None)]
