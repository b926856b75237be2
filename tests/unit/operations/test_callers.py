"""Who asked for it stands in the manifest, in the catalog and in the events: a user at a command line, or a task."""

from __future__ import annotations

import json
from pathlib import Path

from app.archive.manifest import Manifest, parse_manifest
from app.domain.events import BackupEvent, EventName, RestoreEvent
from app.operations.backups.inventory import find
from app.operations.backups.keep import keep
from app.operations.backups.sync import sync
from app.operations.restore.rollback import rollback
from tests.fix_manifests import resealed
from tests.fix_memory_site import MemorySite

ALICE, BOB = "alice@db1", "task 8c1f from db2"


def who(site: MemorySite, name: EventName) -> object:
    """Who the last event of a name was for."""
    return next(event.figures["by"] for event in reversed(site.events) if event.name is name)


def test_a_backup_says_who_made_it_and_its_label(memory_site: MemorySite) -> None:
    memory_site.take(label="before the import")
    row = memory_site.catalog.backups("residency")[0]
    assert (row.made_by, row.pinned_by, memory_site.manifest().made_by) == (ALICE, None, ALICE)
    for name in (BackupEvent.STARTED, BackupEvent.CREATED):
        figures = next(event.figures for event in memory_site.events if event.name is name)
        assert (figures["by"], figures["label"]) == (ALICE, "before the import")


def test_a_pin_says_who_set_it_and_its_release_forgets_that(memory_site: MemorySite) -> None:
    memory_site.take()
    service = memory_site.with_options(by=BOB)
    assert keep(service, "latest", "audit").pinned_by == BOB
    assert (memory_site.manifest().pinned_by, memory_site.catalog.backups("residency")[0].pinned_by) == (BOB, BOB)
    assert (memory_site.find().made_by, who(memory_site, BackupEvent.PINNED)) == (ALICE, BOB)
    assert keep(service, "latest", None).pinned_by is None
    assert (memory_site.manifest().pinned_by, memory_site.find().pinned_by) == (None, None)
    assert who(memory_site, BackupEvent.RELEASED) == BOB


def test_a_catalog_that_is_rebuilt_knows_it_from_the_manifests(memory_site: MemorySite) -> None:
    memory_site.take()
    keep(memory_site.with_options(by=BOB), "latest", "audit")
    memory_site.catalog.forget("residency", memory_site.find().id)
    sync(memory_site.service)
    row = memory_site.catalog.backups("residency")[0]
    assert (row.made_by, row.pinned_by) == (ALICE, BOB)


def test_a_restore_says_who_began_it_and_who_rolled_it_back(memory_site: MemorySite) -> None:
    memory_site.take()
    done = memory_site.restore(service=memory_site.with_options(by=BOB)).restore
    assert (done.begun_by, done.rolled_back_by) == (BOB, None)
    assert (who(memory_site, RestoreEvent.STARTED), who(memory_site, RestoreEvent.COMPLETED)) == (BOB, BOB)
    assert find(memory_site.service, done.safety or "").pinned_by == BOB
    rollback(memory_site.service, done.id)
    assert (memory_site.restores()[0].begun_by, memory_site.restores()[0].rolled_back_by) == (BOB, ALICE)
    assert (who(memory_site, RestoreEvent.ROLLBACK_STARTED), who(memory_site, RestoreEvent.ROLLED_BACK)) == (
        ALICE,
        ALICE,
    )


def test_a_manifest_of_the_version_before_names_nobody(memory_site: MemorySite) -> None:
    kept = Path(__file__).parents[2] / "kept" / "revision-0003" / "daily" / "backup-2026-11-28.sql.json"
    manifest = parse_manifest(kept.read_bytes(), kept.name)
    assert (manifest.made_by, manifest.pinned_by, manifest.to_backup("a", "b").made_by) == (None, None, None)


def test_what_somebody_wrote_into_a_manifest_stays_one_short_line(memory_site: MemorySite) -> None:
    memory_site.take()
    content = json.loads(memory_site.manifest().to_json())
    content["made_by"] = "a\nb\0" + "x" * 500
    manifest = Manifest.model_validate(content)
    assert manifest.made_by is not None
    assert manifest.made_by.startswith(r"a\nb\x00x")
    assert len(manifest.made_by) == 200


def test_a_manifest_of_a_later_version_of_the_format_is_read_without_what_is_not_known(memory_site: MemorySite) -> None:
    """So a program of the version before reads a manifest that names who made the backup."""
    memory_site.take()
    content = json.loads(memory_site.manifest().to_json())
    content |= {"unknown": "member"}
    assert parse_manifest(resealed(content), "x.json") == memory_site.manifest()
