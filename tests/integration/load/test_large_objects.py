"""Large objects are loaded in runs, and are then what they were: content, owner, rights and comment."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.archive.index import Segment, SegmentKind
from app.archive.reader import Archive
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreDataError
from app.ports.target import LoadOptions
from app.postgres.database import Database
from app.postgres.load import large_objects
from app.postgres.load.loader import SessionFactory, load
from app.postgres.load.watched import watched_session
from app.postgres.merge import large_objects as noted
from app.postgres.replace.proof import compare
from app.postgres.session import RestoreSession, restore_session
from app.postgres.target import PostgresTarget
from tests.fix_archives import archive_of, foreign
from tests.fix_matrix import Major, at_home, running_major
from tests.fix_merge import beside, request
from tests.fix_postgres import TestDatabase, scratch_database
from tests.tiers import majors

OWNERS = ("torture_owner", 'torture "reader"', "lo plain", "größe")
CONTENT = """
    CREATE TABLE people (id int PRIMARY KEY); INSERT INTO people VALUES (1), (2);
    SELECT lo_from_bytea(20000 + i, decode(repeat(md5(i::text), i % 4), 'hex')) FROM generate_series(1, 900) i;
    SELECT lo_from_bytea(30001, decode(repeat('00ff', 50000), 'hex')), lo_create(30002),
        lo_put(20003, 100000, 'behind a hole'), lo_put(20000 + 4 * i, 0, 'x') FROM generate_series(1, 1) i;
    DO $$ BEGIN FOR i IN 1..200 LOOP
        EXECUTE format('ALTER LARGE OBJECT %s OWNER TO %I', 20000 + i, (ARRAY[{}])[i % 4 + 1]); END LOOP; END $$;
    GRANT SELECT ON LARGE OBJECT 20001, 20002, 20500 TO PUBLIC; REVOKE ALL ON LARGE OBJECT 20700 FROM CURRENT_USER;
    COMMENT ON LARGE OBJECT 20001 IS E'it''s; \\n\\\\! id'; COMMENT ON LARGE OBJECT 20600 IS 'one';"""
LOOKS = """
    SELECT oid, pg_get_userbyid(lomowner), lomacl::text, md5(lo_get(oid)), obj_description(oid, 'pg_largeobject')
    FROM pg_largeobject_metadata ORDER BY oid"""
LAST = b"\n--\n-- PostgreSQL database dump complete\n--\n\n"


@pytest.fixture(scope="module", params=majors(18, 15), ids=lambda each: f"PostgreSQL {each}")
def major(request: pytest.FixtureRequest) -> Iterator[Major]:
    with running_major(request.param) as found:
        for role in OWNERS[2:]:
            TestDatabase("postgres", found.server.url()).execute(f'CREATE ROLE "{role}"')
        yield found


@pytest.fixture(scope="module")
def source(major: Major) -> Iterator[TestDatabase]:
    with major.database("with_objects") as database:
        database.execute(CONTENT.format(", ".join(f"'{owner}'" for owner in OWNERS)))
        yield database


def counted(statements: list[bytes]) -> SessionFactory:
    """Sessions that count the statements that they run one by one."""

    class Counted(RestoreSession):
        def run(self, statement: bytes, what: str) -> None:
            statements.append(statement)
            super().run(statement, what)

    @contextmanager
    def session(database: Database, jobs: int) -> Iterator[RestoreSession]:
        with restore_session(database, jobs) as found:
            yield Counted(found.connection, database.name)

    return session


@pytest.mark.parametrize("of_another", [False, True], ids=["ours", "pg_dump's"])
def test_large_objects_come_back_in_few_calls(
    major: Major, source: TestDatabase, monkeypatch: pytest.MonkeyPatch, *, of_another: bool
) -> None:
    at_home(major, monkeypatch)
    archive, facts = archive_of(source)
    if of_another:
        archive = foreign(major.run("pg_dump", database=source.name))
    statements: list[bytes] = []
    with major.database("restored") as restored:
        load(Database.from_url(restored.url), archive, 2, session_factory=counted(statements))
        assert restored.query(LOOKS) == source.query(LOOKS)
        assert len(restored.query(LOOKS)) == 902
        alone = [statement for statement in statements if b"lo_" in statement or b"LARGE OBJECT" in statement]
        # Of 3600 statements: objects of several parts, those of a role that is not ASCII, rights and comments.
        assert len(alone) < 350
        options = LoadOptions(facts=None if of_another else facts)
        proven = compare(Database.from_url(restored.url), archive, options, 1)
        assert proven.errors == []
        assert not [remark for remark in proven.remarks if "large object" in remark]
        restored.execute("ALTER LARGE OBJECT 20300 OWNER TO torture_owner; SELECT lo_put(20004, 3, 'y')")
        found = compare(Database.from_url(restored.url), archive, options, 1)
        assert "large object 20004 differs" in found.errors
        assert "owners of 1 large objects differ from the backup" in found.remarks


def test_a_watched_session_loads_runs_too(major: Major, source: TestDatabase) -> None:
    archive = foreign(major.run("pg_dump", database=source.name))
    with major.database("watched") as restored:
        load(Database.from_url(restored.url), archive, 1, session_factory=watched_session)
        assert restored.query(LOOKS) == source.query(LOOKS)


def test_a_dump_whose_backslashes_are_doubled_is_loaded_statement_by_statement(
    major: Major, source: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c standard_conforming_strings=off")
    archive = foreign(major.run("pg_dump", database=source.name))
    monkeypatch.delenv("PGOPTIONS")
    with major.database("doubled") as restored:
        load(Database.from_url(restored.url), archive, 1)
        assert restored.query(LOOKS) == source.query(LOOKS)


def test_who_loads_a_file_as_a_role_owns_its_large_objects(major: Major, source: TestDatabase) -> None:
    server = TestDatabase("postgres", major.server.url())
    server.execute("CREATE ROLE lo_stranger LOGIN PASSWORD 'secret'")
    text = major.run("pg_dump", "--no-acl", "--no-comments", database=source.name)
    try:
        with major.database("as_stranger") as restored:
            options = LoadOptions(facts=None, role="lo_stranger")
            server_of = PostgresTarget(Database.from_url(server.url), 1, "secret")
            server_of.load(restored.name, foreign(text), options, lambda _: None)
            owners = "SELECT DISTINCT pg_get_userbyid(lomowner), count(*) FROM pg_largeobject_metadata GROUP BY 1"
            assert restored.query(owners) == [("lo_stranger", 902)]
    finally:
        server.execute("DROP ROLE lo_stranger")


ORDERS = {
    b"ALTER LARGE OBJECT 7 OWNER TO torture_owner;\nALTER LARGE OBJECT 7 OWNER TO postgres;\n": "postgres",
    b"ALTER LARGE OBJECT 7 OWNER TO postgres;\nALTER LARGE OBJECT 7 OWNER TO torture_owner;\n": "torture_owner",
    b"ALTER LARGE OBJECT 7 OWNER TO session_user;\n": "postgres",
}


@pytest.mark.parametrize("owners", ORDERS)
def test_the_last_owner_of_an_object_counts(major: Major, owners: bytes) -> None:
    text = b"SET standard_conforming_strings = on;\nSELECT pg_catalog.lo_create('7');\n" + owners + LAST
    with major.database("twice") as restored:
        load(Database.from_url(restored.url), foreign(text), 1)
        owner = "SELECT pg_get_userbyid(lomowner) FROM pg_largeobject_metadata"
        assert restored.query(owner) == [(ORDERS[owners],)]


WRONG = {
    b"SELECT pg_catalog.lo_create('7');\nSELECT pg_catalog.lo_create('7');\n": "duplicate key|already exists",
    b"SELECT pg_catalog.lo_open('7', 131072);\nSELECT pg_catalog.lo_close(0);\n": "large object 7 does not exist",
    b"SELECT pg_catalog.lo_create('9999999999');\n": "out of range",
    b"ALTER LARGE OBJECT 7 OWNER TO postgres;\n": "large object 7 does not exist",
    b"SELECT pg_catalog.lo_create('6');\nSELECT pg_catalog.lo_create('7');\nALTER LARGE OBJECT 6 OWNER TO postgres;\n"
    b"ALTER LARGE OBJECT 7 OWNER TO nobody_here;\n": 'large object 7: role "nobody_here" does not exist',
    b"SELECT pg_catalog.lo_create('6');\nBEGIN;\n\nSELECT pg_catalog.lo_open('6', 131072);\n"
    b"SELECT pg_catalog.lo_close(0);\n\nSELECT pg_catalog.lo_open('7', 131072);\n"
    b"SELECT pg_catalog.lowrite(0, '\\x00');\nSELECT pg_catalog.lo_close(0);\n"
    b"\nCOMMIT;\n": "large object 7: large object 7 does not exist",
}


@pytest.mark.parametrize("statements", WRONG)
def test_what_the_server_refuses_of_a_run_fails_the_load(major: Major, statements: bytes) -> None:
    text = b"SET standard_conforming_strings = on;\n" + statements + LAST
    with major.database("refused") as restored, pytest.raises(RestoreDataError, match=WRONG[statements]):
        load(Database.from_url(restored.url), foreign(text), 1)


def test_many_objects_of_another_owner_need_few_locks(
    postgres_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_objects, "_LOCKS", 7)
    server = TestDatabase("postgres", postgres_server.url())
    server.execute("CREATE ROLE lo_owner")
    numbers = range(5, 105)
    text = b"SET standard_conforming_strings = on;\n"
    text += b"".join(b"SELECT pg_catalog.lo_create('%d');\n" % oid for oid in numbers)
    text += b"".join(b"ALTER LARGE OBJECT %d OWNER TO lo_owner;\n" % oid for oid in numbers) + LAST
    try:
        with scratch_database(postgres_server) as restored:
            load(Database.from_url(restored.url), foreign(text), 1)
            owners = "SELECT DISTINCT lomowner::regrole::text, count(*) FROM pg_largeobject_metadata GROUP BY 1"
            assert restored.query(owners) == [("lo_owner", 100)]
    finally:
        server.execute("DROP ROLE lo_owner")


class CountingArchive(Archive):
    """Notes which segments are read."""

    def __init__(self, archive: Archive) -> None:
        text = b"".join(archive.whole())
        super().__init__(lambda: io.BytesIO(text), Codec.NONE, archive.index)
        self.read: list[Segment] = []

    def text(self, segment: Segment) -> Iterator[bytes]:
        self.read.append(segment)
        return super().text(segment)


def test_a_merge_looks_at_large_objects_once(
    major: Major, source: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(major, monkeypatch)
    archive = CountingArchive(archive_of(source, Codec.NONE)[0])
    with beside(source, archive, request()) as merging:
        assert not [note for note in merging.preview().notes if "large" in note]
    (objects,) = [segment for segment in archive.index.segments if segment.kind is SegmentKind.LARGE_OBJECTS]
    assert archive.read.count(objects) == 1
    source.execute(
        "CREATE TABLE kept AS SELECT oid, lo_get(oid) AS data FROM pg_largeobject_metadata WHERE oid < 20010"
    )
    source.execute("SELECT lo_unlink(oid) FROM kept")
    try:
        with beside(source, archive, request()) as merging:
            notes = [note for note in merging.preview().notes if "large" in note]
            missing = "9 large objects of the backup are not in the live database; a merge does not add them"
            assert notes == [missing]
        monkeypatch.setattr(noted, "LOOKED_AT_BYTES", objects.raw_bytes - 1000)
        with beside(source, archive, request()) as merging:
            assert [note for note in merging.preview().notes if note.startswith("at least ")]
    finally:
        source.execute("SELECT lo_from_bytea(oid, data) FROM kept; DROP TABLE kept")
