"""Statements are judged by their words: what any pg_dump writes passes, what hides in comments and quotes does not."""

from __future__ import annotations

import pytest

from app.archive.cursor import NoDumpError
from app.archive.grammar import Judge
from app.archive.grammar_rows import insert_target
from app.archive.tokens import Reading, UnreadableError, tokens

STANDARD = Reading(standard=True)
# Of pg_dump 9.1 to 18, with each of its options.
WRITTEN = r"""
SET default_with_oids = false;
SET search_path = public, pg_catalog;
SET escape_string_warning = off;
SET transaction_timeout = 0;
SET xmloption = content;
SET SESSION AUTHORIZATION 'it''s me';
SET SESSION AUTHORIZATION DEFAULT;
RESET SESSION AUTHORIZATION;
SET default_tablespace = "Fast disk";
BEGIN;
COMMIT;
SELECT pg_catalog.set_config('search_path', '', false);
SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = '4242';
INSERT INTO public.a VALUES ('C:\', 'x');
INSERT INTO a (b, "c d") VALUES (1, -2.5, 1e-05, NULL, true, B'0101', 'it''s');
INSERT INTO a DEFAULT VALUES ON CONFLICT DO NOTHING;
INSERT INTO public.a OVERRIDING SYSTEM VALUE VALUES (1), (DEFAULT);
CREATE EXTENSION IF NOT EXISTS plpgsql WITH SCHEMA pg_catalog;
COMMENT ON EXTENSION plpgsql IS 'PL/pgSQL procedural language';
CREATE OR REPLACE PROCEDURAL LANGUAGE plperl;
CREATE TRUSTED PROCEDURAL LANGUAGE a HANDLER b;
CREATE SCHEMA a;
CREATE SCHEMA a AUTHORIZATION b;
DROP SCHEMA IF EXISTS public;
CREATE UNLOGGED TABLE a (b int DEFAULT (1)::integer, "AS" int, c text GENERATED ALWAYS AS ((b)::text) STORED);
CREATE TABLE a PARTITION OF b FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE a OF b (PRIMARY KEY (c)) WITH (fillfactor='70');
CREATE FOREIGN TABLE a (b int) SERVER s OPTIONS (c 'd AS');
CREATE MATERIALIZED VIEW a AS SELECT 1 AS b WITH NO DATA;
REFRESH MATERIALIZED VIEW a.b;
CREATE VIEW a AS SELECT 'x' AS b, E'\'' AS c UNION SELECT $1$ AS $1$, U&'\0441' AS d;
CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO v DO INSTEAD SELECT 1;
CREATE UNIQUE INDEX a ON b USING btree (c);
CREATE CONSTRAINT TRIGGER a AFTER INSERT ON b FOR EACH ROW EXECUTE FUNCTION c();
CREATE DEFAULT CONVERSION a FOR 'LATIN1' TO 'UTF8' FROM b;
CREATE TEXT SEARCH CONFIGURATION a (PARSER = pg_catalog."default");
ALTER TEXT SEARCH CONFIGURATION a ADD MAPPING FOR b WITH c;
ALTER TABLE ONLY a REPLICA IDENTITY FULL;
ALTER TABLE IF EXISTS ONLY a DROP CONSTRAINT IF EXISTS b;
ALTER LARGE OBJECT 1 OWNER TO a;
ALTER DEFAULT PRIVILEGES FOR ROLE a GRANT SELECT ON TABLES TO b;
ALTER TRIGGER a ON b DEPENDS ON EXTENSION c;
CREATE SUBSCRIPTION a CONNECTION 'host=b' PUBLICATION c, d WITH (connect = false, slot_name = 'a', streaming = on);
ALTER SUBSCRIPTION a OWNER TO "b c";
DROP USER MAPPING IF EXISTS FOR a SERVER b;
COMMENT ON CONSTRAINT a ON DOMAIN b IS 'c';
COMMENT ON OPERATOR CLASS a USING btree IS NULL;
SECURITY LABEL FOR selinux ON COLUMN a.b IS 'c';
SECURITY LABEL ON TABLE a IS 'c';
GRANT SELECT(id),UPDATE("on") ON TABLE app.parent TO "odd ""one" WITH GRANT OPTION;
REVOKE ALL ON FOREIGN DATA WRAPPER a FROM PUBLIC;
GRANT ALL ON LARGE OBJECT 1 TO a;
"""
WRITTEN_STATEMENTS = [each.encode() for each in WRITTEN.strip().splitlines()]
NOT_WRITTEN = [
    b"SET allow_system_table_mods = on;",
    b"SET LOCAL work_mem = '1MB';",
    b"SET work_mem = current_setting('x');",
    b"SELECT set_config('role', 'x', false);",
    b"SELECT set_config('client_encoding', 'SJIS', false);",
    b"RESET ALL;",
    b"RESET client_encoding;",
    b"GRANT SELECT ON ALL TABLES IN SCHEMA a TO b;",
    b"GRANT SELECT ON/**/DATABASE a TO b;",
    b"REVOKE ALL ON --\nTABLESPACE a FROM b;",
    b"CREATE TEMPORARY TABLE a (b int);",
    b"CREATE TABLE a /* ( */ AS TABLE pg_authid;",
    b"CREATE SCHEMA a CREATE TABLE b (c int);",
    b"CREATE MATERIALIZED VIEW a AS SELECT 1 WITH DATA;",
    b"CREATE SUBSCRIPTION a CONNECTION 'b' PUBLICATION c;",
    b"CREATE SUBSCRIPTION a CONNECTION 'b' PUBLICATION c WITH (connect = true);",
    b"ALTER SUBSCRIPTION a CONNECTION 'b';",
    b"ALTER SUBSCRIPTION a OWNER TO b, c;",
    b"ALTER EXTENSION a UPDATE;",
    b"DROP OWNED BY a;",
    b"COMMENT ON ROLE a IS 'b';",
    b"SECURITY LABEL FOR x ON TABLESPACE a IS 'b';",
    b"IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c;",
    b"INSERT INTO a VALUES ('b' 'c');",
    b"INSERT INTO a VALUES (b);",
    b"INSERT INTO a VALUES (1 + 1);",
    b"INSERT INTO a VALUES (1) RETURNING b;",
    b"INSERT INTO a VALUES (1) ON CONFLICT DO UPDATE SET b = 1;",
    b"INSERT INTO a TABLE b;",
    b"INSERT INTO a VALUES (1) ; DROP TABLE b;",
    b"SELECT 1 INTO a;",
    b"SELECT setval('a', 1) INTO b;",
]


@pytest.mark.parametrize("statement", WRITTEN_STATEMENTS, ids=lambda each: each[:40].decode())
def test_what_some_pg_dump_writes_is_run(statement: bytes) -> None:
    assert Judge(STANDARD).judge(statement) is None


@pytest.mark.parametrize("statement", NOT_WRITTEN, ids=lambda each: each[:40].decode())
def test_what_none_writes_is_refused(statement: bytes) -> None:
    with pytest.raises(NoDumpError) as caught:
        Judge(STANDARD).judge(statement)
    assert caught.value.hint


@pytest.mark.parametrize(
    "statement",
    [b"COMMENT ON DATABASE a IS 'b';", b"SECURITY LABEL FOR x ON/**/DATABASE a IS 'b';", b"DROP SUBSCRIPTION a;"],
)
def test_what_concerns_the_database_that_is_there_is_passed_over(statement: bytes) -> None:
    assert "is passed over" in str(Judge(STANDARD).judge(statement))


def words(statement: bytes, reading: Reading = STANDARD) -> list[bytes]:
    return list(tokens(statement, reading))


def test_comments_are_gone_and_what_is_quoted_is_one_word() -> None:
    text = b"a/* ' /* */ \" */.\"b \"\"/*\" -- ; '\n= E'x\\'''--' $q$ $$ ' $q$ U&\"d\" 1.5e-3::t$1$"
    assert words(text) == [
        b"a", b".", b'"b ""/*"', b"=", b"E'x\\'''--'", b"$q$ $$ ' $q$", b'U&"d"', b"1.5e-3", b":", b":", b"t$1$",
    ]  # fmt: skip


def test_a_backslash_is_read_as_the_session_reads_it() -> None:
    text = b"'a\\', 'b'"
    assert words(text, Reading(standard=True)) == [b"'a\\'", b",", b"'b'"]
    with pytest.raises(UnreadableError, match="string"):
        words(text, Reading(standard=False))
    with pytest.raises(UnreadableError, match="nobody knows"):
        words(text, Reading())
    assert words(b"'a\\'", Reading()) == [b"'a\\'"]


@pytest.mark.parametrize("name", ["SJIS", "Shift_JIS_2004", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "win932"])
def test_the_end_of_a_character_is_no_backslash(name: str) -> None:
    text = b"E'\x95\\', 1"
    with pytest.raises(UnreadableError):
        words(text)
    assert words(text, Reading(encoding=name, standard=True)) == [b"E'\xff\xff'", b",", b"1"]


def test_a_judge_follows_the_settings_of_the_file() -> None:
    judge = Judge()
    judge.judge(b"SET client_encoding = 'SJIS';")
    judge.judge(b"SET SESSION standard_conforming_strings TO off;")
    assert judge.reading == Reading("sjis", standard=False)
    judge.judge(b"SET standard_conforming_strings = on;")
    assert judge.reading.standard is True


@pytest.mark.parametrize(
    "text",
    [b"'a", b'"a', b"$a$ $b$", b"/* /* */", b"1$a$", b"0'a'", b"E'a'\n'\\''", b"a" * 2000, b'"' + b"a" * 2000 + b'"'],
)
def test_what_cannot_be_read_in_one_way_is_refused(text: bytes) -> None:
    with pytest.raises(UnreadableError):
        words(text)


def test_the_target_of_an_insert_is_found_behind_comments() -> None:
    assert insert_target(b'INSERT/**/INTO -- \n"a b" /* */ . c VALUES (1);', STANDARD) == b'"a b".c'
    assert insert_target(b"insert into a(b) values (1);", STANDARD) == b"a"
    assert insert_target(b"inserts;", STANDARD) is None
