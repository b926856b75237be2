"""What happened to a dump after pg_dump wrote it is found while its index is made."""

from __future__ import annotations

import io

import pytest

from app.archive.index import TableName
from app.archive.inspect.mishaps import Mishaps
from app.archive.reader import build_index
from app.domain.backup import Codec

MADE = b"CREATE TABLE public.t (a int);\n\n"
ROWS = b"COPY public.t (a) FROM stdin;\n1\n2\n\\.\n\n"
END = b"--\n-- PostgreSQL database dump complete\n--\n\n"


def looked_at(text: bytes) -> Mishaps:
    mishaps = Mishaps()
    assert build_index(io.BytesIO(text), Codec.NONE, look=mishaps.look).complete
    return mishaps


@pytest.mark.parametrize(
    "text",
    [
        (MADE + ROWS + END).replace(b"\n", b"\r\n"),
        b"-- two lines\n-- by hand\n" + (MADE + ROWS + END).replace(b"\n", b"\r\n"),
        MADE + ROWS.replace(b"1\n2\n", b"1\r\n2\r\n") + END,
    ],
)
def test_cr_lf_is_found_wherever_it_begins(text: bytes) -> None:
    assert looked_at(text).has_crlf


def test_cr_lf_in_a_value_or_a_comment_is_no_mishap() -> None:
    function = b"CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT\r\n 1;\r\n$$;\n"
    text = (
        b"-- by hand\r\n-- on Windows\r\n" + MADE + function + b"INSERT INTO public.t VALUES ('a\r\n');\n" + ROWS + END
    )
    assert not looked_at(text).has_crlf


@pytest.mark.parametrize("one", [MADE + ROWS + END, ROWS + END, MADE + b"INSERT INTO public.t VALUES (1);\n" + END])
def test_a_second_dump_in_the_file_is_found(one: bytes) -> None:
    assert looked_at(one).twice is None
    assert looked_at(one + one).twice == TableName("public", "t")


def test_a_schema_and_the_rows_for_it_are_one_dump() -> None:
    assert looked_at(MADE + END + ROWS + END).twice is None
    assert looked_at(MADE + ROWS + ROWS + END).twice is None  # a large table is in several blocks
