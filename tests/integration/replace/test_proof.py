"""The proof of a restored database: silent where it is what the backup holds, and loud about every single change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pytest

from app.archive.inspect.needs import needs_of
from app.archive.manifest import ServerFacts
from app.archive.reader import Archive
from app.domain.backup import Codec
from app.embedded.postgres import EmbeddedPostgres
from app.errors import RestoreBusyError, RestoreDataError, RestorePermissionError, TargetUnavailableError
from app.ports.target import LoadOptions
from app.postgres.database import Database
from app.postgres.dump import ranges, snapshot
from app.postgres.load.loader import load
from app.postgres.replace.proof import compare
from tests.fix_archives import archive_of, as_role, foreign, target, text_of
from tests.fix_matrix import Major, at_home, running_major, torment
from tests.fix_postgres import TestDatabase, scratch_database
from tests.tiers import majors, sample_of

MAJORS = majors(18)
# What the tests change one thing of; big is read by ranges, which are small here.
CONTENT = """
    CREATE TABLE big (id int PRIMARY KEY, t text);
    INSERT INTO big SELECT i, repeat('secret', i % 120) FROM generate_series(1, 6000) i;
    CREATE TABLE small (id int PRIMARY KEY, v text CHECK (v <> ''), big int REFERENCES big);
    INSERT INTO small SELECT i, 'secret ' || i, i FROM generate_series(1, 100) i;
    CREATE TABLE bare (v text); INSERT INTO bare VALUES ('one'), ('two'), ('two');
    CREATE INDEX big_t ON big (t); CREATE SEQUENCE seq; SELECT setval('seq', 41);
    CREATE VIEW shown AS SELECT id FROM small;
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TRIGGER trg BEFORE INSERT ON small FOR EACH ROW EXECUTE FUNCTION f();
    COMMENT ON TABLE small IS 'small'; GRANT SELECT ON small TO PUBLIC;
    SELECT lo_from_bytea(4711, decode(repeat('00ff', 20000), 'hex')), lo_create(4712);"""
# change -> what the error says
CHANGES = {
    "UPDATE big SET t = 'Secret' WHERE id = 5999": "rows of table public.big differ",
    "UPDATE bare SET v = 'two ' WHERE v = 'one'": "rows of table public.bare differ",
    "DELETE FROM big WHERE id = 777": "table public.big has 5999 rows, not 6000",
    "INSERT INTO bare VALUES ('one')": "table public.bare has 4 rows, not 3",
    "UPDATE bare SET v = 'one' WHERE ctid = (SELECT max(ctid) FROM bare)": "table public.bare differ",
    "DROP TABLE bare": "table public.bare is missing, table public.bare is missing",
    "CREATE TABLE more (a int)": "table public.more is not in the backup",
    "SELECT setval('seq', 42)": "sequence public.seq has another value",
    "SELECT setval('seq', 41, false)": "sequence public.seq has another value",
    "DROP SEQUENCE seq": "sequence public.seq is missing",
    "SELECT lo_put(4711, 30000, 'x')": "large object 4711 differs",
    "SELECT lo_put(4712, 0, 'x')": "large object 4712 differs",
    "SELECT lo_unlink(4712)": "large object 4712 is missing",
    "SELECT lo_create(4713)": "1 large objects are not in the backup",
    "DROP INDEX big_t": "index public.big_t is missing",
    "ALTER TABLE small DROP CONSTRAINT small_big_fkey": "fk constraint public.small small_big_fkey is missing",
    "ALTER TABLE small DROP CONSTRAINT small_pkey": "constraint public.small small_pkey is missing",
    "DROP TRIGGER trg ON small": "trigger public.small trg is missing",
    "DROP VIEW shown": "view public.shown is missing",
    "COMMENT ON TABLE small IS NULL": "comment public.TABLE small is missing",
    "REVOKE SELECT ON small FROM PUBLIC": "acl public.TABLE small is missing",
}
OTHERWISE = "1 objects differ from the backup: table public.small"
# change -> what the remark says: the words of the schema differ, nothing of the content
REMARKS = {
    "ALTER TABLE small DROP CONSTRAINT small_v_check": OTHERWISE,
    "CREATE INDEX more ON small (v)": "1 objects are not in the backup: index public.more",
    "ALTER TABLE small ALTER v SET DEFAULT 'x'": OTHERWISE,
    "ALTER LARGE OBJECT 4711 OWNER TO pg_monitor": "owners of 1 large objects differ from the backup",
}


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup and the facts of where it came from."""

    archive: Archive
    facts: ServerFacts


@pytest.fixture(scope="module")
def source(postgres_server: EmbeddedPostgres) -> Iterator[TestDatabase]:
    with scratch_database(postgres_server) as database:
        database.execute(CONTENT)
        yield database


@pytest.fixture(scope="module")
def backup(source: TestDatabase) -> Backup:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RANGE_BYTES", "LARGE_BYTES", "MANY_BYTES"):
            patch.setattr(ranges, name, 256 << 10)
        made = Backup(*archive_of(source))
    assert sum(segment.pages is not None for segment in made.archive.index.segments) > 2
    return made


def proof(database: TestDatabase, backup: Backup, *, ours: bool = True, url: str | None = None) -> list[str]:
    facts = backup.facts if ours else None
    restored = Database.from_url(url or database.url)
    return compare(restored, backup.archive, LoadOptions(facts=facts), 2).require_equal(database.name)


@pytest.fixture(scope="module", params=MAJORS, ids=lambda each: f"PostgreSQL {each}")
def major(request: pytest.FixtureRequest) -> Iterator[Major]:
    with running_major(request.param) as found:
        yield found


@pytest.mark.parametrize("codec", sample_of([Codec.ZSTD, Codec.NONE], chosen=(0,)))
def test_everything_that_pg_dump_carries_is_proven_without_a_remark(
    major: Major, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(major, monkeypatch)
    with major.database("torture") as database, major.database("restored") as restored:
        torment(major, database)
        archive, facts = archive_of(database, codec)
        needs = needs_of(archive)
        assert needs.extensions == {"btree_gist", "hstore", "torture_config", "pg_trgm"}
        assert needs.roles == {"postgres", "torture_owner", 'torture "reader"'}
        assert target(database).missing(needs) == []
        load(Database.from_url(restored.url), archive, 2)
        read: list[int] = []
        found = compare(Database.from_url(restored.url), archive, LoadOptions(facts=facts), 2, read.append)
        assert found.require_equal("restored") == []
        assert sum(read) > 0.99 * archive.index.raw_bytes
        stock = foreign(major.run("pg_dump", database=database.name))
        assert (
            compare(Database.from_url(restored.url), stock, LoadOptions(facts=None), 2).require_equal("restored") == []
        )
        inserts = foreign(major.run("pg_dump", "--rows-per-insert=100", database=database.name))
        remarks = compare(Database.from_url(restored.url), inserts, LoadOptions(facts=None), 1).require_equal(
            "restored"
        )
        assert any("were not compared: the file has them in another form" in remark for remark in remarks)


@pytest.mark.parametrize("change", CHANGES)
def test_a_single_change_is_found_and_named(source: TestDatabase, backup: Backup, change: str) -> None:
    with copied(source) as restored:
        restored.execute(change)
        with pytest.raises(RestoreDataError, match=re.escape(CHANGES[change])) as caught:
            proof(restored, backup)
        assert caught.value.hint
        assert "secret" not in caught.value.message.lower()


@pytest.mark.parametrize("change", REMARKS)
def test_other_words_are_a_remark(source: TestDatabase, backup: Backup, change: str) -> None:
    with copied(source) as restored:
        restored.execute(change)
        assert proof(restored, backup) == [REMARKS[change]]


@contextmanager
def copied(source: TestDatabase) -> Iterator[TestDatabase]:
    """A faithful copy, by the server itself."""
    admin, name = beside(source, "postgres"), f"{source.name}_copy"
    admin.execute(f"CREATE DATABASE {name} TEMPLATE {source.name}")
    try:
        yield beside(source, name)
    finally:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def made_like(database: TestDatabase) -> Iterator[TestDatabase]:
    """A new database like another one."""
    made, name = target(database), f"{database.name}_made"
    made.create(name, None)
    try:
        yield beside(database, name)
    finally:
        made.drop(name)


def beside(database: TestDatabase, name: str) -> TestDatabase:
    return TestDatabase(name, re.sub(r"/\w+$", f"/{name}", database.url))


def test_a_faithful_copy_is_proven(source: TestDatabase, backup: Backup) -> None:
    with copied(source) as restored:
        assert proof(restored, backup) == []
        assert proof(restored, backup, ours=False) == []


def test_the_rows_are_read_as_the_backup_read_them(source: TestDatabase) -> None:
    source.execute(
        "CREATE TABLE told (a bytea, at timestamptz, i interval, f float8, m text);"
        "INSERT INTO told VALUES ('\\x00ff5c', '2025-01-01 12:00+02', '1 day -2 hours', 1/3.0, 'größe')"
    )
    try:
        backup = Backup(*archive_of(source))
        with copied(source) as restored:
            for setting in ("bytea_output = 'escape'", "TimeZone = 'Asia/Tokyo'", "IntervalStyle = 'sql_standard'",
                            "extra_float_digits = -5", "DateStyle = 'German'"):  # fmt: skip
                restored.execute(f"ALTER DATABASE {restored.name} SET {setting}")
            assert proof(restored, backup) == []
            latin = text_of(backup.archive).decode().replace("client_encoding = 'UTF8'", "client_encoding = 'LATIN1'")
            assert proof(restored, Backup(foreign(latin.encode("latin-1")), backup.facts), ours=False) == [
                "rows of table public.told differ"  # its bytea, since nobody knows how the file's maker read it
            ]
    finally:
        source.execute("DROP TABLE told")


def test_columns_in_another_order_are_the_same_rows(empty_database: TestDatabase) -> None:
    empty_database.execute(
        "CREATE TABLE parent (a int, b text); CREATE TABLE child (c int, b text, a int);"
        "ALTER TABLE child INHERIT parent; INSERT INTO child VALUES (1, 'b', 2), (3, 'd', 4)"
    )
    backup = Backup(*archive_of(empty_database))
    with made_like(empty_database) as restored:
        load(Database.from_url(restored.url), backup.archive, 1)
        assert proof(restored, backup) == ["1 objects differ from the backup: table public.child"]
        restored.execute("UPDATE child SET a = 5 WHERE a = 4")
        with pytest.raises(RestoreDataError, match=r"rows of table public\.child differ"):
            proof(restored, backup)


def test_a_foreign_dump_must_have_the_same_rows_and_may_read_otherwise(source: TestDatabase, backup: Backup) -> None:
    text = text_of(backup.archive)
    with copied(source) as restored:
        restored.execute("UPDATE bare SET v = 'three' WHERE v = 'one'")
        assert proof(restored, Backup(foreign(text), backup.facts), ours=False) == ["rows of table public.bare differ"]
        restored.execute("DELETE FROM bare WHERE v = 'three'")
        with pytest.raises(RestoreDataError, match=r"table public\.bare has 2 rows, not 3"):
            proof(restored, Backup(foreign(text), backup.facts), ours=False)


def test_a_dump_of_another_major_is_compared_as_far_as_that_goes(source: TestDatabase, backup: Backup) -> None:
    older = re.sub(rb"(by pg_dump version) \d+", rb"\1 13", text_of(backup.archive))
    archive = foreign(older)
    with copied(source) as restored:
        restored.execute("COMMENT ON TABLE small IS NULL")
        (remark,) = proof(restored, Backup(archive, backup.facts))
        assert "the schema's texts were not compared: the backup is by pg_dump 13" in remark
        restored.execute("DROP INDEX big_t")
        with pytest.raises(RestoreDataError, match=r"index public\.big_t is missing"):
            proof(restored, Backup(archive, backup.facts))


def test_many_differences_are_counted(source: TestDatabase, backup: Backup) -> None:
    with copied(source) as restored:
        restored.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        with pytest.raises(RestoreDataError, match=r", .* and \d+ more"):
            proof(restored, backup)


def test_a_role_that_may_not_read_is_told_so(source: TestDatabase, backup: Backup) -> None:
    source.execute("CREATE ROLE no_reader LOGIN PASSWORD 'secret'")
    try:
        with pytest.raises(RestorePermissionError) as caught:
            proof(source, backup, url=as_role(source.url, "no_reader"))
        assert caught.value.hint
    finally:
        source.execute("DROP ROLE no_reader")


def test_a_locked_table_and_a_server_that_is_gone_are_errors_of_their_own(
    source: TestDatabase, backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "LOCK_WAIT_MS", 300)
    with psycopg.connect(source.url) as locker:
        locker.execute("LOCK TABLE small")
        with pytest.raises(RestoreBusyError, match="stayed locked") as caught:
            proof(source, backup)
        assert caught.value.hint
    with pytest.raises(TargetUnavailableError) as gone:
        proof(source, backup, url="postgresql://a@127.0.0.1:1/live")
    assert gone.value.hint
