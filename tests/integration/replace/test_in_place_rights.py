"""Replace in place: rights come back as they were, and what is there too much is found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.archive.manifest import ServerFacts
from app.archive.reader import Archive
from app.errors import RestoreDataError
from tests.fix_archives import archive_of, as_role, foreign, target, text_of
from tests.fix_damaged import execute
from tests.fix_matrix import Major, at_home, running_major
from tests.fix_postgres import TestDatabase
from tests.tiers import majors

_RIGHTS = """
    SELECT pg_get_userbyid(nspowner),
           ARRAY(SELECT DISTINCT a::text FROM unnest(coalesce(nspacl, acldefault('n', nspowner))) a ORDER BY 1)
    FROM pg_namespace WHERE nspname = 'public'"""


@pytest.fixture(scope="module", params=majors(18), ids=lambda each: f"PostgreSQL {each}")
def major(request: pytest.FixtureRequest) -> Iterator[Major]:
    with running_major(request.param) as found:
        for statement in (
            "CREATE ROLE own LOGIN",
            "CREATE ROLE reader",
            "CREATE ROLE dbo LOGIN PASSWORD 'secret'",
            "GRANT own TO dbo",
        ):
            execute(found.server, statement)
        yield found


@pytest.fixture
def admin(major: Major, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestDatabase]:
    """A database of a role that may make no other, as the superuser sees it."""
    at_home(major, monkeypatch)  # a newer pg_dump would say the rights as they are in a new database of its own major
    server = major.server
    execute(server, "CREATE DATABASE theirs OWNER dbo TEMPLATE template0")
    database = TestDatabase("theirs", server.url("theirs"))
    # From 15 on that is so from the start.
    database.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO PUBLIC")
    database.execute("ALTER SCHEMA public OWNER TO own; CREATE TABLE public.people (id int PRIMARY KEY)")
    database.execute("ALTER TABLE public.people OWNER TO own")
    yield database
    execute(server, "DROP DATABASE theirs WITH (FORCE)")


def replaced(admin: TestDatabase, archive: Archive, facts: ServerFacts | None) -> list[str]:
    """Replace as the owner; returns the remarks."""
    return target(TestDatabase(admin.name, as_role(admin.url, "dbo")), 1).replace_in_place(
        archive, facts, lambda _: None
    )


def dumps_the_owner_of_public(admin: TestDatabase) -> bool:
    """Whether pg_dump of that major says whose it is."""
    return int(admin.query("SHOW server_version_num")[0][0]) >= 150_000


def test_rights_on_schema_public_come_back_as_they_were(admin: TestDatabase) -> None:
    admin.execute("GRANT USAGE ON SCHEMA public TO reader WITH GRANT OPTION")
    archive, facts = archive_of(admin)
    before = admin.query(_RIGHTS)

    assert replaced(admin, archive, facts) == []
    assert admin.query(_RIGHTS) == before

    admin.execute("REVOKE ALL ON SCHEMA public FROM reader CASCADE; GRANT CREATE ON SCHEMA public TO PUBLIC")
    admin.execute("GRANT ALL ON SCHEMA public TO dbo WITH GRANT OPTION")
    if dumps_the_owner_of_public(admin):
        admin.execute("ALTER SCHEMA public OWNER TO dbo")
    assert replaced(admin, archive, facts) == []
    assert admin.query(_RIGHTS) == before


def test_the_owner_of_schema_public_in_a_new_database_comes_back(admin: TestDatabase) -> None:
    if not dumps_the_owner_of_public(admin):
        pytest.skip("there it belongs to a superuser, and no dump says whom else")
    admin.execute("ALTER SCHEMA public OWNER TO pg_database_owner; ALTER TABLE people OWNER TO dbo")
    archive, facts = archive_of(admin)
    before = admin.query(_RIGHTS)
    admin.execute("ALTER SCHEMA public OWNER TO own; GRANT ALL ON SCHEMA public TO PUBLIC")
    assert replaced(admin, archive, facts) == []
    assert admin.query(_RIGHTS) == before


def test_rights_that_the_role_cannot_take_back_are_named(admin: TestDatabase) -> None:
    archive, facts = archive_of(admin)
    admin.execute("ALTER SCHEMA public OWNER TO postgres; GRANT ALL ON SCHEMA public TO dbo, own, reader")
    remarks = replaced(admin, foreign(text_of(archive).replace(b"ALTER SCHEMA public OWNER TO own;", b"")), facts)
    assert any("acl SCHEMA public" in remark for remark in remarks), remarks


def test_a_table_that_is_there_too_much_is_an_error(admin: TestDatabase) -> None:
    archive, facts = archive_of(admin)
    admin.execute("INSERT INTO people VALUES (1)")
    marker = b"CREATE TABLE public.people"
    more = text_of(archive).replace(marker, b"CREATE TABLE public.more (id int);\n\n" + marker)
    assert more.count(marker) == 1
    with pytest.raises(RestoreDataError, match=r"table public\.more is not in the backup"):
        replaced(admin, foreign(more), facts)
    assert admin.query("SELECT id FROM people") == [(1,)]
    assert admin.query("SELECT to_regclass('public.more')") == [(None,)]
