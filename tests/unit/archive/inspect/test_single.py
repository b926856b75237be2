"""What the lexer takes for one statement, and is two to the server, is refused, whatever its first words are."""

from __future__ import annotations

import pytest

from app.archive import lexer
from app.archive.inspect.cursor import NoDumpError
from app.archive.inspect.grammar import Judge
from app.archive.inspect.single import SingleStatement
from app.archive.inspect.tokens import StringSyntax, tokens

STANDARD = StringSyntax(standard=True)
EVIL = b"CREATE ROLE evil SUPERUSER;"
BODY = b"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC "
HIDDEN: list[tuple[bytes, StringSyntax]] = [
    *(
        (b"%s '\\'' AS a; %s SELECT '\\'';" % (head, EVIL), StringSyntax(standard=False))
        for head in (
            b"CREATE VIEW v AS SELECT",
            b"COMMENT ON SCHEMA public IS",
            b"REFRESH MATERIALIZED VIEW v",
            b"DROP TABLE",
            b"GRANT SELECT ON TABLE t TO a",
            b"ALTER TABLE a ADD CONSTRAINT b CHECK",
            b"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS",
        )
    ),
    *(
        (b"CREATE VIEW v AS SELECT E'\x83\\' AS a; %s SELECT E'x';\n-- '\n;" % EVIL, StringSyntax(name, standard=True))
        for name in ("SJIS", "Shift_JIS_2004", "BIG5", "GBK", "GB18030", "UHC", "JOHAB")
    ),
    (BODY + b"SELECT t.case FROM (SELECT 1 AS case) t; END; %s END;" % EVIL, STANDARD),
    (BODY + b"SELECT 1 AS case; END; %s CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT 1; END;" % EVIL, STANDARD),
    (BODY + b"SELECT 1 case; END; %s END;" % EVIL, STANDARD),
    (b"CREATE FUNCTION f() RETURNS int SET a TO begin\natomic AS 'x'; %s END;" % EVIL, STANDARD),
    (BODY + b"SELECT 1; %s END;" % EVIL, STANDARD),
    (b"CREATE or replace /**/ PROCEDURE p() begin--\natomic SELECT 1 AS case;END; " + EVIL, STANDARD),
]
ONE = [
    BODY + b'SELECT CASE WHEN (a = \';\') THEN 1 ELSE 2 END AS "case"; SELECT 1 AS "end"; END;',
    BODY + b"END;",
    b"CREATE PROCEDURE begin(atomic int) begin atomic INSERT INTO t VALUES (1); END;",
    b"CREATE FUNCTION f() RETURNS int RETURN CASE WHEN true THEN 1 END;",
    b"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$SELECT 1; SELECT 2$$;",
    b"CREATE RULE r AS ON INSERT TO t DO INSTEAD ( SELECT 1; SELECT 2; );",
    b"CREATE VIEW v AS SELECT ';' AS \";\" /* ; */ -- ;\n;",
    b"CREATE VIEW begin AS SELECT begin.atomic, 1 AS begin FROM begin atomic;",
]


@pytest.mark.parametrize(("text", "syntax"), HIDDEN, ids=lambda each: str(each)[:60])
def test_a_second_statement_is_found(text: bytes, syntax: StringSyntax) -> None:
    with pytest.raises(NoDumpError) as caught:
        Judge(syntax).judge(text)
    assert "pg_dump --encoding=UTF8" in caught.value.hint


@pytest.mark.parametrize("text", [text for text, _ in HIDDEN if text.startswith((BODY, b"CREATE VIEW"))])
def test_the_lexer_alone_does_not_find_it(text: bytes) -> None:
    first = lexer.statement_end(text, 0)
    assert EVIL in text[:first]


@pytest.mark.parametrize("text", ONE, ids=lambda each: each[:60].decode())
def test_what_is_one_passes(text: bytes) -> None:
    assert lexer.statement_end(text, 0) == len(text)
    assert Judge(STANDARD).judge(text) is None


def test_a_number_may_be_long() -> None:
    assert Judge(STANDARD).judge(b"CREATE VIEW v AS SELECT " + b"9" * 100_000 + b"e+5;") is None


@pytest.mark.parametrize(
    "text", [b"SELECT 1", b"SELECT 1 -- ;", b"SELECT (1;", b"SELECT 1);", BODY + b"SELECT 1 AS end;"]
)
def test_what_does_not_end_is_refused(text: bytes) -> None:
    with pytest.raises(NoDumpError):
        SingleStatement(tokens(text, STANDARD)).finish()
