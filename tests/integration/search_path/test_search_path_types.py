"""Functions that no expression calls rely on search_path too: those that an index, a range or a key is compared by."""

from __future__ import annotations

import re
import uuid

import pytest

from app.archive.reader import Archive
from app.errors import RestoreDataError
from app.ports.target import LoadOptions
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from tests.fix_archives import archive_of, target
from tests.fix_postgres import TestDatabase

KEYS = """
    CREATE FUNCTION fold(v text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT lower(v) $$;
    CREATE FUNCTION compared(a text, b text) RETURNS int LANGUAGE plpgsql IMMUTABLE STRICT
        AS $$ BEGIN RETURN bttextcmp(fold(a), fold(b)); END $$;
    CREATE FUNCTION hashed(a text) RETURNS int LANGUAGE plpgsql IMMUTABLE STRICT
        AS $$ BEGIN RETURN hashtext(fold(a)); END $$;
    CREATE FUNCTION hashed(a text, seed bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT
        AS $$ BEGIN RETURN hashtext(fold(a)); END $$;
    CREATE FUNCTION below(a text, b text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT
        AS $$ BEGIN RETURN fold(a) < fold(b); END $$;
    CREATE FUNCTION gap(a text, b text) RETURNS float8 LANGUAGE plpgsql IMMUTABLE
        AS $$ BEGIN RETURN length(fold(a)) - length(fold(b)); END $$;
    CREATE OPERATOR <<< (LEFTARG = text, RIGHTARG = text, FUNCTION = below);
    CREATE OPERATOR CLASS sorted FOR TYPE text USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=,
        OPERATOR 5 >, FUNCTION 1 compared(text, text);
    CREATE OPERATOR CLASS hashed FOR TYPE text USING hash AS OPERATOR 1 =, FUNCTION 1 hashed(text),
        FUNCTION 2 hashed(text, bigint);
    CREATE OPERATOR CLASS ranged FOR TYPE text USING brin AS OPERATOR 1 <<<, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=,
        OPERATOR 5 >, FUNCTION 1 brin_minmax_opcinfo(internal),
        FUNCTION 2 brin_minmax_add_value(internal, internal, internal, internal),
        FUNCTION 3 brin_minmax_consistent(internal, internal, internal),
        FUNCTION 4 brin_minmax_union(internal, internal, internal);
    CREATE TABLE t (id int, name text, short varchar(9));
    CREATE INDEX i_sorted ON t ((short || '%s "x"') sorted, id) WHERE id > 3;
    CREATE INDEX i_hashed ON t USING hash (name hashed);
    CREATE INDEX i_ranged ON t USING brin (name ranged);
    CREATE TABLE hash_parts (v text) PARTITION BY HASH (v hashed);
    CREATE TABLE hash_0 PARTITION OF hash_parts FOR VALUES WITH (MODULUS 1, REMAINDER 0);
    CREATE TABLE range_parts (v text) PARTITION BY RANGE (v sorted);
    CREATE TABLE range_a PARTITION OF range_parts FOR VALUES FROM ('a') TO ('m');
    CREATE TABLE range_m PARTITION OF range_parts FOR VALUES FROM ('m') TO ('z');
    CREATE TYPE gaps AS RANGE (SUBTYPE = text, SUBTYPE_DIFF = gap);
    CREATE TABLE gappy (g gaps, gs gaps_multirange, UNIQUE (g));
    CREATE INDEX i_gap ON gappy USING gist (g);
    CREATE INDEX i_gaps ON gappy USING gist (gs);
    CREATE TYPE spans AS RANGE (SUBTYPE = text, SUBTYPE_OPCLASS = sorted);
    CREATE TYPE holds_spans AS (a int, "odd %s name" spans);
    CREATE TABLE spanned (h holds_spans);
    CREATE FUNCTION same(a text, b text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT
        AS $$ BEGIN RETURN fold(a) = fold(b); END $$;
    CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = same, COMMUTATOR = ===);
    CREATE OPERATOR CLASS same FOR TYPE text USING hash AS OPERATOR 1 ===, FUNCTION 1 hashtext(text);
    CREATE TABLE single (name text, CONSTRAINT once EXCLUDE USING hash (name same WITH ===));
    CREATE FUNCTION strictly(v text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE STRICT
        AS $$ BEGIN RETURN fold(v) <> ''; END $$;
    CREATE DOMAIN filled AS text CHECK (strictly(VALUE));
    CREATE TABLE many (fs filled[]);
    CREATE TABLE cast_to (v text, w text GENERATED ALWAYS AS (v::filled) STORED)"""
TYPES = """
    CREATE TYPE version AS (major int, minor int);
    CREATE FUNCTION number(v version) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT v.major * 1000 + v.minor $$;
    CREATE FUNCTION same(a version, b version) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
        AS $$ BEGIN RETURN number(a) = number(b); END $$;
    CREATE FUNCTION below(a version, b version) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
        AS $$ BEGIN RETURN number(a) < number(b); END $$;
    CREATE FUNCTION compared(a version, b version) RETURNS int LANGUAGE plpgsql IMMUTABLE
        AS $$ BEGIN RETURN btint4cmp(number(a), number(b)); END $$;
    CREATE OPERATOR = (LEFTARG = version, RIGHTARG = version, FUNCTION = same, COMMUTATOR = =);
    CREATE OPERATOR < (LEFTARG = version, RIGHTARG = version, FUNCTION = below);
    CREATE OPERATOR CLASS version_ops DEFAULT FOR TYPE version USING btree
        AS OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 compared(version, version);
    CREATE TABLE versions (v version PRIMARY KEY);
    CREATE TABLE refers (v version REFERENCES versions);
    CREATE TABLE lists (vs version[]);
    CREATE INDEX i_list ON lists (vs);
    CREATE INDEX i_gin ON lists USING gin (vs)"""
ROWS = """
    INSERT INTO t SELECT i, 'n' || i, 'n' || i FROM generate_series(1, 10) i;
    INSERT INTO hash_parts SELECT name FROM t; INSERT INTO range_parts SELECT name FROM t;
    INSERT INTO gappy SELECT gaps('a' || i, 'b' || i), gaps_multirange(gaps('a' || i, 'b' || i))
        FROM generate_series(1, 1000) i;
    INSERT INTO spanned VALUES (ROW(1, spans('a', 'b'))::holds_spans);
    INSERT INTO single SELECT name FROM t; INSERT INTO many VALUES ('{a,b}'); INSERT INTO cast_to VALUES ('a');
    INSERT INTO versions SELECT ROW(i, i)::version FROM generate_series(1, 10) i;
    INSERT INTO refers TABLE versions; INSERT INTO lists SELECT ARRAY[v, v] FROM versions"""
DOUBTFUL = {
    "domain public.filled calls public.strictly(text)",
    "exclusion constraint once of public.single calls public.same(text,text)",
    "foreign key refers_v_fkey of public.refers calls public.same(public.version,public.version)",
    "generated column public.cast_to.w calls public.strictly(text)",
    "index public.i_gap calls public.gap(text,text)",
    "index public.i_gaps calls public.gap(text,text)",
    "index public.i_gin calls public.compared(public.version,public.version)",
    "index public.i_hashed calls public.hashed(text), public.hashed(text,bigint)",
    "index public.i_list calls public.compared(public.version,public.version)",
    "index public.i_ranged calls public.below(text,text)",
    "index public.i_sorted calls public.compared(text,text)",
    "index public.versions_pkey calls public.compared(public.version,public.version)",
    "partitions of public.hash_parts calls public.hashed(text), public.hashed(text,bigint)",
    "partitions of public.range_parts calls public.compared(text,text)",
    "range type public.spans calls public.compared(text,text)",
}


def test_what_is_compared_by_functions_is_named_and_its_mending_mends_it(empty_database: TestDatabase) -> None:
    empty_database.execute(f"{KEYS}; {TYPES}; {ROWS}")
    doubts = doubts_of(empty_database)
    assert {doubt.partition(", which finds")[0] for doubt in doubts} == DOUBTFUL
    archive, _ = archive_of(empty_database)
    with pytest.raises(RestoreDataError, match=r"function .* relies on search_path: "):
        load(empty_database, archive)
    load(empty_database, archive, "public")
    for mending in {found for doubt in doubts for found in re.findall(r"ALTER FUNCTION .*?= public(?=;)", doubt)}:
        empty_database.execute(mending)
    assert doubts_of(empty_database) == []
    load(empty_database, archive_of(empty_database)[0])


def test_an_aggregate_over_a_moving_frame_calls_functions_of_its_own(empty_database: TestDatabase) -> None:
    """The server fills a materialized view without a search_path since 17: so the function changes afterwards."""
    empty_database.execute("""
        CREATE FUNCTION inner_one(v int) RETURNS int LANGUAGE sql IMMUTABLE AS $$ SELECT v $$;
        CREATE FUNCTION plus(a int, b int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN a + b; END $$;
        CREATE FUNCTION minus(a int, b int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN a - b; END $$;
        CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0',
            MSFUNC = plus, MINVFUNC = minus, MSTYPE = int, MINITCOND = '0');
        CREATE TABLE t (a int); INSERT INTO t SELECT generate_series(1, 9);
        CREATE MATERIALIZED VIEW moving AS SELECT total(a) OVER (ORDER BY a ROWS 1 PRECEDING) FROM t;
        CREATE OR REPLACE FUNCTION plus(a int, b int) RETURNS int LANGUAGE plpgsql IMMUTABLE
            AS $$ BEGIN RETURN a + inner_one(b); END $$""")
    (doubt,) = doubts_of(empty_database)
    assert doubt.startswith("materialized view public.moving calls")
    assert "public.plus(integer,integer)" in doubt


def test_each_table_is_named_and_rows_all_over_it_are_tried(empty_database: TestDatabase) -> None:
    """Tables may say the same, and only some rows call the function; one that was not looked at is not looked at."""
    empty_database.execute("""
        CREATE FUNCTION inner_one(v text) RETURNS boolean LANGUAGE sql AS $$ SELECT v <> '' $$;
        CREATE FUNCTION sometimes(v text) RETURNS boolean LANGUAGE plpgsql
            AS $$ BEGIN RETURN CASE WHEN v = 'rare' THEN inner_one(v) ELSE v = 'usual' END; END $$;
        CREATE TABLE one (name text CHECK (sometimes(name)));
        CREATE TABLE other (name text CHECK (sometimes(name)));
        CREATE TABLE unseen (name text CHECK (sometimes(name)));
        INSERT INTO one SELECT CASE WHEN i < 20000 THEN 'usual' ELSE 'rare' END FROM generate_series(1, 30000) i;
        INSERT INTO other VALUES ('rare'); INSERT INTO unseen VALUES ('rare');
        ALTER TABLE unseen DROP CONSTRAINT unseen_name_check;
        ALTER TABLE unseen ADD CONSTRAINT later CHECK (sometimes(name)) NOT VALID""")
    named = {doubt.partition(" calls ")[0] for doubt in doubts_of(empty_database)}
    assert named == {"check one_name_check of public.one", "check other_name_check of public.other"}


def test_a_function_of_others_is_not_taken_for_the_servers_own(empty_database: TestDatabase) -> None:
    """What fails is tried under the database's path too: there a function may stand before the server's own."""
    empty_database.execute(f"""
        CREATE FUNCTION planted(v text) RETURNS text LANGUAGE plpgsql
            AS $$ BEGIN RAISE undefined_table USING MESSAGE = 'planted'; END $$;
        CREATE FUNCTION inner_one(v text) RETURNS text LANGUAGE sql AS $$ SELECT v $$;
        CREATE FUNCTION outer_one(v text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN inner_one(v); END $$;
        CREATE TABLE t (name varchar CHECK (outer_one(lower(name)) = 'a'));
        INSERT INTO t VALUES ('a');
        ALTER FUNCTION planted RENAME TO lower;
        ALTER DATABASE {empty_database.name} SET search_path = public, pg_catalog""")
    (doubt,) = doubts_of(empty_database)
    assert "which finds what it names by search_path alone" in doubt


def doubts_of(database: TestDatabase) -> list[str]:
    return [str(doubt) for doubt in PostgresSource(Database.from_url(database.url)).doubts()]


def load(database: TestDatabase, archive: Archive, path: str | None = None) -> None:
    server = target(database)
    shadow = f"shadow_{uuid.uuid4().hex[:8]}"
    server.create(shadow, None)
    try:
        server.load(shadow, archive, LoadOptions(facts=None, search_path=path), lambda _: None)
    finally:
        server.drop(shadow)
