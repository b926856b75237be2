"""A backup that is replaced or removed while it is read is no damaged one: what is said is of what stands there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.domain.backup import Backup, Tier
from app.errors import BackupNotFoundError, BackupValidationError
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find, inventory
from app.operations.backups.keep import keep
from app.operations.backups.opened import described
from app.operations.backups.verify import VerifyResult, verify
from app.operations.restore.preview import diff
from app.operations.service import Progress, Service
from tests.fix_service import At, Site
from tests.meanwhile import hooked, publishing
from tests.tiers import pairs, thorough_at

START = datetime(2025, 1, 10, 2, 0, tzinfo=UTC)
DAILY = BackupRequest(tier=Tier.DAILY)
ID = "daily/backup-2025-01-10"
Moment = Callable[[Service, Callable[[], object]], tuple[Service, Progress]]


def service_of(site: Site, **settings: str) -> Service:
    return replace(site.service(**settings), clock=lambda: START)


def take(service: Service) -> Backup:
    taken = take_backup(service, DAILY)
    assert taken is not None
    return taken.backup


def renewed(site: Site, **settings: str) -> Backup:
    """The day's backup, made again of other rows."""
    site.database.execute("UPDATE people SET updated_at = updated_at + interval '1 day'; DELETE FROM notifications")
    return take(service_of(site, **settings))


def after(method: str) -> Moment:
    return lambda service, act: (hooked(service, method, act), Progress())


def while_it_reads(service: Service, act: Callable[[], object]) -> tuple[Service, Progress]:
    return service, At(act, phase="verify")


MOMENTS: dict[str, Moment] = {
    "listed": after("files"),
    "opened": after("open"),
    "manifest read": after("read_manifest"),
    "half read": while_it_reads,
}
pytestmark = pytest.mark.timeout(120)


def require_right(outcome: VerifyResult, backup: Backup, service: Service) -> None:
    assert outcome.failed == []
    assert [(each.id, each.sha256) for each in outcome.verified] == [(backup.id, backup.sha256)]
    assert [(row.sha256, row.problem) for row in service.catalog.backups(service.database)] == [(backup.sha256, None)]


@pytest.mark.parametrize(("moment", "settings"), pairs(list(MOMENTS), [{}, {"BACKUP_COMPRESSION": "gzip"}]))
def test_one_that_is_replaced_while_it_is_verified_is_looked_at_again(
    site: Site, moment: str, settings: dict[str, str]
) -> None:
    service = service_of(site)
    take(service)
    newer = list[Backup]()
    verify_at, progress = MOMENTS[moment](service, lambda: newer.append(renewed(site, **settings)))
    outcome = verify(verify_at, ID, progress)
    require_right(outcome, newer[0], service)


@pytest.mark.parametrize("moment", thorough_at(MOMENTS, "listed", "manifest read"))
def test_one_that_is_pruned_while_all_are_verified_is_left_out(site: Site, moment: str) -> None:
    service = service_of(site)
    take(service)
    kept = take_backup(service, BackupRequest(tier=Tier.MANUAL))
    assert kept is not None

    def remove() -> None:
        service.tree.remove(f"{ID}.sql")
        service.catalog.forget(service.database, ID)

    verify_at, progress = MOMENTS[moment](service, remove)
    outcome = verify(verify_at, None, progress)
    assert outcome.failed == []
    assert kept.backup.id in [each.id for each in outcome.verified]
    assert [row.id for row in service.catalog.backups(service.database)] == [kept.backup.id]


def test_one_that_was_asked_for_and_is_pruned_meanwhile_does_not_exist(site: Site) -> None:
    service = service_of(site)
    take(service)

    def remove() -> None:
        service.tree.remove(f"{ID}.sql")
        service.catalog.forget(service.database, ID)

    outcome = verify(service, ID, At(remove, phase="verify"))
    ((_, error),) = outcome.failed
    assert isinstance(error, BackupNotFoundError)
    assert "removed while" in error.message


def test_between_the_two_renames_the_manifest_is_waited_for(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    service = service_of(site)
    take(service)
    site.database.execute("DELETE FROM notifications")
    outcomes = list[VerifyResult]()
    with publishing(service, DAILY, monkeypatch) as run:
        beside = threading.Thread(
            target=lambda: outcomes.append(verify(hooked(service, "read_manifest", run.finish), ID))
        )
        beside.start()
        beside.join()
    require_right(outcomes[0], find(service, ID), service)


def test_what_is_damaged_is_damaged_although_it_was_replaced_once(site: Site) -> None:
    service = service_of(site)
    take(service)

    def replace_and_spoil() -> None:
        path = site.backups / renewed(site).file
        with path.open("r+b") as stream:
            stream.seek(path.stat().st_size // 2)
            stream.write(b"\0")

    outcome = verify(service, ID, At(replace_and_spoil, phase="verify"))
    ((_, error),) = outcome.failed
    assert isinstance(error, BackupValidationError)
    assert find(service, ID).problem == error.message


@pytest.mark.parametrize("phase", thorough_at(["verify", "compare"], "verify"))
def test_a_diff_is_of_one_backup_whatever_takes_its_name(site: Site, phase: str) -> None:
    service = service_of(site)
    take(service)
    site.database.execute("DELETE FROM swap_requests")
    other = take_backup(service, BackupRequest(tier=Tier.MANUAL))
    assert other is not None
    moment = At(lambda: renewed(site), phase=phase)
    changes = diff(service, ID, other.backup.id, moment)
    assert moment.done
    changed = {each.table for each in changes.tables if each.changed}
    earlier, newer = {"public.swap_requests"}, {"public.people", "public.notifications"}
    assert changed & (earlier | newer) == (newer if phase == "verify" else earlier)


@pytest.mark.parametrize("method", thorough_at(["files", "open", "read_manifest"], "read_manifest"))
def test_what_is_shown_and_pinned_is_what_stands_there(site: Site, method: str) -> None:
    service = service_of(site)
    old = take(service)
    newer = list[Backup]()
    look = hooked(service, method, lambda: newer.append(renewed(site)))
    backup, manifest = described(look, old)
    assert backup.sha256 == manifest.sha256 == (newer or [old])[0].sha256
    latest = list[Backup]()
    kept = keep(hooked(service, method, lambda: latest.append(renewed(site))), ID, "audit")
    assert kept.sha256 == find(service, ID).sha256 == latest[0].sha256
    assert find(service, ID).pinned_reason == "audit"
    assert verify(service).failed == []


def test_a_backup_that_is_pruned_while_all_are_listed_is_not_called_missing(site: Site) -> None:
    service = service_of(site)
    take(service)
    service.tree.remove(f"{ID}.sql")  # as retention does it, which forgets the row next
    assert not inventory(hooked(service, "files", lambda: service.catalog.forget(service.database, ID)))
