"""What a restore does not load or make though no function of users is called: the server's own look names up too."""

from __future__ import annotations

import uuid

import pytest

from app.errors import RestoreDataError
from app.ports.target import LoadOptions
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from tests.fix_archives import archive_of, target
from tests.fix_postgres import TestDatabase

NAMED = """
    CREATE TEXT SEARCH CONFIGURATION own (COPY = simple);
    CREATE TABLE looked (name text CHECK (to_regclass(name) IS NOT NULL),
        lang text CONSTRAINT lang CHECK (to_tsvector(lang::regconfig, 'a') IS NOT NULL));
    CREATE DOMAIN table_name AS text CHECK (VALUE IS NULL OR VALUE::regclass > 0);
    CREATE TABLE deep (names table_name[]);
    INSERT INTO looked VALUES ('looked', 'own'); INSERT INTO deep VALUES (ARRAY[NULL, 'looked']::table_name[])"""
# No path helps these.
LASTING = """
    CREATE TABLE offers (ends date CONSTRAINT future CHECK (ends > current_date - 7), n int CONSTRAINT positive
        CHECK (n > 0 AND now() IS NOT NULL));
    INSERT INTO offers VALUES (current_date, 1); ALTER TABLE offers DISABLE TRIGGER ALL;
    CREATE TABLE homes (id int CONSTRAINT home CHECK (current_database() <> 'elsewhere')); INSERT INTO homes VALUES (1);
    CREATE TYPE colour AS ENUM ('red', 'green');
    CREATE TYPE painted AS (at int, colours colour[]);
    CREATE TABLE things (p painted, c colour) PARTITION BY HASH (p);
    CREATE TABLE plain (c colour) PARTITION BY HASH (c);
    CREATE TABLE known (relation regclass); CREATE INDEX known_relation ON known (relation);
    INSERT INTO known VALUES ('known'), ('known_relation');
    CREATE TABLE unknown (relation regclass); INSERT INTO unknown VALUES ('known'), (NULL)"""
# As if time had passed.
LATER = """
    ALTER TABLE offers ADD CONSTRAINT past CHECK (ends > current_date + 1) NOT VALID;
    UPDATE pg_constraint SET conbin = (SELECT conbin FROM pg_constraint WHERE conname = 'past')
    WHERE conname = 'future'"""
FUNCTIONS = """
    CREATE FUNCTION helper(polygon, polygon) RETURNS bool LANGUAGE sql IMMUTABLE
        AS 'SELECT $1 OPERATOR(pg_catalog.&&) $2';
    CREATE FUNCTION hits(polygon, polygon) RETURNS bool LANGUAGE plpgsql IMMUTABLE
        AS 'BEGIN RETURN helper($1, $2); END';
    CREATE OPERATOR &&& (LEFTARG = polygon, RIGHTARG = polygon, FUNCTION = hits, COMMUTATOR = &&&);
    CREATE OPERATOR CLASS own_poly FOR TYPE polygon USING gist AS OPERATOR 3 &&&,
        FUNCTION 1 gist_poly_consistent(internal, polygon, smallint, oid, internal),
        FUNCTION 2 gist_box_union(internal, internal), FUNCTION 3 gist_poly_compress(internal),
        FUNCTION 5 gist_box_penalty(internal, internal, internal), FUNCTION 6 gist_box_picksplit(internal, internal),
        FUNCTION 7 gist_box_same(box, box, internal), STORAGE box;
    CREATE TABLE zones (p polygon, CONSTRAINT apart EXCLUDE USING gist (p own_poly WITH &&&));
    INSERT INTO zones VALUES ('((0,0),(1,0),(0,1))');
    CREATE FUNCTION inner_ok(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0';
    CREATE FUNCTION outer_ok(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE STRICT
        AS 'BEGIN RETURN inner_ok($1); END';
    CREATE DOMAIN second AS int CHECK (outer_ok(VALUE)); CREATE DOMAIN sixth AS int CHECK (outer_ok(VALUE));
    CREATE TYPE c1 AS (x sixth); CREATE TYPE c2 AS (x c1); CREATE TYPE c3 AS (x c2); CREATE TYPE c4 AS (x c3);
    CREATE TYPE c5 AS (x c4); CREATE TABLE far (e second[], d c5);
    INSERT INTO far VALUES (ARRAY[[NULL, NULL], [NULL, 5]]::second[], ROW(ROW(ROW(ROW(ROW(5)))))::c5)"""


def doubts_of(database: TestDatabase) -> dict[str, str]:
    return {each.name: str(each) for each in PostgresSource(Database.from_url(database.url)).doubts()}


def test_names_that_the_server_looks_up_are_found_by_a_path(empty_database: TestDatabase) -> None:
    empty_database.execute(NAMED)
    doubts = doubts_of(empty_database)
    assert set(doubts) == {
        "check looked_name_check of public.looked",
        "check lang of public.looked",
        "domain public.table_name",
    }
    assert all(said.endswith("restore it with --search-path public") for said in doubts.values())
    archive, facts = archive_of(empty_database)
    server, name = target(empty_database), f"shadow_{uuid.uuid4().hex[:8]}"
    for path in (None, "public"):
        server.create(name, facts)
        try:
            if path is None:
                with pytest.raises(RestoreDataError):
                    server.load(name, archive, LoadOptions(facts=facts), lambda _: None)
            else:
                server.load(name, archive, LoadOptions(facts=facts, search_path=path), lambda _: None)
                assert server.prove(name, archive, LoadOptions(facts=facts), lambda _: None) == []
        finally:
            server.drop(name)


def test_what_no_path_helps_is_said_with_what_does(empty_database: TestDatabase) -> None:
    empty_database.execute(f"{LASTING}; {LATER}")
    doubts = doubts_of(empty_database)
    assert set(doubts) == {
        "check future of public.offers",
        "partitions of public.things",
        "column public.known.relation",
    }
    psql = f"psql -d {empty_database.name} -c"
    assert f'{psql} \'ALTER TABLE "public"."offers" DROP CONSTRAINT future\'' in doubts["check future of public.offers"]
    assert doubts["column public.known.relation"].endswith(
        f'{psql} \'ALTER TABLE "public"."known" ALTER "relation" TYPE text\''
    )
    empty_database.execute(
        "ALTER TABLE homes DROP CONSTRAINT home; ALTER TABLE homes ADD CONSTRAINT here"
        f" CHECK (current_database() = '{empty_database.name}')"
    )
    assert "check here of public.homes" in doubts_of(empty_database)


def test_later_elements_deep_types_and_gist_exclusions_are_tried(empty_database: TestDatabase) -> None:
    empty_database.execute(FUNCTIONS)
    assert set(doubts_of(empty_database)) == {
        "domain public.second",
        "domain public.sixth",
        "exclusion constraint apart of public.zones",
    }
