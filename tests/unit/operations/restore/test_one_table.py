"""The safety backup of a restore of chosen tables holds what can change, and is never taken for a whole one."""

from __future__ import annotations

import pytest

from app.domain.backup import Origin, Tier
from app.errors import BackupNotFoundError, BackupValidationError, RestoreValidationError
from app.operations.backups.delete import delete
from app.operations.backups.inventory import inventory, newest_verified
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.restore.preview import preview
from app.operations.restore.request import RestoreRequest
from tests.fix_memory_restores import DAMAGED
from tests.fix_memory_site import MemorySite

ONE = {"mode": "replace", "tables": ["people"]}


@pytest.fixture
def site(damaged_memory_site: MemorySite) -> MemorySite:
    return damaged_memory_site


def safety_of(site: MemorySite, **options: object) -> str:
    return str(site.restore(**(ONE | options)).restore.safety)


def test_it_holds_the_tables_that_can_change(site: MemorySite) -> None:
    safety = site.find(safety_of(site))
    assert (safety.tables_held, safety.rows, safety.tables) == (("public.people",), 2, 1)
    assert "the rows of public.people, and no other table can change" in site.restore(**ONE).findings[-1].message


@pytest.mark.parametrize("options", [{"tables": None}, {"mode": "merge", "tables": []}])
def test_it_is_whole_if_no_tables_are_chosen(site: MemorySite, options: dict[str, object]) -> None:
    assert site.find(safety_of(site, **options)).is_whole


def test_it_is_whole_if_code_of_users_may_change_anything(site: MemorySite) -> None:
    site.server.has_triggers = True
    assert site.find(safety_of(site)).is_whole


def test_no_alias_but_its_own_means_it_and_no_number_counts_it(site: MemorySite) -> None:
    part = safety_of(site)
    service = site.service
    newest = newest_verified(service, inventory(service))
    assert newest is not None
    assert [site.find(name).id for name in ("latest", "oldest")] == [newest.id] * 2
    assert site.find("latest-safety").id == part
    with pytest.raises(BackupValidationError, match="newest verified"):
        delete(service, newest.id, "no room")
    prune(site.keeping(daily=0, safety=0))
    assert newest.id in site.ids()


def test_it_replaces_no_database(site: MemorySite) -> None:
    part = safety_of(site)
    rows = site.rows
    for options in ({}, {"allow_missing": True}):
        with pytest.raises(RestoreValidationError, match=r"holds the rows of public\.people only"):
            site.restore(backup=part, mode="replace", **options)
    assert site.rows == rows
    request = RestoreRequest.parse(site.service, part, mode="replace", into="aside")
    assert any("all other tables will be empty" in warning for warning in preview(site.service, request).warnings)
    site.restore(backup=part, mode="replace", tables=["people"])
    assert site.rows == DAMAGED


def test_a_catalog_or_a_manifest_that_is_lost_makes_it_no_whole_one(site: MemorySite) -> None:
    part = safety_of(site)
    del site.tree.files_of_disk[f"{site.find(part).file}.json"]
    assert not site.find(part).is_whole
    sync(site.service)
    assert (site.find(part).tables_held, site.find(part).origin) == (("public.people",), Origin.DUMP)
    site.catalog.forget("residency", part)
    sync(site.service)
    assert site.find(part).tables_held == ("public.people",)
    assert site.find(part).tier is Tier.SAFETY


def test_an_older_backup_is_whole(site: MemorySite) -> None:
    with pytest.raises(BackupNotFoundError):
        site.find("latest-safety")
    assert site.find("latest").is_whole
