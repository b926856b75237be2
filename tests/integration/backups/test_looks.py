"""How often an operation looks at what stands in the tree: each look costs a listing, and each manifest a parse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.archive import manifest as manifests
from app.archive.manifest import Manifest, parse_manifest
from app.domain.backup import Tier
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups import opened
from app.operations.backups.inventory import inventory
from tests.fix_damaged import Damaged
from tests.fix_service import Site


@contextmanager
def parses() -> Iterator[Counter[str]]:
    """Counts how often each manifest is parsed in a block, by its name."""
    counted: Counter[str] = Counter()

    def counting(data: bytes, name: str) -> Manifest:
        counted[name] += 1
        return parse_manifest(data, name)

    with pytest.MonkeyPatch.context() as patch:
        for module in (manifests, opened):
            patch.setattr(module, "parse_manifest", counting)
        yield counted


def test_a_backup_parses_each_manifest_once(site: Site) -> None:
    service = site.service()
    assert take_backup(service, BackupRequest(tier=Tier.DAILY))
    assert take_backup(service, BackupRequest(tier=Tier.WEEKLY))
    with parses() as counted:
        assert take_backup(service, BackupRequest(tier=Tier.DAILY))
    # The daily one of today has another manifest after it.
    assert {name.partition("/")[0]: times for name, times in counted.items()} == {"daily": 2, "weekly": 1}
    assert take_backup(service, BackupRequest(tier=Tier.MANUAL))


@pytest.mark.parametrize("asked", [{"mode": "replace"}, {"mode": "merge", "tables": ["notifications"]}])
def test_a_restore_parses_each_manifest_twice_at_most(damaged: Damaged, asked: dict[str, Any]) -> None:
    assert take_backup(damaged.service(), BackupRequest(tier=Tier.DAILY))
    with parses() as counted:
        restored = damaged.run(**asked)
    assert restored.warnings == []
    times = {name.partition("/")[0]: count for name, count in counted.items()}
    # The source's is written twice meanwhile, pinned and released; the safety backup's is read to be listed.
    assert (times["manual"], times["daily"]) == (2, 1), counted
    assert times.get("safety", 0) <= 2, counted


def test_a_file_of_another_length_is_described_anew(site: Site) -> None:
    service = site.service()
    taken = take_backup(service, BackupRequest(tier=Tier.DAILY))
    assert taken
    file = site.backups / taken.backup.file
    whole = file.read_bytes()
    # As a run leaves it that dies between its two renames: its manifest waits.
    file.with_name(f"{file.name}.json").rename(file.with_name(f".{file.name}.json.{'0' * 32}.partial"))
    file.unlink()
    file.write_bytes(whole[:-1])
    before = inventory(service)
    file.write_bytes(whole)
    (now,) = (named.backup for named in inventory(service).names)
    assert now.waiting is not None
    assert [named.backup for named in inventory(service, before).names] == [now]
