"""Sequences of chosen tables: whoever draws from them, the next INSERT works after a restore, and after its undo."""

from __future__ import annotations

import psycopg
import pytest

from tests.fix_merge import archive_of, beside, merge, request, undo
from tests.fix_postgres import TestDatabase
from tests.tiers import pairs

ROWS = "SELECT 'r' || i FROM generate_series(1, 50) i"
# How 50 rows of t(id, v) got their ids from the sequence s, and with that of what it is restored.
DRAWN = {
    "a default": "CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s'), v text)",
    "a default that names it as text": """
        CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('public.s'::text::regclass), v text)""",
    "a default of a function": """
        CREATE FUNCTION next_s() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN nextval('s'); END $$;
        CREATE TABLE t (id int PRIMARY KEY DEFAULT next_s(), v text)""",
    "a function that the server has parsed": """
        CREATE FUNCTION next_s() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT nextval('s')::int; END;
        CREATE TABLE t (id int PRIMARY KEY DEFAULT next_s(), v text)""",
    "a domain": """
        CREATE DOMAIN number AS int DEFAULT nextval('s'); CREATE DOMAIN numbers AS number;
        CREATE TABLE t (id numbers PRIMARY KEY, v text)""",
    "a trigger": """
        CREATE TABLE t (id int PRIMARY KEY, v text);
        CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN new.id := nextval('public.s'::regclass); RETURN new; END $$;
        CREATE TRIGGER fill BEFORE INSERT ON t FOR EACH ROW WHEN (new.id IS NULL) EXECUTE FUNCTION fill()""",
    "a partitioned table": """
        CREATE TABLE t (id int DEFAULT nextval('s'), v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (-100) TO (40); CREATE TABLE t2 PARTITION OF t DEFAULT""",
    "a partition": """
        CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE t1 PARTITION OF t DEFAULT;
        ALTER TABLE t1 ALTER id SET DEFAULT nextval('s'); CREATE VIEW w AS SELECT * FROM t1""",
    "a table that inherits": """
        CREATE TABLE above (id int DEFAULT nextval('s'), v text); CREATE TABLE t (PRIMARY KEY (id)) INHERITS (above)""",
    "a rule of a view": """
        CREATE TABLE t (id int PRIMARY KEY, v text); CREATE VIEW w AS SELECT id, v FROM t;
        CREATE RULE fill AS ON INSERT TO w DO INSTEAD INSERT INTO t VALUES (nextval('s'), new.v) RETURNING id, v""",
}


def next_row(database: TestDatabase, table: str = "t") -> int:
    """The id of a row that comes now."""
    return int(database.query(f"INSERT INTO {table} (v) VALUES ('next') RETURNING id")[0][0])


@pytest.mark.parametrize(("by", "mode"), pairs(list(DRAWN), ["merge", "replace"]))
def test_what_rows_of_a_chosen_table_draw_from_goes_on(empty_database: TestDatabase, by: str, mode: str) -> None:
    make = DRAWN[by]
    into = "w" if "VIEW w" in make else "t"
    empty_database.execute(f"CREATE SEQUENCE s; {make}; INSERT INTO {into} (v) {ROWS}")
    archive = archive_of(empty_database)
    empty_database.execute("DELETE FROM t; ALTER SEQUENCE s RESTART")
    wanted = request(tables=["t"], exact=mode == "replace")
    with beside(empty_database, archive, wanted) as found:
        preview = found.preview()
    done, _ = merge(empty_database, archive, wanted)
    assert preview.notes == done.notes
    assert [note for note in done.notes if "sequence" in note] == ["sequence public.s goes on from 51"]
    assert next_row(empty_database, into) == 51


def test_a_descending_one_an_identity_and_a_shared_one_go_on(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE SEQUENCE down INCREMENT -1 MAXVALUE -1 MINVALUE -1000 START -1; CREATE SEQUENCE shared CACHE 20;"
        "CREATE TABLE a (id int PRIMARY KEY DEFAULT nextval('down'), v text);"
        "CREATE TABLE b (id int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, v text);"
        "CREATE TABLE c (id int PRIMARY KEY DEFAULT nextval('shared'), v text);"
        "CREATE TABLE d (id int PRIMARY KEY DEFAULT nextval('shared'), v text);"
        f"INSERT INTO a (v) {ROWS}; INSERT INTO b (v) {ROWS}; INSERT INTO c (v) {ROWS}; INSERT INTO d (v) {ROWS}"
    )
    archive = archive_of(empty_database)
    empty_database.execute("TRUNCATE a, b, c RESTART IDENTITY; ALTER SEQUENCE down RESTART")
    merge(empty_database, archive, request(tables=["a", "b", "c"]))
    assert [next_row(empty_database, table) for table in "abcd"] == [-51, 51, 101, 121]


def test_sequences_of_other_tables_stay(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE SEQUENCE s; CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s'), v text);"
        "CREATE TABLE other (id serial PRIMARY KEY, v text);"
        f"INSERT INTO t (v) {ROWS}; INSERT INTO other (v) {ROWS}"
    )
    archive = archive_of(empty_database)
    empty_database.execute("TRUNCATE t, other RESTART IDENTITY; ALTER SEQUENCE s RESTART")
    done, _ = merge(empty_database, archive, request(tables=["other"]))
    assert list(done.notes) == ["sequence public.other_id_seq goes on from 51"]
    assert next_row(empty_database) == 1


def test_a_sequence_that_cannot_be_told_is_said_to_stay(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE SEQUENCE t_seq; CREATE TABLE t (id int PRIMARY KEY, v text);"
        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN new.id := nextval(tg_table_name || '_seq'); RETURN new; END $$;"
        "CREATE TRIGGER fill BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION fill()"
    )
    archive = archive_of(empty_database)
    done, _ = merge(empty_database, archive, request(tables=["t"]))
    told = "public.t: trigger fill calls public.fill, which draws from a sequence that it names as text"
    assert f"{told}; that sequence is not changed" in done.notes


def test_a_sequence_that_the_backup_has_not_is_said_to_stay(empty_database: TestDatabase) -> None:
    empty_database.execute(f"CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) {ROWS}")
    archive = archive_of(empty_database)
    empty_database.execute("DELETE FROM t; ALTER SEQUENCE t_id_seq RENAME TO renamed")
    done, _ = merge(empty_database, archive, request(tables=["t"]))
    renamed = "sequence public.renamed, which public.t uses, is not changed, because the backup has none"
    assert any(note.startswith(renamed) for note in done.notes)
    whole, _ = merge(empty_database, archive, request())
    assert "sequence public.t_id_seq is not in the live database" in whole.notes


def test_one_that_is_used_up_is_used_up_again(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE SEQUENCE s MAXVALUE 50; CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s'), v text);"
        f"INSERT INTO t (v) {ROWS}"
    )
    archive = archive_of(empty_database)
    empty_database.execute("DELETE FROM t; ALTER SEQUENCE s RESTART")
    done, _ = merge(empty_database, archive, request(tables=["t"]))
    assert "sequence public.s is exhausted, as it was in the backup" in done.notes
    with pytest.raises(psycopg.errors.SequenceGeneratorLimitExceeded):
        next_row(empty_database)


def test_one_with_other_limits_by_now_stays_and_is_told_of(empty_database: TestDatabase) -> None:
    empty_database.execute(
        f"CREATE SEQUENCE s; CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s'), v text);INSERT INTO t (v) {ROWS}"
    )
    archive = archive_of(empty_database)
    empty_database.execute("DELETE FROM t; ALTER SEQUENCE s RESTART MAXVALUE 20")
    done, _ = merge(empty_database, archive, request(tables=["t"]))
    assert (
        "sequence public.s is not changed, because its values are between 1 and 20; its next value in the backup is 51"
        in done.notes
    )
    assert empty_database.query("SELECT nextval('s')") == [(1,)]


def test_a_replace_gives_the_sequence_of_its_table_back_and_its_undo_brings_it_forward(
    empty_database: TestDatabase,
) -> None:
    empty_database.execute(f"CREATE TABLE t (id smallserial PRIMARY KEY, v text); INSERT INTO t (v) {ROWS}")
    archive = archive_of(empty_database)
    empty_database.execute("SELECT setval('t_id_seq', 32767); INSERT INTO t VALUES (32767, 'a bad import')")
    wanted = request(tables=["t"], exact=True)
    done, inverse = merge(empty_database, archive, wanted)
    assert "sequence public.t_id_seq goes back, and goes on from 51" in done.notes
    assert next_row(empty_database) == 51
    empty_database.execute("DELETE FROM t WHERE id = 51")
    undo(empty_database, inverse)
    assert empty_database.query("SELECT last_value, is_called FROM t_id_seq") == [(32767, True)]


@pytest.mark.parametrize(
    "other",
    [
        "CREATE TABLE other (id int DEFAULT nextval('s'))",
        "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS $$ SELECT nextval('s') $$",
        "CREATE FUNCTION f(text) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN nextval($1); END $$",
    ],
)
def test_a_sequence_that_others_draw_from_never_goes_back(empty_database: TestDatabase, other: str) -> None:
    empty_database.execute(
        f"CREATE SEQUENCE s; CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s'), v text); {other};"
        f"INSERT INTO t (v) {ROWS}"
    )
    archive = archive_of(empty_database)
    empty_database.execute("SELECT setval('s', 70)")
    done, _ = merge(empty_database, archive, request(tables=["t"], exact=True))
    assert "sequence public.s is not set back: other tables draw from it, or may" in done.notes
    assert next_row(empty_database) == 71


def test_a_merge_that_fails_leaves_sequences_where_they_were(empty_database: TestDatabase) -> None:
    empty_database.execute(f"CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) {ROWS}")
    archive = archive_of(empty_database)
    empty_database.execute("TRUNCATE t RESTART IDENTITY")

    def fail(_: str) -> None:
        raise RuntimeError("on commit")

    with pytest.raises(RuntimeError, match="on commit"):
        merge(empty_database, archive, request(tables=["t"]), fail)
    assert next_row(empty_database) == 1


def test_one_that_the_role_may_not_read_stops_no_merge(empty_database: TestDatabase) -> None:
    role = f"reader_of_{empty_database.name}"
    empty_database.execute(f"CREATE TABLE t (id serial PRIMARY KEY, v text); INSERT INTO t (v) {ROWS}")
    archive = archive_of(empty_database)
    empty_database.execute(f"DELETE FROM t; CREATE ROLE {role} LOGIN PASSWORD 'r'; GRANT ALL ON t TO {role}")
    try:
        grantee = TestDatabase(empty_database.name, f"postgresql://{role}:r@{empty_database.url.split('@')[1]}")
        done, _ = merge(grantee, archive, request())
        assert done.total("inserted") == 50
        last = "its last value in the backup is 50"
        told = f"sequence public.t_id_seq is not changed, because the role may not read it; {last}"
        assert told in done.notes
    finally:
        empty_database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
