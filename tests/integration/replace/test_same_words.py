"""A database that is restored says the same as before, also if its server spells it otherwise from then on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.archive.inspect.content import content_of
from app.ports.target import LoadOptions
from app.postgres.database import Database
from app.postgres.load.loader import load
from app.postgres.replace.proof import compare
from app.postgres.replace.schema_diff import schema_differences
from tests.fix_archives import archive_of, foreign
from tests.fix_matrix import TORTURE, Major, at_home, running_major
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, make_site
from tests.tiers import THOROUGH, majors

pytestmark = THOROUGH  # few have what it takes

REWORDED = (TORTURE / "reworded.sql").read_text()


@pytest.fixture(params=majors(18), ids=lambda number: f"PostgreSQL {number}")
def major(request: pytest.FixtureRequest) -> Iterator[Major]:
    with running_major(request.param) as found:
        yield found


def test_what_a_server_spells_otherwise_once_it_was_restored_is_the_same(
    major: Major, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(major, monkeypatch)
    with major.database("first") as first, major.database("second") as second:
        first.execute(REWORDED)
        archive, facts = archive_of(first)
        load(Database.from_url(second.url), archive, 2)
        differences = compare(Database.from_url(second.url), archive, LoadOptions(facts=facts), 2)
        assert differences.require_equal("second") == differences.otherwise == []
        before, after = (content_of(some).entries.words for some in (archive, archive_of(second)[0]))
        assert sum(before[name] != after[name] for name in before) >= 12, "the server spells so many otherwise"
        assert schema_differences(Database.from_url(second.url), archive) == ([], [])
        # Who owns what is compared with a dump that says so, and with no other.
        second.execute("ALTER TABLE reworded OWNER TO torture_owner")
        assert schema_differences(Database.from_url(second.url), archive)[0] == ["table public.reworded differs"]
        ownerless = foreign(major.run("pg_dump", "--no-owner", database="first"))
        assert schema_differences(Database.from_url(second.url), ownerless) == ([], [])
        assert (
            compare(Database.from_url(second.url), ownerless, LoadOptions(facts=None), 2).require_equal("second") == []
        )


def test_the_first_replace_of_a_database_made_by_migrations_has_no_warnings(
    empty_database: TestDatabase, site_of_migrations: Site
) -> None:
    site = site_of_migrations
    assert site.cli("create", "manual").code == 0
    words = ("restore", "latest", "--mode", "replace", "--confirm", empty_database.name, "--json")
    done = site.cli(*words)
    assert (done.code, json.loads(done.stdout)["warnings"], json.loads(done.stdout)["otherwise"]) == (0, [], [])
    assert json.loads(site.cli("diff", "latest", "--json").stdout)["schema"] == []
    empty_database.execute("ALTER TABLE rota DROP CONSTRAINT rota_state_check, ADD CHECK (state IN ('open', 'shut'))")
    found = json.loads(site.cli("diff", "latest", "--json").stdout)
    (other,) = found["otherwise"]
    assert found["schema"] == ["table public.rota differs"]
    assert (other["object"], "'closed'" in other["backup"], "'shut'" in other["database"]) == (
        "table public.rota",
        True,
        True,
    )
    assert "table public.rota differs" in site.cli("diff", "latest").stdout


def test_a_replace_shows_both_texts_of_what_reads_otherwise(
    empty_database: TestDatabase, site_of_migrations: Site
) -> None:
    site = site_of_migrations
    empty_database.execute(
        "CREATE TABLE parent (a int, b text); CREATE TABLE child (c int, b text, a int);"
        "ALTER TABLE child INHERIT parent"
    )
    assert site.cli("create", "manual").code == 0
    done = site.cli("restore", "latest", "--mode", "replace", "--confirm", empty_database.name, "--json")
    told = json.loads(done.stdout)
    assert done.code == 3
    assert told["warnings"] == ["1 objects differ from the backup: table public.child"]
    (other,) = told["otherwise"]
    assert other["object"] == "table public.child"
    assert other["backup"].index("c integer") < other["backup"].index("a integer")
    assert other["database"].index("a integer") < other["database"].index("c integer")


@pytest.fixture
def site_of_migrations(empty_database: TestDatabase, tmp_path: Path) -> Site:
    empty_database.execute("CREATE TABLE rota (state varchar(10) CHECK (state IN ('open', 'closed')))")
    return make_site(empty_database, tmp_path / "backups", filled=False)
