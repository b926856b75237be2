"""The steps of a backup: what it leaves when all is well, and that nothing is left when a step fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.backup import Codec, Tier
from app.domain.doubts import Doubt
from app.domain.servers import ANY
from app.domain.slots import Slot, SlotState
from app.errors import (
    BackupCancelledError,
    BackupCreationError,
    BackupError,
    BackupFolderLostError,
    BackupPermissionError,
    BackupReadError,
    BackupRunningError,
    BackupStorageError,
    BackupValidationError,
    BackupWriteError,
    CatalogError,
    ServerMismatchError,
    ServerUnavailableError,
)
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.verify import verify
from app.operations.service import Progress
from tests.fakes.folder import Disk
from tests.fix_memory_site import DAILY, START, MemorySite

AWAY = ServerUnavailableError("the server is away", "start it")
Fault = Callable[[MemorySite], object]


def fails(method: str, error: Exception) -> Fault:
    return lambda site: site.server.fails.update({method: error})


def disk_fails(step: str, error: BackupError) -> Fault:
    return lambda site: site.tree.mount.fails.update({step: error})


FAULTS: dict[str, tuple[Fault, type[BackupError]]] = {
    "the server is away": (fails("facts", AWAY), ServerUnavailableError),
    "the server goes away in the dump": (fails("dump_into", AWAY), ServerUnavailableError),
    "no snapshot": (fails("snapshot", BackupCreationError("no slot is free", "wait")), BackupCreationError),
    "the role may not read a table": (
        lambda site: site.source.hidden.append("table public.pay"),
        BackupPermissionError,
    ),
    "no dump program": (fails("dump_program_version", BackupCreationError("no pg_dump", "x")), BackupCreationError),
    "no end marker": (lambda site: setattr(site.source, "ending", b"\n"), BackupValidationError),
    "a folder that cannot be written": (
        disk_fails("probe", BackupPermissionError("no right", "x")),
        BackupPermissionError,
    ),
    "too little room": (lambda site: setattr(site.tree.mount, "free", 1 << 20), BackupStorageError),
    "a disk that fails at the rename": (disk_fails("publish", BackupWriteError("I/O error", "x")), BackupWriteError),
    "another folder in its place": (
        lambda site: site.server.meanwhile.update(dump_into=lambda: setattr(site.tree.mount, "disk", Disk())),
        BackupFolderLostError,
    ),
    "a marker that cannot be read": (lambda site: setattr(site.tree.mount, "unreadable", True), BackupReadError),
    "the database is empty": (lambda site: site.rows.clear(), BackupValidationError),
    "the process is cancelled": (fails("dump_into", BackupCancelledError("revoked")), BackupCancelledError),
}


def test_a_backup_is_a_file_with_its_manifest_and_its_row(memory_site: MemorySite) -> None:
    taken = memory_site.take(label="before the migration")
    backup = taken.backup
    assert taken.warnings == []
    assert sorted(memory_site.files()) == ["daily/backup-2025-01-15.sql", "daily/backup-2025-01-15.sql.json"]
    assert memory_site.catalog.backups("residency") == [backup]
    assert memory_site.find() == backup
    assert (backup.rows, backup.tables, backup.label, backup.is_verified) == (4, 2, "before the migration", True)
    assert memory_site.catalog.running("residency") == []
    assert memory_site.phrases == ["backup started", "backup created", "backup verified"]


@pytest.mark.parametrize("codec", Codec)
def test_a_backup_reads_back_whatever_compresses_it(memory_site: MemorySite, codec: Codec) -> None:
    memory_site.service = memory_site.with_options(codec=codec)
    backup = memory_site.take().backup
    assert backup.file == f"daily/backup-2025-01-15.sql{codec.suffix}"
    assert [each.id for each in verify(memory_site.service).verified] == [backup.id]


def test_another_codec_replaces_the_backup_of_the_period(memory_site: MemorySite) -> None:
    for codec in (Codec.NONE, Codec.ZSTD):
        memory_site.service = memory_site.with_options(codec=codec)
        memory_site.take()
    assert sorted(memory_site.files()) == ["daily/backup-2025-01-15.sql.zst", "daily/backup-2025-01-15.sql.zst.json"]


@pytest.mark.parametrize("name", FAULTS)
def test_a_backup_that_fails_leaves_everything_as_it_was(memory_site: MemorySite, name: str) -> None:
    inject, expected = FAULTS[name]
    memory_site.take()
    before, rows = memory_site.files(), memory_site.catalog.backups("residency")
    old = memory_site.tree.mount.disk
    memory_site.later(hours=1)
    inject(memory_site)
    with pytest.raises(expected):
        memory_site.take()
    assert {file: content.content for file, content in old.files.items()} == before
    assert memory_site.catalog.backups("residency") == rows
    assert memory_site.catalog.running("residency") == []
    assert memory_site.phrases[-1] in {"backup failed", "backup leftover removed"}


def test_a_run_that_fails_records_its_error_and_frees_its_slot_for_another_attempt(memory_site: MemorySite) -> None:
    slot = Slot.at(Tier.DAILY, START)
    memory_site.server.fails["dump_into"] = AWAY
    with pytest.raises(ServerUnavailableError):
        memory_site.take(slot=slot)
    record = memory_site.catalog.slot("residency", Tier.DAILY, slot.period)
    assert record is not None
    assert (record.state, record.attempts, record.transient) == (SlotState.FAILED, 1, True)
    memory_site.server.fails.clear()
    memory_site.later(hours=1)
    memory_site.take(slot=slot)
    record = memory_site.catalog.slot("residency", Tier.DAILY, slot.period)
    assert record is not None
    assert record.state is SlotState.DONE


def test_a_slot_is_run_once(memory_site: MemorySite) -> None:
    request = BackupRequest(tier=Tier.DAILY, slot=Slot.at(Tier.DAILY, START))
    assert take_backup(memory_site.service, request) is not None
    before = memory_site.files()
    assert take_backup(memory_site.service, request) is None
    assert memory_site.files() == before


def test_a_slot_whose_backup_stands_already_is_done_with_it(memory_site: MemorySite) -> None:
    slot = Slot.at(Tier.DAILY, START)
    memory_site.catalog.pass_slot("residency", Slot.at(Tier.DAILY, START - timedelta(days=1)), START)
    lost = memory_site.catalog.complete

    def lose(*_: object) -> None:
        raise CatalogError("the catalog is away")

    memory_site.later(minutes=5)
    memory_site.catalog.complete = lose  # type: ignore[method-assign]
    assert any("catalog not saved" in said for said in memory_site.take(slot=slot).warnings)
    memory_site.catalog.complete = lost  # type: ignore[method-assign]
    before = memory_site.files()
    memory_site.later(hours=2)
    (run,) = memory_site.catalog.running("residency")
    memory_site.catalog.fail(run, AWAY, memory_site.now, transient=True)
    memory_site.later(hours=2)
    assert take_backup(memory_site.service, BackupRequest(tier=Tier.DAILY, slot=slot)) is None
    assert memory_site.files() == before
    assert memory_site.phrases[-1] == "backup of this slot stands already"


def test_a_second_run_of_the_tier_is_refused_and_another_tiers_is_not(memory_site: MemorySite) -> None:
    def second() -> None:
        with pytest.raises(BackupRunningError):
            memory_site.take()
        memory_site.take(Tier.WEEKLY)

    memory_site.server.meanwhile["dump_into"] = second
    memory_site.take()
    assert memory_site.ids() == ["daily/backup-2025-01-15", "weekly/backup-week-03"]


def test_a_run_that_lost_its_claim_leaves_nothing(memory_site: MemorySite) -> None:
    def lose() -> None:
        (run,) = memory_site.catalog.running("residency")
        memory_site.catalog.fail(run, AWAY, memory_site.now, transient=True)

    memory_site.server.meanwhile["dump_into"] = lose
    with pytest.raises(BackupCreationError, match="taken for dead"):
        memory_site.take()
    assert memory_site.files() == {}


def test_a_backup_of_another_server_takes_no_place(memory_site: MemorySite) -> None:
    memory_site.take()
    before = memory_site.files()
    memory_site.server.system_identifier = "7000000000000000002"
    memory_site.later(days=1)
    with pytest.raises(ServerMismatchError, match="another server"):
        memory_site.take()
    assert memory_site.files() == before
    taken = memory_site.take(Tier.SAFETY)  # before a restore on a new server, it may stand there
    assert taken.backup.id in memory_site.ids()


def test_another_server_that_answers_in_the_middle_is_noticed_too(memory_site: MemorySite) -> None:
    memory_site.take()
    before = memory_site.files()
    memory_site.later(days=1)
    first = memory_site.source.identity
    memory_site.source.identity = lambda: ANY  # type: ignore[method-assign]
    memory_site.server.system_identifier = "7000000000000000002"
    with pytest.raises(ServerMismatchError):
        memory_site.take()
    memory_site.source.identity = first  # type: ignore[method-assign]
    assert memory_site.files() == before


def test_what_fails_after_the_rename_is_a_warning(memory_site: MemorySite) -> None:
    memory_site.tree.mount.fails["manifest"] = BackupStorageError("the disk is full", "free space")
    taken = memory_site.take()
    assert [said for said in taken.warnings if "manifest not saved" in said]
    assert sorted(memory_site.files()) == ["daily/backup-2025-01-15.sql"]


def test_a_verified_backup_is_not_replaced_by_one_without_a_manifest(memory_site: MemorySite) -> None:
    memory_site.take()
    before = memory_site.files()
    memory_site.tree.mount.fails["manifest"] = BackupStorageError("the disk is full", "free space")
    with pytest.raises(BackupStorageError):
        memory_site.take()
    assert memory_site.files() == before


def test_what_is_not_in_the_dump_is_a_warning_and_stands_in_the_manifest(memory_site: MemorySite) -> None:
    memory_site.source.lacking.append("table public.spatial is an extension's")
    doubt = Doubt("index public.people_name", ("public.initials",), "no such table", lasting=False, path="public")
    memory_site.source.suspects.append(doubt)
    taken = memory_site.take()
    assert len(taken.warnings) == 2
    manifest = memory_site.manifest()
    assert (manifest.lacking, manifest.doubts) == (("table public.spatial is an extension's",), (doubt,))


def test_the_server_whose_clock_runs_ahead_dates_no_backup(memory_site: MemorySite) -> None:
    memory_site.source.clock = lambda: memory_site.now + timedelta(days=30)
    assert memory_site.take().backup.created_at == memory_site.now


def test_the_backup_is_made_when_retention_fails(memory_site: MemorySite) -> None:
    memory_site.take_days(2)
    memory_site.service = memory_site.keeping(daily=1)
    memory_site.later(days=1)
    memory_site.tree.mount.fails["remove"] = BackupPermissionError("no right to remove", "chown")
    taken = memory_site.take()
    assert [said for said in taken.warnings if "no right to remove" in said]
    assert len(memory_site.ids()) == 3


def test_a_label_that_no_manifest_could_hold_is_refused_before_anything_is_done() -> None:
    with pytest.raises(BackupValidationError, match="label"):
        BackupRequest(tier=Tier.MANUAL, label="two\nlines")
    with pytest.raises(BackupValidationError, match="reason"):
        BackupRequest(tier=Tier.MANUAL, pinned_reason="\0")


def test_ad_hoc_backups_of_one_second_have_a_name_each(memory_site: MemorySite) -> None:
    for _ in range(3):
        memory_site.take(Tier.MANUAL)
    assert memory_site.ids() == [f"manual/backup-2025-01-15T02000{second}Z" for second in range(3)]


def test_how_far_it_is_is_told_by_phase(memory_site: MemorySite) -> None:
    phases: list[str] = []

    class Told(Progress):
        def start(self, what: str, total: int | None) -> None:
            assert total
            phases.append(what)

    take_backup(memory_site.service, DAILY, Told())
    assert phases == ["dump", "read back"]


def test_leftovers_of_a_run_that_died_go_before_the_next(memory_site: MemorySite) -> None:
    memory_site.take()
    memory_site.tree.put("daily/.backup-2025-01-14.0123456789ab.partial", b"half")
    memory_site.later(days=1)
    memory_site.take()
    assert not [name for name in memory_site.files() if name.endswith(".partial")]
    assert "backup leftover removed" in memory_site.phrases


def test_retention_of_a_run_is_that_of_its_options(memory_site: MemorySite) -> None:
    memory_site.service = replace(memory_site.service, options=memory_site.keeping(daily=2).options)
    memory_site.take_days(4)
    assert memory_site.ids() == ["daily/backup-2025-01-17", "daily/backup-2025-01-18"]
