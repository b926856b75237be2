"""How often an operation lists the tree, and parses a manifest.

A listing reads every manifest's bytes, and a manifest of many tables takes a second to be parsed. What stands is looked
at anew only if time has passed, or if the operation itself has changed it; what was parsed before is not parsed again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from app.archive import manifest as manifests
from app.archive.manifest import Manifest, parse_manifest
from app.domain.backup import Tier
from app.operations.backups import opened
from app.operations.backups import sync as sync_module
from app.operations.backups.delete import delete
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.restore.rollback import rollback
from tests.fakes.tree import MemoryTree
from tests.fix_memory_site import MemorySite


@dataclass
class Looks:
    """How often the tree was listed, and each content of a manifest was parsed."""

    listings: int = 0
    parsed: Counter[bytes] = field(default_factory=Counter)

    @property
    def most(self) -> int:
        """Of one manifest."""
        return max(self.parsed.values(), default=0)


@contextmanager
def looks() -> Iterator[Looks]:
    """Counts while a block runs."""
    counted, files = Looks(), MemoryTree.files

    def counting(data: bytes, name: str) -> Manifest:
        counted.parsed[data] += 1
        return parse_manifest(data, name)

    def listing(tree: MemoryTree) -> object:
        counted.listings += 1
        return files(tree)

    with pytest.MonkeyPatch.context() as patch:
        for module in (manifests, opened, sync_module):
            patch.setattr(module, "parse_manifest", counting)
        patch.setattr(MemoryTree, "files", listing)
        yield counted


OPERATIONS: dict[str, tuple[Callable[[MemorySite], object], int, int]] = {
    # When the run holds its tier, before the backup gets its name, and when retention is applied to what stands then.
    "create daily": (lambda site: site.take(Tier.DAILY), 3, 1),
    "prune": (lambda site: prune(site.keeping(daily=2)), 1, 1),
    "delete": (lambda site: delete(site.service, "daily/backup-2025-01-15", "why"), 1, 1),
    "sync": (lambda site: sync(site.service), 1, 2),
    # When it begins and when it ends, and the three of its safety backup. A manifest is parsed when it is listed, and
    # when the backup is opened: to be restored, or to be pinned and released.
    "merge": (lambda site: site.restore("latest-daily", mode="merge"), 5, 2),
    "replace": (lambda site: site.restore("latest-daily"), 5, 2),
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
    assert (counted.listings, counted.most) == (1, 2)
