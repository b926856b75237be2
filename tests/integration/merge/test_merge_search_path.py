"""What belongs to a live table finds in a merge what it finds in the database's own sessions; only it does."""

from __future__ import annotations

import pytest

from app.domain.changes import Changes, SampleKind
from tests.fix_merge import archive_of, beside, merge, request, undo
from tests.fix_postgres import TestDatabase

# Functions that name others without their schema: in a generated column, a check, an index, a domain, a partition.
TABLES = """
    CREATE FUNCTION public.hex(b bytea) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT encode(b, 'hex') $$;
    CREATE FUNCTION public.hex(v text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT hex(convert_to(v, 'UTF8')) $$;
    CREATE FUNCTION public.fold(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT
        AS $$ BEGIN RETURN lower(hex(v)); END $$;
    CREATE TABLE public.codes (code text PRIMARY KEY);
    INSERT INTO public.codes VALUES ('a'), ('b');
    CREATE FUNCTION public.known(v text) RETURNS boolean LANGUAGE plpgsql STABLE
        AS $$ BEGIN RETURN EXISTS (SELECT 1 FROM codes WHERE code = v); END $$;
    CREATE DOMAIN public.folded AS text CHECK (public.fold(VALUE) <> '');
    CREATE TABLE public.items (id int PRIMARY KEY, name public.folded, code text CHECK (public.known(code)),
        short text GENERATED ALWAYS AS (public.hex(name)) STORED,
        slug text GENERATED ALWAYS AS (public.fold(name)) STORED);
    CREATE UNIQUE INDEX items_name ON public.items (public.fold(name)) WHERE public.fold(code) <> 'x';
    INSERT INTO public.items VALUES (1, 'one', 'a'), (2, 'two', 'b'), (3, 'three', 'a'), (4, 'four', 'b')"""
ROWS = "SELECT * FROM public.items ORDER BY id"


def planned_and_done(database: TestDatabase, change: str, **wanted: object) -> tuple[Changes, bytes]:
    """What a merge did after a change, which its preview said."""
    archive = archive_of(database)
    database.execute(change)
    with beside(database, archive, request(**wanted)) as found:  # type: ignore[arg-type]
        preview = found.preview()
    done, inverse = merge(database, archive, request(**wanted))  # type: ignore[arg-type]
    assert (preview.tables, preview.notes) == (done.tables, done.notes)
    return done, inverse


@pytest.mark.parametrize("exact", [False, True], ids=["merge", "replace"])
def test_rows_come_back_to_functions_that_rely_on_search_path(empty_database: TestDatabase, *, exact: bool) -> None:
    empty_database.execute(TABLES)
    before = empty_database.query(ROWS)
    change = (
        "DELETE FROM items WHERE id = 1; UPDATE items SET name = 'else' WHERE id = 2;"
        "INSERT INTO items VALUES (9, 'three2', 'a')"
    )
    spoilt_by = "UPDATE items SET name = CASE id WHEN 3 THEN 'four2' ELSE name END"
    done, inverse = planned_and_done(empty_database, f"{change}; {spoilt_by}", tables=["items"], exact=exact)
    assert (done.total("inserted"), done.total("updated"), done.total("blocked")) == (1, 2, 0)
    after = empty_database.query(ROWS)
    assert [row for row in after if row[0] != 9] == before
    undo(empty_database, inverse)
    assert [row[:2] for row in empty_database.query(ROWS)] == [(2, "else"), (3, "four2"), (4, "four"), (9, "three2")]
    merge(empty_database, archive_of(empty_database), request())


def test_what_the_index_and_the_check_refuse_is_known_beforehand(empty_database: TestDatabase) -> None:
    empty_database.execute(TABLES)
    change = (
        "DELETE FROM items; INSERT INTO items VALUES (9, 'one', 'a');"
        "DELETE FROM codes WHERE code = 'b'; ALTER TABLE codes ADD CHECK (code <> 'b')"
    )
    done, _ = planned_and_done(empty_database, change)
    blocked = {each.key.get("id"): each.kind for each in done.samples if each.table == "public.items"}
    assert blocked == {"1": SampleKind.UNIQUE, "2": SampleKind.CHECK, "4": SampleKind.CHECK, "3": SampleKind.INSERTED}


def test_a_condition_finds_what_the_role_finds(empty_database: TestDatabase) -> None:
    empty_database.execute(
        f"{TABLES}; CREATE SCHEMA mine; CREATE FUNCTION mine.wanted(v text) RETURNS boolean LANGUAGE sql IMMUTABLE"
        " AS $$ SELECT v LIKE 't%' $$;"
        f'ALTER DATABASE "{empty_database.name}" SET search_path = mine, public'
    )
    done, _ = planned_and_done(empty_database, "DELETE FROM public.items", tables=["items"], where="wanted(name)")
    assert done.total("inserted") == 2


# What stands before the server's own names, or fits better than they do.
HIJACK = """
    CREATE SCHEMA evil;
    CREATE FUNCTION evil.no(varchar, varchar) RETURNS boolean LANGUAGE sql AS $$ SELECT 1 / 0 = 0 $$;
    CREATE FUNCTION evil.no(tid, tid) RETURNS boolean LANGUAGE sql AS $$ SELECT 1 / 0 = 0 $$;
    CREATE FUNCTION evil.no(bigint, integer) RETURNS boolean LANGUAGE sql AS $$ SELECT 1 / 0 = 0 $$;
    CREATE FUNCTION evil.no(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT 1 / 0 = 0 $$;
    CREATE OPERATOR evil.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = evil.no);
    CREATE OPERATOR evil.= (LEFTARG = tid, RIGHTARG = tid, FUNCTION = evil.no);
    CREATE OPERATOR evil.> (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = evil.no);
    CREATE OPERATOR evil.> (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = evil.no);
    CREATE OPERATOR evil.> (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.no);
    CREATE FUNCTION evil.row_number() RETURNS bigint LANGUAGE sql AS $$ SELECT 1 / 0::bigint $$;
    CREATE DOMAIN evil.record AS pg_catalog.int4;
    CREATE DOMAIN evil.tid AS pg_catalog.int4;
    CREATE FUNCTION evil.no("char", "char") RETURNS boolean LANGUAGE sql AS $$ SELECT 1 / 0 = 0 $$;
    CREATE OPERATOR evil.<> (LEFTARG = "char", RIGHTARG = "char", FUNCTION = evil.no);
    CREATE FUNCTION public.seen() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
    CREATE EVENT TRIGGER seen ON sql_drop EXECUTE FUNCTION public.seen()"""


def test_what_the_path_leads_to_first_is_never_ours(empty_database: TestDatabase) -> None:
    """Names of our own mean the server's, though the path have others before."""
    empty_database.execute(
        "CREATE EXTENSION citext WITH SCHEMA public;"
        "CREATE TABLE people (mail public.citext PRIMARY KEY, kind varchar(9) UNIQUE NULLS NOT DISTINCT,"
        " at varchar(9));"
        "INSERT INTO people VALUES ('A@x', 'a', '1'), ('b@x', 'b', '1'), ('c@x', 'c', '1'), ('n@x', NULL, '1');"
        "CREATE TABLE posts (id serial PRIMARY KEY, mail public.citext REFERENCES people, n int CHECK (n > 0));"
        "INSERT INTO posts (mail, n) SELECT mail, 1 FROM people;"
        "CREATE TABLE log (said text, n numeric); INSERT INTO log VALUES ('a', 1), ('a', 1), ('b', 2);"
        "CREATE TABLE parts (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);"
        "CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (9); ALTER TABLE parts_1 ADD CHECK (v < 5);"
        "INSERT INTO parts VALUES (1, 1), (2, 2)"
    )
    tables = ("people", "posts", "log", "parts")
    whole = [empty_database.query(f"SELECT t::text FROM public.{table} t ORDER BY 1") for table in tables]
    archive = archive_of(empty_database)
    empty_database.execute(
        "DELETE FROM posts; DELETE FROM people WHERE kind = 'b' OR kind IS NULL; UPDATE people SET mail = 'a@X',"
        " at = '0' WHERE kind = 'a'; DELETE FROM log; INSERT INTO log VALUES ('a', 1); DELETE FROM parts"
        " WHERE id = 1;"
        f'{HIJACK}; ALTER DATABASE "{empty_database.name}" SET search_path = evil, pg_catalog, public'
    )
    damaged = [empty_database.query(f"SELECT t::pg_catalog.text FROM public.{table} t ORDER BY 1") for table in tables]
    with beside(empty_database, archive, request("newest:at")) as found:
        preview = found.preview()
    done, inverse = merge(empty_database, archive, request("newest:at"))
    assert preview == done
    assert not done.total("blocked")
    now = [empty_database.query(f"SELECT t::pg_catalog.text FROM public.{table} t ORDER BY 1") for table in tables]
    assert now == whole
    undo(empty_database, inverse)
    now = [empty_database.query(f"SELECT t::pg_catalog.text FROM public.{table} t ORDER BY 1") for table in tables]
    assert now == damaged
    done, _ = merge(empty_database, archive, request(tables=["people", "posts"], exact=True))
    assert done.total("inserted") == 6
