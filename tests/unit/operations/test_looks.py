"""How often an operation lists the tree, and reads and parses a manifest.

A listing of the tree reads no manifest that the catalog knows, and a manifest of many tables takes a second to be
parsed. What stands is looked at anew only if time has passed, or if the operation itself has changed it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

import pytest

from app.archive import manifest as manifests
from app.archive.manifest import Facts, Manifest, parse_facts, parse_manifest
from app.domain.backup import Tier
from app.operations.backups import opened
from app.operations.backups import sync as sync_module
from app.operations.backups.delete import delete
from app.operations.backups.inventory import inventory
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.health.check import check
from app.operations.restore.rollback import rollback
from app.ports.tree import ManifestRead
from tests.fakes.tree import MemoryTree
from tests.fix_memory_site import MemorySite


@dataclass
class Looks:
    """How often the tree was listed, each manifest was read to be listed, and each content was parsed."""

    listings: int = 0
    read: Counter[str] = field(default_factory=Counter)
    facts: Counter[bytes] = field(default_factory=Counter)
    parsed: Counter[bytes] = field(default_factory=Counter)

    @property
    def most(self) -> tuple[int, int]:
        """How often the facts of one manifest were parsed, and all of one."""
        return max(self.facts.values(), default=0), max(self.parsed.values(), default=0)


@contextmanager
def looks() -> Iterator[Looks]:
    """Counts while a block runs."""
    counted, files, read_stamped = Looks(), MemoryTree.files, MemoryTree.read_stamped

    def all_of(data: bytes, name: str) -> Manifest:
        counted.parsed[data] += 1
        return parse_manifest(data, name)

    def facts_of(data: bytes, name: str) -> Facts | None:
        counted.facts[data] += 1
        return parse_facts(data, name)

    def listing(tree: MemoryTree) -> object:
        counted.listings += 1
        return files(tree)

    def reading(tree: MemoryTree, file: str, most: int | None = None) -> ManifestRead | None:
        counted.read[file] += 1
        return read_stamped(tree, file, most)

    with pytest.MonkeyPatch.context() as patch:
        for module in (manifests, opened, sync_module):
            patch.setattr(module, "parse_manifest", all_of)
        patch.setattr(manifests, "parse_facts", facts_of)
        patch.setattr(MemoryTree, "files", listing)
        patch.setattr(MemoryTree, "read_stamped", reading)
        yield counted


OPERATIONS: dict[str, tuple[Callable[[MemorySite], object], int, tuple[int, int]]] = {
    # When the run holds its tier, before the backup gets its name, and when retention is applied to what stands then.
    "create daily": (lambda site: site.take(Tier.DAILY), 3, (1, 0)),
    "prune": (lambda site: prune(site.keeping(daily=2)), 1, (1, 0)),
    "delete": (lambda site: delete(site.service, "daily/backup-2025-01-15", "why"), 1, (1, 0)),
    # It mends what nobody can use, so it must find all of that.
    "sync": (lambda site: sync(site.service), 1, (1, 1)),
    # When it begins and when it ends, and the three of its safety backup. All of a manifest is parsed when the backup
    # is opened: to be restored, or to be pinned and released.
    "merge": (lambda site: site.restore("latest-daily", mode="merge"), 5, (2, 1)),
    "replace": (lambda site: site.restore("latest-daily"), 5, (2, 1)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_lists_the_tree_and_parses_manifests_no_oftener_than_it_must(
    memory_site: MemorySite, name: str
) -> None:
    act, listings, most = OPERATIONS[name]
    memory_site.take_days(5)
    memory_site.later(days=1)
    with looks() as counted:
        act(memory_site)
    assert (counted.listings, counted.most) == (listings, most)


def test_a_rollback_lists_the_tree_once(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    done = memory_site.restore("latest-daily").restore
    with looks() as counted:
        rollback(memory_site.service, done.id)
    assert (counted.listings, counted.most) == (1, (1, 1))


def test_a_sync_opens_each_file_without_a_manifest_once(
    memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory_site.take_days(9)
    for file in memory_site.tree.files():
        del memory_site.tree.files_of_disk[f"{file.file}.json"]
    opened_files: Counter[str] = Counter()
    open_file = MemoryTree.open

    def opening(tree: MemoryTree, file: str) -> BinaryIO:
        opened_files[file] += 1
        return open_file(tree, file)

    monkeypatch.setattr(MemoryTree, "open", opening)
    with looks() as counted:
        assert len(sync(memory_site.service).healed) == 9
    assert (counted.listings, counted.read.total()) == (1, 0)
    assert (len(opened_files), opened_files.total()) == (9, 9)


NEVER_MORE: dict[str, tuple[Callable[[MemorySite], object], int]] = {
    "list": (lambda site: inventory(site.service, looking=True), 0),
    "check": (lambda site: check(site.service), 0),
    "prune": (lambda site: prune(site.service), 0),
    "create": (lambda site: site.take(Tier.DAILY), 1),  # its own
}


@pytest.mark.parametrize("name", NEVER_MORE)
def test_however_many_backups_there_are_no_manifest_is_read_that_the_catalog_knows(
    memory_site: MemorySite, name: str
) -> None:
    act, read = NEVER_MORE[name]
    memory_site.take_days(9)
    memory_site.later(days=1)
    with looks() as counted:
        act(memory_site)
    assert counted.read.total() == read
    assert counted.parsed.total() == 0
