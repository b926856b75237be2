"""Many small tables are loaded in groups, and a group that the server refuses is loaded one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from app.archive.index import TableName
from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreDataError
from app.postgres.database import Database
from app.postgres.load import statistics
from app.postgres.load.loader import load
from app.postgres.session import RestoreSession, restore_session
from tests.fix_loads import LAST, archive, load_into
from tests.fix_postgres import TestDatabase, scratch_database

HEADER = b"--\n-- Name: %s; Type: %s; Schema: public; Owner: postgres\n--\n\n"


class _Counted(RestoreSession):
    """A session that counts what it asks the server."""

    asked = 0

    def run(self, statement: bytes, what: str) -> None:
        _Counted.asked += 1
        super().run(statement, what)

    def run_together(self, statements: Sequence[bytes]) -> bool:
        _Counted.asked += 1
        return super().run_together(statements)

    def copy_together(self, copies: Sequence[tuple[bytes, Sequence[bytes]]], what: str) -> list[int]:
        _Counted.asked += 1
        return super().copy_together(copies, what)

    @contextmanager
    def transaction(self, what: str) -> Iterator[None]:
        _Counted.asked += 2
        with super().transaction(what):
            yield


@contextmanager
def _counted(database: Database, jobs: int) -> Iterator[RestoreSession]:
    with restore_session(database, jobs) as session:
        yield _Counted(session.connection, database.name)


def _entry(name: bytes, type_: bytes, statement: bytes) -> bytes:
    return HEADER % (name, type_) + statement + b"\n\n"


def _dump(tables: int) -> bytes:
    """A dump of small tables with owners, rows, keys and a comment each."""
    names = [b"t%d" % number for number in range(tables)]
    made = [
        _entry(
            name,
            b"TABLE",
            b"CREATE TABLE public.%b (id integer NOT NULL, a text);\n\n\nALTER TABLE public.%b OWNER TO postgres;"
            % (name, name),
        )
        + _entry(b"TABLE " + name, b"COMMENT", b"COMMENT ON TABLE public.%b IS 'of %b';" % (name, name))
        for name in names
    ]
    rows = [b"COPY public.%b (id, a) FROM stdin;\n1\tone\n2\t%b\n\\.\n\n" % (name, name) for name in names]
    keys = [
        _entry(
            name + b" pk",
            b"CONSTRAINT",
            b"ALTER TABLE ONLY public.%b\n    ADD CONSTRAINT %b_pk PRIMARY KEY (id);" % (name, name),
        )
        for name in names
    ]
    return b"".join([*made, *rows, *keys, LAST])


def test_what_a_load_asks_the_server_does_not_grow_with_each_small_table(
    postgres_server: EmbeddedPostgres,
) -> None:
    asked: dict[int, int] = {}
    whole = "SELECT count(*) FROM pg_class WHERE relname ~ '^t[0-9]+$' AND reltuples = 2 AND obj_description(oid) <> ''"
    for tables in (60, 240):
        _Counted.asked = 0
        with scratch_database(postgres_server) as database:
            load(Database.from_url(database.url), archive(_dump(tables)), 2, session_factory=_counted)
            assert database.query(whole) == [(tables,)]
        asked[tables] = _Counted.asked
    # Three statements and a key a table, a hundred a time; ANALYZE and the rows likewise.
    assert asked[240] - asked[60] < 30, asked


def test_a_group_with_rows_that_need_those_of_another_table_is_loaded_one_by_one(empty_database: TestDatabase) -> None:
    text = (
        b"CREATE TABLE public.one (id integer PRIMARY KEY);\n"
        b"CREATE TABLE public.two (id integer REFERENCES public.one);\n"
        b"COPY public.two (id) FROM stdin;\n7\n7\n7\n\\.\n\nCOPY public.one (id) FROM stdin;\n7\n\\.\n\n" + LAST
    )
    loaded = load_into(empty_database, archive(text))
    assert loaded.rows == {TableName("public", "two"): 3, TableName("public", "one"): 1}
    assert empty_database.query("SELECT count(*) FROM two JOIN one USING (id)") == [(3,)]


def test_a_bad_row_in_a_group_is_named_by_its_table(empty_database: TestDatabase) -> None:
    text = _dump(3).replace(b"2\tt1\n", b"two\tt1\n")
    with pytest.raises(RestoreDataError, match=r"data of table public\.t1: .*invalid input syntax for type integer"):
        load_into(empty_database, archive(text))


def test_a_group_with_a_grant_to_a_dropped_role_is_run_but_for_it(empty_database: TestDatabase) -> None:
    grant = b"GRANT SELECT ON TABLE public.t1 TO %b;"
    grants = b"".join(_entry(b"TABLE t1", b"ACL", grant % who) for who in (b"PUBLIC", b'"99999"', b"pg_monitor"))
    loaded = load_into(empty_database, archive(_dump(3).replace(LAST, grants + LAST)))
    assert [remark.partition(" are left out")[0] for remark in loaded.remarks] == ['rights of "99999"']
    acl = empty_database.query("SELECT relacl::text FROM pg_class WHERE relname = 't1'")[0][0]
    assert "=r/" in acl
    assert "pg_monitor=r/" in acl


def test_a_statement_that_the_server_refuses_is_named_though_it_was_in_a_group(empty_database: TestDatabase) -> None:
    text = _dump(3).replace(b"COMMENT ON TABLE public.t1 ", b"COMMENT ON TABLE public.tt ")
    with pytest.raises(RestoreDataError, match=r'comment TABLE t1: relation "public\.tt" does not exist'):
        load_into(empty_database, archive(text))


def test_the_settings_of_a_group_count_for_the_next_statements(empty_database: TestDatabase) -> None:
    text = _dump(2).replace(
        b"CREATE TABLE public.t1", b"SET default_table_access_method = heap;\n\nCREATE TABLE public.t1"
    )
    load_into(empty_database, archive(text))
    assert empty_database.query("SELECT count(*) FROM t1") == [(2,)]


def test_a_wide_table_gets_coarse_statistics_and_autovacuum_the_rest(empty_database: TestDatabase) -> None:
    columns = b", ".join(b"c%d integer" % number for number in range(statistics.WIDE_COLUMNS * 4))
    row = b"\t".join(b"%d" % number for number in range(statistics.WIDE_COLUMNS * 4))
    text = b"CREATE TABLE public.wide (" + columns + b");\nCREATE TABLE public.slim (a integer);\n"
    text += (
        b"COPY public.wide FROM stdin;\n"
        + (row + b"\n") * 50
        + b"\\.\n\nCOPY public.slim FROM stdin;\n1\n\\.\n\n"
        + LAST
    )
    load_into(empty_database, archive(text))
    known = "SELECT tablename, count(*) FROM pg_stats WHERE schemaname = 'public' GROUP BY 1 ORDER BY 1"
    assert empty_database.query(known) == [("slim", 1), ("wide", statistics.WIDE_COLUMNS * 4)]
    changed = "SELECT n_mod_since_analyze FROM pg_stat_user_tables WHERE relname = 'wide'"
    assert empty_database.query(changed) == [(50,)]  # so autovacuum analyzes it
