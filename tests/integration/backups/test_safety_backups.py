"""Safety backups: like the others in all that is done with them, and never in retention's way while a restore lives."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.backup import Tier
from app.domain.checks import Severity
from app.errors import BackupPermissionError, BackupValidationError
from app.operations.backup.publish import BackupResult
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find, inventory
from app.operations.backups.keep import keep
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.backups.verify import verify
from app.operations.health.check import check
from app.operations.service import Service
from tests.fix_days import DAILY, START, take_days
from tests.fix_service import At, Site

PIN = "restore 0123456789ab"


def take_safety(service: Service, kept: str | None = None, at: At | None = None) -> BackupResult:
    request = BackupRequest(tier=Tier.SAFETY, label="before a restore", pinned_reason=kept)
    taken = take_backup(service, request, at) if at else take_backup(service, request)
    assert taken is not None
    return taken


def ids(service: Service) -> set[str]:
    return {each.id for each in inventory(service)}


def test_a_safety_backup_is_named_by_its_second_and_works_in_every_verb(site: Site) -> None:
    service = replace(site.service(), clock=lambda: START)
    first, second = take_safety(service), take_safety(service)
    assert first.backup.file == "safety/backup-2025-01-10T020000Z.sql"
    assert second.backup.id == "safety/backup-2025-01-10T020001Z", "two in one second do not share a name"
    assert find(service, "latest-safety").id == second.backup.id
    assert len(verify(service).verified) == 2
    known = service.catalog.backups(service.database)
    for path in site.backups.glob("catalog.db*"):
        path.unlink()
    service = site.service(BACKUP_KEEP_SAFETY="1")
    assert sorted(sync(service).added) == [first.backup.id, second.backup.id]
    assert service.catalog.backups(service.database) == known
    assert prune(service).plan.reasons[second.backup.id][0] == "safety 1 of 1"
    assert ids(service) == {second.backup.id}


def test_a_safety_backup_takes_no_place_of_another_tier(site: Site) -> None:
    service = site.service(BACKUP_KEEP_DAYS="2", BACKUP_KEEP_MANUAL="1", BACKUP_KEEP_SAFETY="2")
    take_days(service, 2)
    take_backup(service, BackupRequest(tier=Tier.MANUAL))
    before = ids(service)
    safe = {take_safety(replace(service, clock=lambda n=n: START + timedelta(days=n))).backup.id for n in (1, 2, 3)}
    assert before < ids(service)
    assert len(ids(service) & safe) == 2


def test_while_pinned_it_and_the_source_outlive_retention_that_is_full(site: Site) -> None:
    service = site.service(BACKUP_KEEP_DAYS="1", BACKUP_KEEP_SAFETY="1")
    take_days(service, 1)
    source = find(service, "oldest").id
    before = replace(service, clock=lambda: START + timedelta(hours=1))
    take_safety(before)
    keep(service, source, PIN)
    safe = take_safety(before, PIN).backup
    files = {name: digest for name, digest in site.files().items() if name.startswith((source, safe.id))}
    for day in (1, 2):
        later = replace(service, clock=lambda day=day: START + timedelta(days=day))
        take_backup(later, DAILY)
        take_safety(later)
        assert prune(later).problems == []
    assert len(ids(service)) == 4, "the two, and one that its number keeps of each tier"
    assert {source, safe.id} < ids(service)
    assert files.items() <= site.files().items()
    assert verify(service).failed == []
    for name in (source, safe.id):
        keep(service, name, None)
    prune(service)
    assert not {source, safe.id} & ids(service)


@pytest.mark.parametrize("kept", [None, PIN])
def test_a_safety_backup_is_pinned_before_retention_can_see_it(site: Site, kept: str | None) -> None:
    """Where none are kept, only the pin saves it from the retention that follows its own making."""
    service = site.service(BACKUP_KEEP_SAFETY="0")
    newer = At(lambda: take_backup(site.service(BACKUP_KEEP_SAFETY="0"), DAILY), phase="read back")
    taken = take_safety(service, kept, newer)
    assert newer.done
    assert (taken.backup.id in ids(service)) == (kept is not None)
    assert taken.backup.pinned_reason == kept
    rows = {each.id: each.pinned_reason for each in service.catalog.backups(service.database)}
    assert rows.get(taken.backup.id) == kept


def test_a_pin_that_is_no_line_of_text_is_refused_before_anything_is_done() -> None:
    with pytest.raises(BackupValidationError, match="the reason is not a line of text"):
        BackupRequest(tier=Tier.SAFETY, pinned_reason="two\nlines")


def test_check_finds_that_none_could_be_written_before_a_restore_needs_one(
    site: Site, ordinary: tuple[str, ...]
) -> None:
    service = site.service()
    take_backup(service, DAILY)
    assert all(each.severity is Severity.OK for each in check(service))
    folder = site.backups / "safety"
    folder.chmod(0o500)
    try:
        done = site.cli("check", prefix=ordinary)
    finally:
        folder.chmod(0o700)
    assert done.code == BackupPermissionError.exit_code
    assert str(folder) in done.stdout
