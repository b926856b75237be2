"""The server's own notes about columns are left out, and nothing else is."""

from __future__ import annotations

import pytest

from app.archive.inspect.content import Content
from app.archive.inspect.pg_attver import without_pg_attver
from app.archive.scanner import scan

HEADER = b"--\n-- Name: t; Type: TABLE; Schema: public; Owner: o\n--\n\n"
TABLE = HEADER + b"CREATE TABLE public.t (\n    a integer\n);\n"


def through(text: bytes) -> bytes:
    return b"".join(chunk.data for chunk in without_pg_attver(scan([text])))


def test_a_statement_that_sets_nothing_else_is_left_out() -> None:
    marked = TABLE + b"ALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=36092272);\n\n\n"
    assert through(marked + b"ALTER TABLE public.t OWNER TO o;\n").split() == (
        (TABLE + b"ALTER TABLE public.t OWNER TO o;\n").split()
    )


@pytest.mark.parametrize("options", [b"pg_attver=1, n_distinct=7", b"n_distinct=7, pg_attver=1"])
def test_what_else_a_statement_sets_stays(options: bytes) -> None:
    marked = b'ALTER TABLE ONLY public."a;\nb" ALTER COLUMN "SET (pg_attver=1);" SET (' + options + b");\n"
    assert through(TABLE + marked).endswith(b'ALTER COLUMN "SET (pg_attver=1);" SET (n_distinct=7);\n')


@pytest.mark.parametrize(
    "text",
    [
        b"DO $$\nALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=1);\n$$;\n",
        b"COMMENT ON TABLE public.t IS 'ALTER TABLE ONLY t ALTER COLUMN a SET (pg_attver=1);\n';\n",
        b"COPY public.t (a) FROM stdin;\nALTER TABLE ONLY t ALTER COLUMN a SET (pg_attver=1);\n\\.\n",
        b"ALTER TABLE ONLY public.t ALTER COLUMN pg_attver SET (n_distinct=7);\n",
        b"ALTER TABLE ONLY public.t ALTER COLUMN a SET DEFAULT 'SET (pg_attver=1)';\n",
    ],
)
def test_where_it_only_looks_like_one_everything_stays(text: bytes) -> None:
    assert through(TABLE + text) == TABLE + text


def test_two_dumps_that_differ_in_nothing_else_have_one_schema() -> None:
    schemas = []
    for mark in (b"", b"ALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=36092272);\n"):
        content = Content()
        content.add(scan([TABLE + mark + b"\n\nALTER TABLE public.t OWNER TO o;\n"]))
        content.finish()
        schemas.append(dict(content.entries.words))
    assert schemas[0] == schemas[1]
    assert schemas[0]
