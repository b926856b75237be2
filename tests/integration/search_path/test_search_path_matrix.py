"""What only servers before PostgreSQL 17 let rely on search_path, indexes and materialized views of SQL functions."""

from __future__ import annotations

import uuid

import pytest

from app.errors import RestoreDataError
from app.ports.target import LoadOptions
from app.postgres.database import Database
from app.postgres.dump import ranges
from app.postgres.dump.source import PostgresSource
from tests.fix_archives import archive_of, target
from tests.fix_matrix import EMBEDDED, at_home, running_major
from tests.fix_merge import archive_of as archive_to_merge
from tests.fix_merge import merge, request, undo
from tests.fix_postgres import TestDatabase
from tests.tiers import majors

OLD = """
    CREATE FUNCTION hex(v text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT encode(v::bytea, 'hex') $$;
    CREATE FUNCTION plain(v text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT hex(v) $$;
    CREATE TABLE people (id int PRIMARY KEY, name text);
    INSERT INTO people SELECT i, 'name ' || i FROM generate_series(1, 20000) i;
    CREATE UNIQUE INDEX people_plain ON people (plain(name));
    CREATE FUNCTION all_people() RETURNS SETOF people LANGUAGE sql STABLE AS $$ SELECT * FROM people $$;
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM all_people();
    CREATE MATERIALIZED VIEW words AS
        SELECT word FROM ts_stat('SELECT to_tsvector(''simple'', name) FROM people WHERE id < 9')"""
NEW = """
    CREATE FUNCTION hex(v text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT encode(v::bytea, 'hex') $$;
    CREATE FUNCTION plain(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN hex(v); END $$;
    CREATE TABLE people (id int PRIMARY KEY, name text);
    CREATE UNIQUE INDEX people_plain ON people (plain(name));
    INSERT INTO people SELECT i, 'name ' || i FROM generate_series(1, 20000) i"""
# Before PostgreSQL 15 the column itself depends on the function.
MADE = """
    CREATE TABLE made (v text, w text GENERATED ALWAYS AS (plain(v)) STORED);
    INSERT INTO made VALUES ('a');
    CREATE EXTENSION citext;
    CREATE TABLE mails (c citext, d citext GENERATED ALWAYS AS (NULLIF(c, 'a')) STORED)"""
FIRST_THAT_SETS_ITS_OWN = 17


@pytest.mark.parametrize("number", majors())
def test_expressions_that_rely_on_search_path_are_named_restored_and_merged(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_major(number) as major, major.database("relying") as database:
        if number != EMBEDDED:
            at_home(major, monkeypatch)
        for name, value in {"LARGE_BYTES": 1, "MANY_BYTES": 1, "RANGE_BYTES": 64 << 10}.items():
            monkeypatch.setattr(ranges, name, value)  # the reading of a range is planned, of a whole table not
        old = number < FIRST_THAT_SETS_ITS_OWN
        database.execute(f"{OLD if old else NEW}; {MADE}")
        with database.connect() as connection:
            connection.autocommit = True
            connection.execute("VACUUM ANALYZE" if old else "VACUUM")
        *named, generated = sorted(doubts_of(database), key=lambda name: "public.mails" in name)
        assert generated.endswith("column d of table public.mails")
        assert sorted(named) == [
            "generated column public.made.w",
            "index public.people_plain",
            *(["materialized view public.counted", "materialized view public.words"] if old else []),
        ]
        archive, facts = archive_of(database)
        server = target(database)
        for path in (None, "public"):
            shadow = f"shadow_{uuid.uuid4().hex[:8]}"
            server.create(shadow, facts)
            try:
                if path is None:
                    with pytest.raises(RestoreDataError, match="relies on search_path"):
                        server.load(shadow, archive, LoadOptions(facts=facts), lambda _: None)
                else:
                    server.load(shadow, archive, LoadOptions(facts=facts, search_path=path), lambda _: None)
                    assert server.prove(shadow, archive, LoadOptions(facts=facts), lambda _: None) == []
            finally:
                server.drop(shadow)
        merged_and_undone(database)


def doubts_of(database: TestDatabase) -> list[str]:
    return [doubt.name for doubt in PostgresSource(Database.from_url(database.url)).doubts()]


def merged_and_undone(database: TestDatabase) -> None:
    archive = archive_to_merge(database)
    database.execute("DELETE FROM people WHERE id <= 10; INSERT INTO people VALUES (0, 'name 10')")
    done, inverse = merge(database, archive, request())
    assert (done.total("inserted"), done.total("blocked")) == (9, 1)
    undo(database, inverse)
    assert database.query("SELECT count(*) FROM people WHERE id <= 10") == [(1,)]
