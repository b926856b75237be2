"""What a file leaves behind as search_path is not what this service asks by: its functions could answer."""

from __future__ import annotations

from app.ports.target import LoadOptions
from tests.fix_archives import foreign, target
from tests.fix_postgres import TestDatabase

# As pg_dump before 10.3 wrote it: the path stands, and the functions fit the words of the questions better.
FILE = b"""--
-- PostgreSQL database dump
--
SET search_path = public, pg_catalog;
CREATE TABLE t (id integer);
CREATE FUNCTION pg_table_size(oid) RETURNS bigint LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'the function of the file was asked'; END $$;
CREATE FUNCTION to_regclass(varchar) RETURNS regclass LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'the function of the file was asked'; END $$;
CREATE FUNCTION format(text, name, name) RETURNS text LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'the function of the file was asked'; END $$;
COPY public.t (id) FROM stdin;
1
\\.
--
-- PostgreSQL database dump complete
--

"""


def test_a_load_asks_in_its_own_words(empty_database: TestDatabase) -> None:
    target(empty_database).load(empty_database.name, foreign(FILE), LoadOptions(facts=None), lambda _: None)
    assert empty_database.query("SELECT reltuples FROM pg_class WHERE relname = 't'") == [(1,)]


def test_a_replace_in_place_asks_in_its_own_words(empty_database: TestDatabase) -> None:
    target(empty_database).replace_in_place(foreign(FILE), None, lambda _: None)
    assert empty_database.query("SELECT id FROM t") == [(1,)]
