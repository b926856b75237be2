"""pg_dump's grammar: names and literals as the server stores them, and the comment before each entry."""

import pytest

from app.archive.pg_dump import COPY, SETVAL, EntryHeader, last_header, python_encoding, string_value, unquoted


@pytest.mark.parametrize(
    ("identifier", "name"), [(b"people", "people"), (b"People", "people"), (b'"Pe""ople"', 'Pe"ople'), (b'""""', '"')]
)
def test_an_identifier_is_the_name_that_the_server_stores(identifier: bytes, name: str) -> None:
    assert unquoted(identifier, "utf-8") == name


@pytest.mark.parametrize(
    ("literal", "text"), [(b"'public.s'", "public.s"), (b"'it''s'", "it's"), (rb"E'a\\b'", r"a\b"), (b"''", "")]
)
def test_a_literal_is_the_text_that_it_stands_for(literal: bytes, text: str) -> None:
    assert string_value(literal, "utf-8") == text


def test_a_name_may_look_like_the_rest_of_a_header() -> None:
    name = b"x; Type: TABLE; Schema: y"
    text = b"--\n-- Data for Name: %s; Type: TABLE DATA; Schema: public; Owner: -\n--\n" % name
    assert last_header(text, len(text)) == EntryHeader(data=True, name=name, type=b"TABLE DATA", schema=b"public")


def test_a_header_without_an_owner_has_no_schema() -> None:
    text = b"-- Name: a; Type: TABLE; Schema: public\n"
    assert last_header(text, len(text)) == EntryHeader(data=False, name=b"a", type=b"TABLE", schema=None)


def test_setval_is_read_with_and_without_a_schema() -> None:
    for function in (b"setval", b"pg_catalog.setval"):
        found = SETVAL.match(b"SELECT %s('public.\"S\"', -5, true);" % function)
        assert found
        assert found.groups() == (b"'public.\"S\"'", b"-5", b"true")


def test_copy_names_table_and_columns() -> None:
    found = COPY.match(b'COPY public."A b" (id, "c""d") FROM stdin;')
    assert found
    assert found.groups() == (b"public", b'"A b"', b'id, "c""d"')


def test_an_encoding_that_python_lacks_is_read_as_utf_8() -> None:
    assert (python_encoding("WIN1252"), python_encoding("MULE_INTERNAL")) == ("cp1252", "utf-8")
