"""A look at the tree that goes by an earlier one."""

from __future__ import annotations

from app.domain.backup import Tier
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import inventory
from tests.fix_service import Site


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
