"""The tables of a dump are known by its statements, whatever quotes them and wherever the schema is said."""

from __future__ import annotations

from app.archive.index import TableName
from app.archive.inspect.tables import TablesInFile
from app.archive.scanner import scan


def tables_of(text: bytes) -> TablesInFile:
    found = TablesInFile()
    for chunk in scan([text]):
        found.take(chunk.data)
    return found


def test_tables_that_are_made_have_their_schema() -> None:
    found = tables_of(
        b'CREATE TABLE public.one (a int);\nCREATE UNLOGGED TABLE "My app"."two" (a int);\n'
        b'CREATE TABLE IF NOT EXISTS "three".four (a int);\nSET search_path = old, pg_catalog;\n'
        b"CREATE TABLE five (a int);\nCREATE FOREIGN TABLE public.other (a int) SERVER s;\n"
        b"CREATE FUNCTION f() RETURNS text AS 'CREATE TABLE public.none (a int);';\n"
    )
    assert found.made == {
        TableName("public", "one"),
        TableName("My app", "two"),
        TableName("three", "four"),
        TableName("old", "five"),
    }
    assert (found.inserts, found.completes) == (False, False)


def test_a_table_without_rows_is_described_by_its_header() -> None:
    header = b"-- Data for Name: %s; Type: TABLE DATA; Schema: app; Owner: me\n--\n\n"
    found = tables_of(header % b"hollow" + header % b"full" + b"INSERT INTO app.full VALUES (1);\n")
    assert found.described == {TableName("app", "hollow"), TableName("app", "full")}
    assert found.inserts


def test_a_table_that_is_made_again_is_told() -> None:
    found = TablesInFile()
    statement = b"CREATE TABLE public.t (a int);\n"
    assert found.take(statement) is None
    assert found.take(b"CREATE INDEX i ON public.t USING btree (a);\n") is None
    assert found.take(statement) == TableName("public", "t")
    assert found.completes
