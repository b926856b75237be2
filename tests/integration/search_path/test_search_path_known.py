"""What a run knew of its backup's restores is still known when the database is mended or gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.archive.manifest import parse_manifest
from app.domain.doubts import MOST, Doubt
from tests.fix_manifests import resealed
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, make_site

RELYING = """
    CREATE FUNCTION known(v text) RETURNS boolean LANGUAGE sql AS $$ SELECT v <> '' $$;
    CREATE FUNCTION checked(v text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN known(v); END $$;
    CREATE TABLE items (name text CONSTRAINT sound CHECK (checked(name)));
    INSERT INTO items VALUES ('a')"""
NAME = "check sound of public.items"
SAID = f"does not restore by itself: {NAME} would fail, or differ"
MENDING = "ALTER FUNCTION public.checked(text) SET search_path = public"


@pytest.fixture
def site(empty_database: TestDatabase, tmp_path: Path) -> Site:
    empty_database.execute(RELYING)
    return make_site(empty_database, tmp_path / "backups", filled=False)


def test_a_backup_says_itself_that_it_does_not_restore(site: Site, empty_database: TestDatabase) -> None:
    made = json.loads(site.cli("create", "manual", "--json").stdout)
    assert made["doubts"] == [NAME]
    empty_database.execute(MENDING)
    assert json.loads(site.cli("create", "manual", "--json").stdout)["doubts"] == []

    verified = site.cli("verify", made["backup"])
    assert (verified.code, SAID in verified.stderr) == (3, True)
    everything = json.loads(site.cli("verify", "--all", "--json").stdout)
    assert (len(everything["verified"]), len(everything["warnings"])) == (2, 1)
    assert site.cli("verify", "latest").code == 0

    assert {each["backup"]: each["doubts"] for each in json.loads(site.cli("list", "--json").stdout)} == {
        made["backup"]: [NAME],
        everything["verified"][0]: [],
    }
    assert "does not restore by itself" in site.cli("list").stdout
    shown = json.loads(site.cli("show", made["backup"], "--json").stdout)
    assert shown["doubts"] == [NAME]
    assert MENDING in shown["doubts_in_words"][0]
    assert NAME in site.cli("show", made["backup"]).stdout

    plan = ("restore", made["backup"], "--dry-run", "--json")
    (warning,) = [each for each in warnings_of(site, *plan, "--mode", "replace") if SAID in each]
    assert warning.endswith(": add --search-path public")
    assert not any(SAID in each for each in warnings_of(site, *plan, "--mode", "replace", "--search-path", "public"))
    assert not any(SAID in each for each in warnings_of(site, *plan, "--mode", "merge"))
    require_bounds(site.backups / f"{made['file']}.json")


def test_a_search_path_is_no_way_for_what_fails_in_every_session(site: Site, empty_database: TestDatabase) -> None:
    empty_database.execute(
        """CREATE FUNCTION gone(v text) RETURNS boolean LANGUAGE sql AS $$ SELECT v <> '' $$;
        CREATE FUNCTION broken(v text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN gone(v); END $$;
        CREATE TABLE others (name text CONSTRAINT sound CHECK (broken(name)));
        INSERT INTO others VALUES ('a');
        DROP FUNCTION gone(text)"""
    )
    made = json.loads(site.cli("create", "manual", "--json").stdout)
    plan = ("restore", made["backup"], "--mode", "replace", "--dry-run", "--json")
    lasting = "check sound of public.others would fail, or differ: no --search-path helps these"
    said = [each for each in warnings_of(site, *plan) if "does not restore by itself" in each]
    assert [each.endswith(lasting) for each in said] == [True, False]
    assert said[1].endswith(f"{NAME} would fail, or differ: add --search-path public")
    said = [each for each in warnings_of(site, *plan, "--search-path", "public") if "restore by itself" in each]
    assert [each.endswith(lasting) for each in said] == [True]


def warnings_of(site: Site, *arguments: str) -> list[str]:
    done = site.cli(*arguments)
    assert done.code in {0, 3}, done.stderr
    return list(json.loads(done.stdout)["warnings"])


def require_bounds(file: Path) -> None:
    """A manifest of before is read, and one that somebody else wrote takes no room."""
    manifest = parse_manifest(file.read_bytes(), file.name)
    older = json.loads(manifest.model_copy(update={"doubts": ()}).to_json())
    del older["doubts"]  # as it was written before there were doubts
    assert parse_manifest(resealed(older), file.name).doubts == ()
    many = (Doubt("x" * 9000, ("f" * 900,) * 99, "y" * 9000, lasting=False, path="z"),) * 2 * MOST
    file.write_text(manifest.model_copy(update={"doubts": many}).to_json())
    found = parse_manifest(file.read_bytes(), file.name).doubts
    assert (len(found), len(str(found[0])) < 20_000) == (MOST, True)
