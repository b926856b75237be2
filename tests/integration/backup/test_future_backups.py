"""A clock that was wrong for a day: what it left neither hides nor pushes out what is made when it is right again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.archive.manifest import parse_manifest
from app.domain.backup import Backup, Tier
from app.domain.slots import Slot
from app.errors import BackupNotFoundError
from app.operations.backup.catch_up import due_slots
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import find, inventory, newest_verified
from app.operations.backups.prune import prune
from app.operations.backups.sync import sync
from app.operations.backups.verify import verify
from app.operations.health.check import check
from app.operations.service import Service
from tests.fix_postgres import TestDatabase
from tests.fix_service import Site, make_site
from tests.tiers import sample_of, thorough_at

NOON = datetime(2025, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
KEEP_ONE = {"BACKUP_KEEP_DAYS": "1", "BACKUP_KEEP_FULL": "1"}


@pytest.fixture
def small(empty_database: TestDatabase, tmp_path: Path) -> Site:
    empty_database.execute("CREATE TABLE notes (line text); INSERT INTO notes VALUES ('x')")
    return make_site(empty_database, tmp_path / "backups", filled=False)


def at(service: Service, now: datetime) -> Service:
    """The service, when its clock says that."""
    return replace(service, clock=lambda: now)


def taken(service: Service, tier: Tier = Tier.DAILY, slot: Slot | None = None) -> Backup:
    made = take_backup(service, BackupRequest(tier=tier, slot=slot))
    assert made is not None
    assert made.warnings == []
    return made.backup


def clock_warnings(service: Service) -> list[str]:
    return [each.message for each in check(service) if each.check == "clock"]


@pytest.mark.parametrize("ahead", thorough_at(sample_of([timedelta(hours=1), DAY, 700 * DAY], [0, 2]), 700 * DAY))
def test_what_a_wrong_clock_made_is_not_latest_not_counted_and_not_removed(
    small: Site, restored: Callable[[Path], TestDatabase], ahead: timedelta
) -> None:
    service = small.service(**KEEP_ONE)
    before = taken(at(service, NOON - DAY))
    wrong = taken(at(service, NOON + ahead), Tier.MANUAL if ahead < DAY else Tier.DAILY)
    right = at(service, NOON)
    if wrong.tier is Tier.DAILY:  # the clock that was wrong took it for yesterday's, and had to
        assert [each.id for each in inventory(right)] == [wrong.id]
        with pytest.raises(BackupNotFoundError, match=f"{wrong.id} is from the future") as raised:
            find(right, "latest")
        assert "2025-03-10 12:00 UTC" in raised.value.hint
        assert newest_verified(right, inventory(right)) is None
    else:
        assert find(right, "latest").id == before.id
    verify(right)
    (said,) = clock_warnings(right)
    assert wrong.id in said
    for day in range(3):
        now = NOON + timedelta(minutes=day)
        made = taken(at(service, now))
        assert find(at(service, now), "latest").id == find(at(service, now), "latest-daily").id == made.id
        assert (found := newest_verified(at(service, now), inventory(at(service, now)))) is not None
        assert found.id == made.id
        assert {each.id for each in inventory(service)} == {made.id, wrong.id}
        plan = prune(at(service, now), dry_run=True).plan
        assert plan.reasons[wrong.id] == ("from the future: a clock was wrong",)
    assert restored(small.backups / made.file).query("SELECT line FROM notes") == [("x",)]
    # When its time has come it is like any other.
    come = at(service, NOON + ahead + DAY)
    last = taken(come)
    assert clock_warnings(come) == []
    kept = {last.id} | ({wrong.id} if wrong.tier is Tier.MANUAL else set())
    assert {each.id for each in inventory(come)} == kept


def test_a_file_and_a_row_from_the_future_are_no_newest_either(small: Site) -> None:
    service = small.service(**KEEP_ONE)
    wrong = taken(at(service, NOON + 40 * DAY), Tier.MANUAL)
    (small.backups / f"{wrong.file}.json").unlink()
    right = at(service, NOON)
    made = taken(right)
    assert find(right, "latest").id == made.id
    sync(right)
    assert find(right, "latest").id == made.id
    assert "from the future" in clock_warnings(right)[0]


def test_a_backup_of_a_period_to_come_is_not_counted_although_it_shows_the_past(small: Site) -> None:
    service = small.service(**KEEP_ONE)
    wrong = taken(at(service, NOON + 3 * DAY))
    manifest = small.backups / f"{wrong.file}.json"
    honest = parse_manifest(manifest.read_bytes(), "it").model_copy(update={"snapshot_time": NOON - DAY})
    manifest.write_text(honest.to_json())
    sync(service)
    right = at(service, NOON)
    assert find(right, "latest").id == wrong.id, "it is the newest there is"
    made = taken(right)
    assert {each.id for each in inventory(right)} == {made.id, wrong.id}
    assert find(right, "latest").id == made.id
    assert wrong.id in clock_warnings(right)[0]


def test_a_clock_that_is_minutes_ahead_is_no_wrong_one(small: Site) -> None:
    service = small.service(**KEEP_ONE)
    made = taken(at(service, NOON + timedelta(minutes=4)))
    assert find(at(service, NOON), "latest").id == made.id
    assert clock_warnings(at(service, NOON)) == []


def test_the_list_says_so(small: Site) -> None:
    wrong = taken(at(small.service(), datetime.now(UTC) + DAY), Tier.MANUAL)
    manifest = small.backups / f"{wrong.file}.json"
    ahead = parse_manifest(manifest.read_bytes(), "it").model_copy(update={"snapshot_time": datetime.now(UTC) + DAY})
    manifest.write_text(ahead.to_json())
    assert "from the future" in small.cli("list").stdout
    checked = small.cli("check")
    assert checked.code == 3
    assert f"residency-backup show {wrong.id}" in checked.stdout.replace("\n", " ")


# Slots


def due(service: Service, tier: Tier = Tier.DAILY) -> Slot | None:
    return next((slot for slot in due_slots(service) if slot.tier is tier), None)


def test_a_slot_that_was_run_before_its_time_is_run_in_its_time(small: Site) -> None:
    service = small.service()
    two = NOON.replace(hour=2)
    assert due(at(service, two - DAY)) is None, "it came due before the service came"
    early = at(service, two + DAY + timedelta(seconds=5))  # a day ahead
    slot = due(early)
    assert slot is not None
    wrong = taken(early, slot=slot)
    today = due(at(service, two))
    assert today is not None, "the clock is right again: today's is not run yet"
    taken(at(service, two), slot=today)
    assert due(at(service, two + timedelta(hours=1))) is None
    small.database.execute("INSERT INTO notes VALUES ('y')")
    tomorrow = at(service, two + DAY + timedelta(seconds=1))
    slot = due(tomorrow)
    assert slot is not None
    assert slot.period == wrong.period
    made = taken(tomorrow, slot=slot)
    assert (made.id, made.rows) == (wrong.id, 2)
    assert due(tomorrow) is None


def test_a_slot_that_failed_later_than_now_may_be_tried_again(small: Site) -> None:
    service = small.service()
    two = NOON.replace(hour=2)
    slot = service.options.schedules[Tier.DAILY].last_due(two)
    due_slots(at(service, two - DAY))
    wrong = service.catalog.claim(service.database, Tier.DAILY, slot, two + DAY)
    assert wrong is not None
    service.catalog.fail(wrong, RuntimeError("down"), two + DAY, transient=True)
    assert due(at(service, two + timedelta(minutes=1))) == slot
    taken(at(service, two + timedelta(minutes=1)), slot=slot)


def test_a_machine_that_starts_in_1970_takes_no_backup_a_second_time(small: Site) -> None:
    service = small.service()
    two = NOON.replace(day=1, hour=4)
    due_slots(at(service, two - 40 * DAY))
    for slot in due_slots(at(service, two)):
        taken(at(service, two), slot.tier, slot)
    before = small.files()
    for minute in range(3):
        due_slots(at(service, datetime(1970, 1, 1, 0, minute, tzinfo=UTC)))
    later = at(service, two + timedelta(hours=8))
    for slot in due_slots(later):
        assert take_backup(later, BackupRequest(tier=slot.tier, slot=slot)) is None
    assert small.files() == before
    assert due_slots(later) == []
