"""Nothing that no dump has gets past the lint, and its line is named."""

from __future__ import annotations

import io
import time

import pytest

from app.archive.inspect.grammar import Judge
from app.archive.inspect.lint import check_statement, lint
from app.archive.reader import Archive, build_index
from app.domain.backup import Codec
from app.errors import BackupReadError, RestoreValidationError

BEFORE = b"""--
-- PostgreSQL database dump
--

\\restrict abcDEF123

SET client_encoding = 'UTF8';
SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE public.a (x int, y text);

--
-- Data for Name: a; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public.a (x, y) FROM stdin;
1\t\\\\! not a command
2\tCOPY a FROM PROGRAM 'x';
\\.

"""
AFTER = b"""
--
-- PostgreSQL database dump complete
--

\\unrestrict abcDEF123

"""
LINE = BEFORE.count(b"\n") + 1
HOSTILE = {
    b"\\! touch /tmp/owned": "a psql command",
    b"   \\! touch /tmp/owned": "a psql command",
    b"/* c */ \\! touch /tmp/owned": "a psql command",
    b"\\copy a from program 'id'": "a psql command",
    b"\\o /etc/passwd": "a psql command",
    b"\\o |sh": "a psql command",
    b"\\i /etc/passwd": "a psql command",
    b"\\include_relative x": "a psql command",
    b"\\gexec": "a psql command",
    b"\\set x `id`": "a psql command",
    b"\\unrestrict `id`": "a psql command",
    b"\\restrict a b": "a psql command",
    b"\\restrict ": "a psql command",
    b"\\.": "a psql command",
    b"\\connect 'host=elsewhere dbname=x'": "connect elsewhere",
    b"\\c 'host=elsewhere dbname=x'": "connect elsewhere",
    b"COPY public.a FROM PROGRAM 'id';": "does not take its rows",
    b"copy public.a from program 'id';": "does not take its rows",
    b"COPY public.a FROM '/etc/passwd';": "does not take its rows",
    b"COPY public.a TO '/tmp/x';": "does not take its rows",
    b"COPY public.a TO PROGRAM 'sh';": "does not take its rows",
    b"COPY (SELECT 1) TO PROGRAM 'sh';": "does not take its rows",
    b"COPY/**/public.a/**/FROM/**/PROGRAM 'id';": "does not take its rows",
    b"SET lock_timeout = 1; COPY public.a FROM PROGRAM 'id';": "does not take its rows",
    b"CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1'; COPY a FROM PROGRAM 'id';": "does not take its",
    b"CREATE TABLE t (a int DEFAULT 1)); COPY a FROM PROGRAM 'id';": "closes nothing",
    b"DO $$ BEGIN EXECUTE 'x'; END $$;": "a statement that no dump has",
    b"SELECT pg_read_file('/etc/passwd');": "a statement that no dump has",
    b"SELECT 1;": "a statement that no dump has",
    b"VACUUM;": "a statement that no dump has",
    b"DELETE FROM public.a;": "a statement that no dump has",
    b"CALL evil();": "a statement that no dump has",
    b"LOAD 'evil';": "a statement that no dump has",
    b"ALTER SYSTEM SET archive_command = 'evil';": "for the whole server",
    b"DROP TABLESPACE residency_scheduler;": "for the whole server",
    b"CREATE TABLESPACE x;": "for the whole server",
    b"CREATE ROLE x SUPERUSER;": "for the whole server",
    b"ALTER USER postgres PASSWORD 'x';": "for the whole server",
    b"ALTER SYSTEM/**/SET work_mem = '1MB';": "for the whole server",
    b"ALTER /**/SYSTEM SET work_mem = '1MB';": "for the whole server",
    b'CREATE ROLE"e" SUPERUSER;': "for the whole server",
    b"CREATE ROLE\x0be SUPERUSER;": "for the whole server",
    b"CREATE -- \nROLE e SUPERUSER;": "for the whole server",
    b"CREATE USER mapping SUPERUSER LOGIN;": "for the whole server",
    b"CREATE USER mapping\nfor_me SUPERUSER LOGIN;": "for the whole server",
    b'DROP TABLESPACE"x";': "for the whole server",
    b"GRANT pg_execute_server_program TO postgres;": "for the whole server",
    b"GRANT admin TO postgres WITH ADMIN OPTION;": "for the whole server",
    b"GRANT admin TO postgres /* ON */;": "for the whole server",
    b'GRANT admin TO "a ON b";': "for the whole server",
    b"REVOKE admin FROM postgres;": "for the whole server",
    b"GRANT SET ON PARAMETER work_mem TO PUBLIC;": "for the whole server",
    b"GRANT CONNECT ON TABLESPACE x TO PUBLIC;": "for the whole server",
    b"GRANT CONNECT ON  TABLESPACE x TO PUBLIC;": "for the whole server",
    b"SELECT lo_import('/etc/passwd');": "a statement that no dump has",
    b"SELECT pg_catalog.lo_export(1, '/tmp/x');": "a statement that no dump has",
    b"SELECT set_config('a.b', pg_read_file('/etc/passwd'), false);": "a statement that no dump has",
    b"SELECT setval('x', 1), pg_terminate_backend(1);": "a statement that no dump has",
    b"SELECT setval('x', 1) FROM evil();": "a statement that no dump has",
    b"SELECT setval('x', (SELECT 1));": "a statement that no dump has",
    b"SELECT set_config('a.b', E'\\'', f(), E'', false);": "a statement that no dump has",
    b"SELECT set_config('\\'', f(), ''', '');": "nobody knows what it means",
    b"INSERT INTO pg_catalog.pg_authid VALUES (1);": "a table of the server's own",
    b'INSERT INTO "pg_catalog"."pg_authid" VALUES (1);': "a table of the server's own",
    b"INSERT INTO PG_Authid (oid) VALUES (1);": "a table of the server's own",
    b"INSERT INTO pg_catalog . pg_authid VALUES (1);": "a table of the server's own",
    b"INSERT INTO a.pg_catalog.pg_authid VALUES (1);": "does not take its rows",
    b"INSERT INTO /**/ pg_authid VALUES (1);": "a table of the server's own",
    b'INSERT INTO U&"pg\\005fauthid" VALUES (1);': "does not take its rows",
    b"INSERT INTO public.a SELECT pg_read_file('/etc/passwd');": "does not take its rows",
    b"ALTER /**/SYSTEM SET archive_command = 'evil';": "for the whole server",
    b"ALTER SYSTEM/**/SET archive_command = 'evil';": "for the whole server",
    b'CREATE TABLESPACE"d";': "for the whole server",
    b"DROP /* */ TABLESPACE IF EXISTS x;": "for the whole server",
    b"CREATE USER mapping SUPERUSER LOGIN PASSWORD 'x';": "for the whole server",
    b'GRANT " ON " TO postgres;': "for the whole server",
    b"REVOKE pg_monitor FROM postgres;": "for the whole server",
    b"COPY public.a (x/*,\"*/) FROM PROGRAM 'id'--\") FROM stdin\n;": "does not take its rows",
    b"COPY pg_catalog.pg_authid (rolname) FROM stdin;\n\\.": "a table of the server's own",
    b"COPY pg_authid (rolname) FROM stdin;\n\\.": "a table of the server's own",
    b"INSERT INTO pg_catalog.pg_auth_members VALUES (1);": "a table of the server's own",
    b'INSERT INTO "pg_catalog".pg_auth_members VALUES (1);': "a table of the server's own",
    b"SELECT setval('a', 1) FROM pg_read_file('/etc/passwd');": "a statement that no dump has",
    b"INSERT INTO public.a VALUES ('1') \0, ('2');": "zero byte",
}


HARMLESS = [
    b"",
    b"SELECT pg_catalog.setval('public.\"It''s\"', -5, false);",
    b"SELECT pg_catalog.lo_open('4711', 131072);\nSELECT pg_catalog.lowrite(0, '\\x5c00');\nSELECT lo_close(0);",
    b"SELECT lowrite(0, '\\');",
    b"SELECT * FROM pg_catalog.pg_restore_relation_stats(\n\t'version', '180006'::integer,\n\t'x', '2'::real\n);",
    b"CREATE USER MAPPING IF NOT EXISTS FOR x SERVER y OPTIONS (a 'b');",
    b"DROP USER MAPPING FOR x SERVER y;",
    b"CREATE TABLE tablespace (a int);",
    b'GRANT SELECT(id),UPDATE(t) ON TABLE app.parent TO "odd ""one" WITH GRANT OPTION;',
    b"REVOKE ALL ON FUNCTION app.nasty() FROM PUBLIC;",
    b"\xef\xbb\xbfSET lock_timeout = 1;",
    b'GRANT SELECT(i),UPDATE("a ) ON") ON TABLE public.a TO x;',
    b"GRANT ALL ON FUNCTION public.f(integer) TO PUBLIC;",
    b"REVOKE GRANT OPTION FOR SELECT,INSERT ON TABLE public.a FROM x;",
    b"GRANT SELECT ON TABLE public.database TO x;",
    b"CREATE USER MAPPING FOR postgres SERVER s;",
    b"DROP USER MAPPING IF EXISTS FOR postgres SERVER s;",
    b"ALTER DEFAULT PRIVILEGES FOR ROLE x IN SCHEMA public GRANT SELECT ON TABLES TO y;",
    b"INSERT INTO public.a VALUES\n\t(1, 'x1', '{1,2}'),\n\t(2, E'\\\\', NULL) ON CONFLICT DO NOTHING;",
    b'INSERT INTO public."A b" (i, "t)") OVERRIDING SYSTEM VALUE VALUES (1);',
    b"INSERT INTO a DEFAULT VALUES;",
    b"INSERT INTO public.pg_like VALUES (1);",
    b"SELECT pg_catalog.setval('public.\"it''s\"', 1, false);",
    b"SELECT setval('s', -5, true);",
    b"SELECT pg_catalog.set_config('search_path', '', false);",
    b"SELECT pg_catalog.lowrite(0, '\\x41');",
    b"SELECT lo_open(1, 2);",
    b"SELECT pg_catalog.lo_unlink('4242');",
    b"SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = '4242';",
    b"SELECT * FROM pg_restore_attribute_stats(\n\t'version', '180006'::integer,\n\t'inherited', 'f'::boolean);",
    b"SELECT * FROM pg_restore_attribute_stats('freqs', '{0.1}'::real[],\n\t'bounds', '{\"a\\\\b''\"}'::text\n);",
]


def archive(data: bytes, codec: Codec = Codec.NONE) -> Archive:
    return Archive(lambda: io.BytesIO(data), codec, build_index(io.BytesIO(data), codec))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_dumps_have_passes(text: bytes) -> None:
    lint(archive(BEFORE + text + b"\n" + AFTER))


def test_a_statement_of_spaces_takes_no_longer_than_its_length() -> None:
    with pytest.raises(RestoreValidationError):
        lint(archive(BEFORE + b"COPY a" + b" " * 300_000 + b";\n" + AFTER))


def test_an_end_marker_inside_of_a_string_is_no_end() -> None:
    said = b"COMMENT ON TABLE a IS '\n-- PostgreSQL database dump complete\n--\n';\n"
    with pytest.raises(RestoreValidationError, match="no whole dump"):
        lint(archive(BEFORE + said))


@pytest.mark.parametrize("text", HOSTILE)
def test_what_no_dump_has_is_refused_and_its_line_named(text: bytes) -> None:
    with pytest.raises(RestoreValidationError, match=HOSTILE[text]) as caught:
        lint(archive(BEFORE + text + b"\n" + AFTER))
    assert f"line {LINE}:" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "columns",
    [b"""(x/*,"*/) FROM PROGRAM 'id'--")""", b"""(x--,"\n) FROM PROGRAM 'id'--")""", b"(x'y)", b"(/**/x)", b"(x;y)"],
)
def test_a_copy_hides_nothing_in_the_names_of_its_columns(columns: bytes) -> None:
    data = BEFORE + b"COPY public.a " + columns + b" FROM stdin\n;\n1\n\\.\n" + AFTER
    with pytest.raises((RestoreValidationError, BackupReadError)):
        lint(archive(data))


@pytest.mark.parametrize("table", [b"pg_catalog.pg_authid", b'"pg_catalog"."pg_authid"', b"PG_AUTHID", b'"pg_authid"'])
def test_a_copy_into_a_table_of_the_servers_own_is_refused(table: bytes) -> None:
    data = BEFORE + b"COPY " + table + b" (rolname) FROM stdin;\nevil\n\\.\n" + AFTER
    with pytest.raises(RestoreValidationError, match="a table of the server's own"):
        lint(archive(data))


@pytest.mark.parametrize(
    "start", [b"COPY a", b"COPY a (", b"COPY a (b", b"GRANT a", b"INSERT INTO a", b"SELECT setval("]
)
def test_a_long_run_of_blanks_takes_no_long_time(start: bytes) -> None:
    begun = time.process_time()
    with pytest.raises(RestoreValidationError):
        lint(archive(BEFORE + start + b" " * 60_000 + b";\n" + AFTER))
    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT lowrite(0, E'" + rb"\'" * 600_000 + b"'",
        b"SELECT lowrite(0, '" + b"\\" * 600_000 + b"' x",
        b"SELECT lowrite(0, '" + b"''" * 600_000 + b"' x",
        b"SELECT setval(" + b"'a', " * 500_000 + b"x",
        b"SELECT setval(" + b"'a\\', " * 500_000 + b"'b'",
        b"SELECT setval('a'::text" + b" " * 600_000 + b"x",
        b"SELECT setval('a'" + b" , 1" * 500_000 + b" " * 600_000 + b"x",
        b"GRANT SELECT (" + b"a, " * 500_000 + b"b) TO c",
        b"GRANT SELECT" + b" (a)" * 500_000 + b" TO c",
        b"GRANT SELECT" + b" ON  TABLESPACE" * 200_000 + b" TO c",
        b"GRANT SELECT ON" + b" " * 600_000 + b"TABLESPACE a TO c",
        b"COPY a (" + b'"b""c", ' * 300_000 + b'"d") FROM PROGRAM',
        b"INSERT INTO a (" + b"b , " * 500_000 + b"c) SELECT",
    ],
    ids=lambda text: text[:22].decode(),
)
def test_megabytes_of_a_hostile_statement_are_refused_within_the_time_limit(text: bytes) -> None:
    with pytest.raises(RestoreValidationError):
        check_statement(Judge(), text + b";", "line 1")


@pytest.mark.parametrize(
    "rest", [b" \\g | sh", b" \\! id", b"; SELECT 1", b" WITH (FORMAT csv);", b" (FREEZE);", b" WHERE true;", b""]
)
def test_a_copy_with_anything_behind_it_is_refused(rest: bytes) -> None:
    data = BEFORE + b"COPY public.a (x, y) FROM stdin" + rest + b"\n1\tone\n\\.\n" + AFTER
    with pytest.raises((RestoreValidationError, BackupReadError), match=r"COPY|whole|ends within the data"):
        lint(archive(data))


def test_a_command_before_the_data_is_found_where_the_index_calls_the_rest_data() -> None:
    data = BEFORE.replace(b"COPY public.a", b"\\! id\nCOPY public.a") + AFTER
    with pytest.raises(RestoreValidationError, match="a psql command"):
        lint(archive(data))


@pytest.mark.parametrize("text", [b"hello world", b"<html>", b"x", b"COMMENT ON TABLE public.a IS '"])
def test_a_statement_that_swallows_the_end_of_the_dump_is_refused(text: bytes) -> None:
    with pytest.raises(RestoreValidationError, match="within a statement that does not end"):
        lint(archive(BEFORE + text + b"\n" + AFTER))


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"-- nothing\n", b"CREATE TABLE a ();\n", b"PGDMP\x01\x0e"])
def test_what_is_no_whole_dump_is_refused(data: bytes) -> None:
    with pytest.raises(RestoreValidationError, match="no whole dump"):
        lint(archive(data))
