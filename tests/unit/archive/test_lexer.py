"""Where statements end. A wrong answer here makes data of SQL, or SQL of data."""

from __future__ import annotations

import pytest

from app.archive.lexer import UNFINISHED, statement_end, statement_start

WHOLE = [
    "SELECT 1;",
    "SELECT ';';",
    "SELECT 'it''s; fine';",
    r"SELECT 'a backslash ends nothing \';",
    r"SELECT E'a quote \'; stays';",
    r"SELECT e'\\';",
    r"SELECT E'\\\';';",
    r"SELECT E'doubled ''\'; too';",
    "SELECT E'one'\n  'two\\'; still one string';",
    r"SELECT date'2025-01-15\';",
    r"SELECT x.type'\';",
    r"SELECT U&'\0041\';",
    r'SELECT U&"d\0061t;a";',
    r"SELECT N'x;', B'01;', X'1F;';",
    'SELECT "a;b", "c""d;";',
    'SELECT "a\n;b";',
    "SELECT $$;$$;",
    "SELECT $a$ ; $$ ; $b$ ; $a$;",
    "SELECT $a$ ; $b$a$;",
    "SELECT $ü$;$ü$;",
    "SELECT $$ it's $$;",
    "SELECT $1, $2;",
    "SELECT a$1$b FROM c$$d;",
    "SELECT x$a$, ';', y$a$;",
    "SELECT 1 -- ; not here\n;",
    "SELECT 1 --;\r;",
    "SELECT 1 /* ; */;",
    "SELECT 1 /* ; /* ; */ ; */;",
    "SELECT 1 /*/ ; */;",
    "SELECT 1 /***/;",
    "SELECT 1 /* ' */;",
    "SELECT 1 -- '\n;",
    "SELECT '--', \"/*\";",
    "SELECT 2 - -1 / 3 * 4;",
    "SELECT a @-@ b, c <$> d;",
    "CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $_$BEGIN RETURN 'x;' || $1; END;$_$;",
]


@pytest.mark.parametrize("statement", WHOLE)
def test_a_statement_ends_at_its_own_semicolon(statement: str) -> None:
    text = statement.encode()
    assert statement_end(text + b" COPY t FROM stdin; SELECT '", 0) == len(text)


@pytest.mark.parametrize("statement", WHOLE)
def test_no_part_of_a_statement_is_taken_for_a_whole_one(statement: str) -> None:
    text = statement.encode()
    for end in range(len(text)):
        assert statement_end(text[:end], 0) == UNFINISHED


@pytest.mark.parametrize(
    "text",
    ["SELECT 'a;", 'SELECT "a;', "SELECT $$a;", "SELECT $a$;$$", "SELECT 1 /* /* ; */", "SELECT E'\\';", "SELECT 1"],
)
def test_what_is_not_closed_is_unfinished(text: str) -> None:
    assert statement_end(text.encode(), 0) == UNFINISHED


@pytest.mark.parametrize(
    "before",
    [
        "",
        " ",
        "\n\t\r\f\v",
        "-- a\n",
        "--\n--\n",
        "-- a\r",
        "/* a */",
        "/* /* */ */\n",
        "/**/--\n \n",
        "-- '\n",
        "/*;*/",
    ],
)
def test_a_statement_starts_after_space_and_comments(before: str) -> None:
    assert statement_start(f"{before}SELECT 1;".encode(), 0) == len(before)


@pytest.mark.parametrize("text", ["", " ", "-", "/", "-- a", "/* a", "/* a *", "/* /* */", "\n-", "-- a\n/"])
def test_where_the_text_may_still_become_a_comment_nothing_has_started(text: str) -> None:
    assert statement_start(text.encode(), 0) == UNFINISHED


def test_a_minus_or_a_slash_alone_is_no_comment() -> None:
    assert statement_start(b"-1;", 0) == 0
    assert statement_start(b"/1;", 0) == 0


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT E'" + b"a" * 1_000_000,
        b"SELECT E'" + rb"\'" * 1_000_000,
        b"SELECT E'" + b"''" * 1_000_000,
        b"SELECT E'a'" + b" \n" * 1_000_000,
        b"SELECT E'" + b"a'\n'" * 400_000,
        b"SELECT E'" + b"a'   '" * 500_000,
        b"SELECT '" + b"''" * 1_000_000,
        b"SELECT /*" + b"/* " * 600_000,
        b"SELECT $a$" + b"$b$" * 600_000,
    ],
    ids=lambda text: text[:14].decode(),
)
def test_megabytes_that_do_not_end_are_read_within_the_time_limit(text: bytes) -> None:
    assert statement_end(text, 0) == UNFINISHED


def test_a_string_of_ten_million_escapes_is_read_in_one_go() -> None:
    text = b"SELECT E'" + rb"\'" * 5_000_000 + b"';"
    assert statement_end(text, 0) == len(text) or statement_end(text + b"\n", 0) == len(text)
