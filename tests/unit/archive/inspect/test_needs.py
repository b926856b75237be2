"""What a dump needs, read off its words."""

from __future__ import annotations

import gzip
import io
from dataclasses import replace

import pytest

from app.archive.inspect.needs import Needs, needs_of
from app.archive.reader import Archive, build_index
from app.domain.backup import Codec

END = b"\n--\n-- PostgreSQL database dump complete\n--\n\n"
# statement -> what it needs
NEEDS: dict[str, tuple[str, set[str]]] = {
    "CREATE EXTENSION IF NOT EXISTS hstore WITH SCHEMA public;": ("extensions", {"hstore"}),
    'CREATE EXTENSION "uuid-ossp";': ("extensions", {"uuid-ossp"}),
    "COMMENT ON EXTENSION hstore IS 'x';": ("extensions", set()),
    "ALTER TABLE a.b OWNER TO app;": ("roles", {"app"}),
    'ALTER FUNCTION a.f(integer) OWNER TO "app ""one""";': ("roles", {'app "one"'}),
    "ALTER SCHEMA a OWNER TO Größe;": ("roles", {"größe"}),
    "ALTER TABLE a ALTER COLUMN b SET DEFAULT 'x OWNER TO me';": ("roles", set()),
    "GRANT SELECT(id),UPDATE(t) ON TABLE a.b TO one WITH GRANT OPTION;": ("roles", {"one"}),
    'GRANT SELECT ON TABLE a."TO" TO PUBLIC, GROUP two, "three";': ("roles", {"two", "three"}),
    "REVOKE ALL ON FUNCTION a.f() FROM PUBLIC;": ("roles", set()),
    "REVOKE ALL ON SCHEMA a FROM four CASCADE;": ("roles", {"four"}),
    "CREATE SCHEMA s AUTHORIZATION five;": ("roles", {"five"}),
    "CREATE SCHEMA AUTHORIZATION five;": ("roles", {"five"}),
    "SET SESSION AUTHORIZATION 'it''s';": ("roles", {"it's"}),
    "SET SESSION AUTHORIZATION six;": ("roles", {"six"}),
    "SET SESSION AUTHORIZATION DEFAULT;": ("roles", set()),
    "ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s GRANT SELECT ON TABLES TO b;": ("roles", {"a", "b"}),
    "ALTER DEFAULT PRIVILEGES FOR ROLE a REVOKE ALL ON FUNCTIONS FROM PUBLIC;": ("roles", {"a"}),
    "CREATE POLICY p ON a.b FOR SELECT TO one, two USING ((id > 10));": ("roles", {"one", "two"}),
    "CREATE POLICY p ON a.b USING (((x)::text = 'TO me'::text));": ("roles", set()),
    "CREATE USER MAPPING FOR one SERVER s OPTIONS (\n    password 'FOR two'\n);": ("roles", {"one"}),
    "CREATE USER MAPPING FOR public SERVER s;": ("roles", set()),
    'REVOKE ALL ON TABLE app.t FROM "16407";': ("roles", set()),
    'GRANT SELECT ON TABLE app.t TO "16407" WITH GRANT OPTION;': ("roles", set()),
    'GRANT SELECT ON TABLE app.t TO "2024";': ("roles", {"2024"}),  # no number that a server gives
    'REVOKE ALL ON TABLE app.t FROM "016407";': ("roles", {"016407"}),
    'ALTER TABLE app.t OWNER TO "16407";': ("roles", {"16407"}),
    'CREATE TABLE a (b text COLLATE app.german, c text COLLATE pg_catalog."de-x-icu");': (
        "collations", {"app.german", "pg_catalog.de-x-icu"}
    ),
    'CREATE TABLE a (b text COLLATE pg_catalog."C", c text COLLATE pg_catalog."default");': ("collations", set()),
    'CREATE INDEX i ON a USING btree (b COLLATE "POSIX");': ("collations", set()),
    'CREATE INDEX i ON a USING btree (b COLLATE "de-x-icu");': ("collations", {"pg_catalog.de-x-icu"}),
    "CREATE TYPE r AS RANGE (\n    subtype = text,\n    collation = app.own\n);": ("collations", {"app.own"}),
    "CREATE COLLATION a.mine (provider = libc, locale = 'C');\nCREATE DOMAIN d AS text COLLATE a.mine;": (
        "collations", set()
    ),
    "CREATE COLLATION mine (provider = libc, locale = 'C');\nCREATE DOMAIN d AS text COLLATE mine;": (
        "collations", set()
    ),
    "SET default_tablespace = fast;": ("tablespaces", {"fast"}),
    'SET default_tablespace = "Fast disk";': ("tablespaces", {"Fast disk"}),
    "SET default_tablespace = '';": ("tablespaces", set()),
    "ALTER TABLE ONLY a ADD CONSTRAINT p PRIMARY KEY (id) USING INDEX TABLESPACE fast;": ("tablespaces", {"fast"}),
    "CREATE TABLE a (tablespace text);": ("tablespaces", set()),
    "CREATE FUNCTION f() RETURNS text\n    LANGUAGE sql\n    AS $a$ SELECT x COLLATE b.c -- TO you\n $a$;": (
        "collations", set()
    ),
    "INSERT INTO a VALUES ('GRANT x TO nobody');": ("roles", set()),
    "ALTER SEQUENCE s OWNED BY a.b;": ("roles", set()),
}  # fmt: skip


def archive(text: bytes, codec: Codec = Codec.NONE) -> Archive:
    return Archive(lambda: io.BytesIO(text), codec, build_index(io.BytesIO(text), codec))


@pytest.mark.parametrize("statement", NEEDS)
def test_a_statement_needs_what_it_names(statement: str) -> None:
    kind, names = NEEDS[statement]
    found = needs_of(archive(b"-- a comment: OWNER TO me;\n" + statement.encode() + b"\n" + END))
    assert replace(found, owners=frozenset()) == Needs(**{kind: frozenset(names)})


def test_owners_are_those_of_the_roles_that_get_something_as_their_own() -> None:
    text = (
        "CREATE SCHEMA s AUTHORIZATION one;\nALTER SCHEMA public OWNER TO pg_database_owner;\n"
        'ALTER TABLE s.t OWNER TO "Two";\nALTER TABLE s.t OWNER TO CURRENT_USER;\n'
        "ALTER DEFAULT PRIVILEGES FOR ROLE three IN SCHEMA s GRANT SELECT ON TABLES TO four;\n"
        "GRANT SELECT ON TABLE s.t TO five;\n"
    )
    assert needs_of(archive(text.encode() + END)).owners == {"one", "pg_database_owner", "Two", "three"}


@pytest.mark.parametrize(
    "statement", ["SET ;", "SET default_tablespace;", "CREATE EXTENSION;", "GRANT a TO;", "ALTER a"]
)
def test_a_broken_statement_needs_no_role(statement: str) -> None:
    assert needs_of(archive(statement.encode() + END)).roles == frozenset()


def test_names_are_read_in_the_dumps_encoding() -> None:
    text = "SET client_encoding = 'LATIN1';\nALTER TABLE a OWNER TO \"größe\";\n".encode("latin-1") + END
    assert needs_of(archive(text)).roles == {"größe"}


@pytest.mark.parametrize("codec", [Codec.NONE, Codec.GZIP])
def test_rows_name_nothing(codec: Codec) -> None:
    rows = b"COPY public.a (b) FROM stdin;\nGRANT x ON y TO z;\nALTER TABLE a OWNER TO b;\n\\.\n"
    text = b"CREATE EXTENSION hstore;\n" + rows + b"ALTER TABLE a OWNER TO c;\n" + END
    found = needs_of(archive(gzip.compress(text) if codec is Codec.GZIP else text, codec))
    assert found == Needs(extensions=frozenset({"hstore"}), roles=frozenset({"c"}), owners=frozenset({"c"}))
