"""What a check finds, and what a repair does about it."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

from app.domain.backup import Tier
from app.domain.checks import Finding, Severity
from app.domain.doubts import Doubt
from app.domain.slots import Slot
from app.errors import CatalogError, ServerUnavailableError
from app.operations.backups.verify import verify
from app.operations.health.check import check, repair
from app.operations.schedule import Schedule
from tests.fakes.folder import Disk
from tests.fix_catalog import held_by
from tests.fix_memory_site import START, MemorySite

FILE = "daily/backup-2025-01-15.sql"
AWAY = ServerUnavailableError("the server is away", "start it")


def complaints(site: MemorySite) -> list[str]:
    return [finding.message for finding in found(site)]


def found(site: MemorySite) -> list[Finding]:
    return [finding for finding in check(site.service) if finding.severity is not Severity.OK]


def test_a_healthy_system_has_nothing_to_complain_of(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    assert complaints(memory_site) == []
    assert repair(memory_site.service) == []


def test_a_system_without_a_backup_says_how_one_is_made(memory_site: MemorySite) -> None:
    (said,) = complaints(memory_site)
    assert "residency-backup create manual" in said


def test_what_is_missing_in_catalog_or_tree_is_named_and_repaired(memory_site: MemorySite) -> None:
    memory_site.take_days(3)
    del memory_site.tree.files_of_disk[f"{FILE}.json"]
    memory_site.tree.remove(FILE.replace("15", "16"))
    memory_site.catalog.forget("residency", "daily/backup-2025-01-17")
    said = "; ".join(complaints(memory_site))
    assert f"no manifest beside {FILE}" in said
    assert "the file is gone: daily/backup-2025-01-16.sql" in said
    assert "not in the catalog: daily/backup-2025-01-17.sql" in said
    assert len(repair(memory_site.service)) == 3
    assert complaints(memory_site) == []


def test_damage_is_said(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    file = memory_site.tree.files_of_disk[FILE]
    file.overwrite(file.content.replace(b"Ada", b"Eda"))
    verify(memory_site.service)
    (said,) = complaints(memory_site)
    assert said.startswith("daily/backup-2025-01-15: ")


def test_a_leftover_of_a_dead_run_is_named_and_removed(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.tree.put("daily/.backup-2025-01-16.0123456789ab.partial", b"half")
    (said,) = complaints(memory_site)
    assert "left by a run that died" in said
    assert repair(memory_site.service) == ["leftover removed: daily/.backup-2025-01-16.0123456789ab.partial"]
    assert complaints(memory_site) == []


def test_a_run_under_way_leaves_nothing_over(memory_site: MemorySite) -> None:
    memory_site.take()
    said: list[str] = []
    memory_site.server.meanwhile["dump_into"] = lambda: said.extend(
        [*complaints(memory_site), *repair(memory_site.service)]
    )
    memory_site.take(Tier.WEEKLY)
    assert said == []


def test_a_server_that_is_away_is_asked_once_and_the_files_are_looked_at_all_the_same(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.tree.remove(FILE)
    asked: list[str] = []
    for step in ("facts", "identity", "at_login", "doubts", "databases"):
        memory_site.server.fails[step] = AWAY
    real = memory_site.server.step

    def step(name: str) -> None:
        asked.append(name)
        real(name)

    memory_site.server.step = step  # type: ignore[method-assign]
    said = complaints(memory_site)
    assert any("the server is away" in each for each in said)
    assert any("the file is gone" in each for each in said)
    assert len(asked) == 1


def test_a_database_that_is_gone_is_said_with_the_way_to_make_it_anew(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.server.databases.clear()
    hints = [finding.error.hint for finding in found(memory_site) if finding.error]
    assert any("residency-backup restore latest --mode replace --confirm residency" in hint for hint in hints)


def test_another_server_is_named(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.server.system_identifier = "7000000000000000002"
    assert {finding.check for finding in found(memory_site)} == {"identity"}
    memory_site.server.system_identifier = None
    (said,) = complaints(memory_site)
    assert "may not ask which server this is" in said


def test_a_folder_that_is_gone_is_all_that_is_said(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.tree.mount.disk = Disk()
    assert [finding.check for finding in check(memory_site.service)] == ["folder"]


def test_a_marker_that_cannot_be_read_is_said(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.tree.mount.unreadable = True
    assert "folder" in {finding.check for finding in found(memory_site)}


def test_a_slot_that_was_not_run_and_one_that_failed_are_said(memory_site: MemorySite) -> None:
    schedule = Schedule(Tier.DAILY, "0 2 * * *", ZoneInfo("UTC"))
    memory_site.service = memory_site.with_options(schedules={Tier.DAILY: schedule})
    memory_site.take(slot=Slot.at(Tier.DAILY, START))
    assert complaints(memory_site) == []
    memory_site.later(days=1, hours=5)
    (said,) = complaints(memory_site)
    assert "are beat and a worker running?" in said
    slot = schedule.last_due(memory_site.now)
    run = memory_site.catalog.claim("residency", Tier.DAILY, slot, memory_site.now)
    assert run is not None
    memory_site.catalog.fail(run, AWAY, memory_site.now, transient=True)
    (said,) = complaints(memory_site)
    assert "the daily backup of 2025-01-16 failed" in said


def test_what_a_restore_could_not_evaluate_and_what_runs_at_login_are_said(memory_site: MemorySite) -> None:
    memory_site.take()
    doubt = Doubt("index public.people_name", ("public.initials",), "no such table", lasting=False, path="public")
    memory_site.source.suspects.append(doubt)
    memory_site.source.triggers.append("event trigger welcome runs in each session")
    assert {finding.check for finding in found(memory_site)} == {"search_path", "login"}


def test_a_backup_from_the_future_is_said_with_the_way_to_be_rid_of_it(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.later(days=300)
    memory_site.take(Tier.MANUAL)
    memory_site.now = START + timedelta(hours=1)
    (said,) = complaints(memory_site)
    assert "is from the future" in said
    assert "residency-backup show manual/" in said


def test_who_else_may_write_the_folder_is_said(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.tree.mount.writers.append((memory_site.tree.root / "daily", "everybody"))
    (said,) = complaints(memory_site)
    assert "everybody" in said


def test_a_catalog_that_cannot_be_read_is_said_and_hides_nothing(memory_site: MemorySite) -> None:
    memory_site.take()

    def refuse(*_: object) -> None:
        raise CatalogError("the catalog is away")

    memory_site.catalog.backups = refuse  # type: ignore[method-assign,assignment]
    said = found(memory_site)
    assert {finding.check for finding in said} >= {"catalog"}
    assert not any("no verified backup" in finding.message for finding in said)


def test_a_restore_that_can_be_rolled_back_is_told_and_one_that_is_over_is_due(memory_site: MemorySite) -> None:
    memory_site.take()
    record = memory_site.restore().restore
    findings = [finding.message for finding in check(memory_site.service) if finding.check == "restores"]
    assert findings == [f"restore {record.id} can be rolled back until 2025-01-16 02:00 UTC"]
    memory_site.later(hours=25)
    (said,) = complaints(memory_site)
    assert "can no longer be rolled back" in said
    assert repair(memory_site.service)
    assert list(memory_site.server.databases) == ["residency"]
    assert complaints(memory_site) == []


def test_what_is_held_for_no_restore_is_named(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.server.databases["residency_undo_0123456789ab"] = memory_site.server.databases["residency"]
    with memory_site.service.tree.scripts.create("0123456789ab") as script:
        script.keep()
    said = "; ".join(complaints(memory_site))
    assert "database residency_undo_0123456789ab is of a restore that the catalog does not know" in said
    assert "a script of restore 0123456789ab is left" in said


def test_a_run_whose_process_is_gone_is_ended(memory_site: MemorySite) -> None:
    memory_site.take()
    run = memory_site.catalog.claim("residency", Tier.WEEKLY, None, memory_site.now)
    assert run is not None
    held_by(memory_site.catalog_url, "another-machine/pid:[1]/7/123")
    memory_site.later(minutes=10)
    repair(memory_site.service)
    assert memory_site.catalog.running("residency") == []
