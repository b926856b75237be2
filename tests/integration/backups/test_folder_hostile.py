"""The folder is taken away in the middle of a run; its marker, its lock and what is remembered of it are anything."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.domain.backup import Tier
from app.domain.checks import Severity
from app.errors import BackupFolderLostError, BackupReadError, BackupStorageError
from app.operations.backup.catch_up import due_slots
from app.operations.backup.take import BackupRequest, take_backup
from app.operations.backups.inventory import inventory
from app.operations.backups.servers import in_place, mark
from app.operations.health.check import check, repair
from app.storage import lock
from app.storage.folder import LOCK, MARKER
from tests.fix_postgres import TestDatabase
from tests.fix_service import At, Site, leftovers, make_site, require_same_content
from tests.tiers import thorough_at

MANUAL = BackupRequest(tier=Tier.MANUAL)
SAFETY = BackupRequest(tier=Tier.SAFETY)
DEEP = "[" * 300_000


@pytest.fixture
def small(empty_database: TestDatabase, tmp_path: Path) -> Site:
    """A database of one table, whose catalog outlives its folder; what programs remember is the test's own."""
    empty_database.execute("CREATE TABLE people AS SELECT g AS id FROM generate_series(1, 100) g")
    site = make_site(empty_database, tmp_path / "backups", filled=False)
    apart = {"BACKUP_STATE_DIR": str(tmp_path / "state"), "BACKUP_CATALOG_URL": f"sqlite:///{tmp_path}/catalog.db"}
    return Site(site.database, site.backups, {**site.env, **apart})


def swap(site: Site) -> Path:
    away = site.backups.with_name("away")
    site.backups.rename(away)
    for tier in ("manual", "safety"):
        (site.backups / tier).mkdir(parents=True)  # as old runs made them below the mount
    return away


def remembered(tmp_path: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (tmp_path / "state").iterdir()}


@pytest.mark.parametrize("phase", thorough_at(["dump", "read back"], "read back"))
@pytest.mark.parametrize("request_", [MANUAL, SAFETY], ids=["manual", "safety"])
def test_a_folder_that_goes_in_the_middle_of_a_run_gets_no_backup(
    small: Site, tmp_path: Path, phase: str, request_: BackupRequest, restored: Callable[[Path], TestDatabase]
) -> None:
    service = small.service()
    assert take_backup(service, MANUAL) is not None
    before, memory = small.files(), remembered(tmp_path)
    progress = At(lambda: swap(small), phase=phase)

    with pytest.raises(BackupFolderLostError, match="not the folder any more"):
        take_backup(service, request_, progress)

    assert progress.done
    assert [path for path in small.backups.rglob("*") if path.is_file()] == []
    assert remembered(tmp_path) == memory
    with pytest.raises(BackupFolderLostError):
        take_backup(small.service(), request_)
    away = small.backups.with_name("away")
    assert leftovers(away) == []
    small.backups.rename(small.backups.with_name("below"))
    away.rename(small.backups)
    assert small.files() == before
    again = take_backup(small.service(), MANUAL)
    assert again is not None
    require_same_content(restored(small.backups / again.backup.file), small.database)


def test_a_folder_that_goes_before_the_draft_gets_neither_marker_nor_folders(small: Site, tmp_path: Path) -> None:
    assert take_backup(small.service(), MANUAL) is not None
    memory = remembered(tmp_path)
    service = in_place(small.service())
    small.backups.rename(small.backups.with_name("away"))
    small.backups.mkdir()
    with pytest.raises(BackupFolderLostError):
        mark(service.tree, service.database)
    with pytest.raises(BackupFolderLostError):
        service.tree.folder.change(service.database, lambda said: said)
    with pytest.raises(BackupFolderLostError):  # and so does who began after it went, as a restore does
        small.service().tree.folder.change(service.database, lambda said: said)
    assert list(small.backups.iterdir()) == []
    assert remembered(tmp_path) == memory


def test_a_marker_that_goes_in_the_middle_of_a_run_ends_it(small: Site) -> None:
    assert take_backup(small.service(), MANUAL) is not None
    before = json.loads((small.backups / MARKER).read_text())
    with pytest.raises(BackupFolderLostError, match="its marker is gone"):
        take_backup(small.service(), MANUAL, At((small.backups / MARKER).unlink))
    assert leftovers(small.backups) == []
    assert take_backup(small.service(), MANUAL) is not None  # backups are there: it was only deleted
    assert json.loads((small.backups / MARKER).read_text())["id"] == before["id"]


def test_a_folder_that_somebody_else_locks_is_written(small: Site) -> None:
    assert take_backup(small.service(), MANUAL) is not None
    folder = os.open(small.backups, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        done = small.cli("create", "manual", timeout=60)
    finally:
        os.close(folder)
    assert done.code == 0, done.stderr


def test_who_holds_our_lock_for_long_is_named(small: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert take_backup(small.service(), MANUAL) is not None
    monkeypatch.setattr(lock, "PATIENCE", 0.2)
    with (small.backups / LOCK).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BackupStorageError, match=f"has been held by process {os.getpid()} "):
            take_backup(small.service(), MANUAL)
    assert leftovers(small.backups) == []
    (small.backups / LOCK).unlink()
    os.mkfifo(small.backups / LOCK)
    with pytest.raises(BackupStorageError, match="is no regular file"):
        take_backup(small.service(), MANUAL)


def _huge_id(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "id": "x" * 100_000}))


def _long_id(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "id": "x" * 1000}))


def _newer(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))


def _no_date(path: Path) -> None:
    content = json.loads(path.read_text())
    for database in content["databases"].values():
        database["servers"][0]["since"] = "x" * 50_000
    path.write_text(json.dumps(content))


def _anew(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def put(path: Path) -> None:
        path.unlink()
        make(path)

    return put


MARKERS: dict[str, Callable[[Path], object]] = {
    "garbage": lambda path: path.write_bytes(b"\xff\xfe{{{"),
    "empty": lambda path: path.write_bytes(b""),
    "list": lambda path: path.write_text("[]"),
    "null": lambda path: path.write_text("null"),
    "deep": lambda path: path.write_text(DEEP),
    "deep but small": lambda path: path.write_text(DEEP[:60_000]),
    "newer": _newer,
    "huge id": _huge_id,
    "long id": _long_id,
    "no date": _no_date,
    "folder": _anew(Path.mkdir),
    "pipe": _anew(os.mkfifo),
    "link": _anew(lambda path: path.symlink_to("/nowhere")),
    "device": _anew(lambda path: path.symlink_to("/dev/zero")),
}


def test_a_marker_that_cannot_be_read_is_refused_before_anything_is_done(
    small: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = small.backups / MARKER
    assert take_backup(small.service(), MANUAL) is not None
    whole, before = marker.read_bytes(), small.files()
    for name, put in MARKERS.items():
        put(marker)
        progress, service = At(lambda: None), small.service()
        with pytest.raises(BackupReadError, match=r"the marker .+ cannot be read") as raised:
            take_backup(service, MANUAL, progress)
        assert not progress.done, name
        assert len(str(raised.value)) < 500, name
        assert f"mv {marker} {marker}.corrupt" in (raised.value.hint or ""), name
        assert service.catalog.running() == [], name
        assert len(inventory(service)) == 1, name  # looking is not refused
        _replace(marker, whole)

    MARKERS["folder"](marker)
    capsys.readouterr()
    findings = [found for found in check(small.service()) if found.severity is Severity.ERROR]
    assert [(found.check, type(found.error)) for found in findings] == [("folder", BackupReadError)]
    assert capsys.readouterr().err.count("[warning  ] backup folder's marker not readable") <= 1
    repair(small.service())
    assert small.files() == before

    marker.rename(f"{marker}.corrupt")
    assert take_backup(small.service(), MANUAL) is not None
    assert marker.is_file()


def test_a_scheduled_run_waits_for_a_marker_that_can_be_read(small: Site) -> None:
    service = small.service()
    assert take_backup(service, MANUAL) is not None
    due_slots(service)  # from here on they are due
    service = replace(service, clock=lambda: datetime.now(UTC) + timedelta(days=2))
    assert due_slots(service)
    (small.backups / MARKER).write_text("{")
    assert due_slots(service) == []
    (small.backups / MARKER).unlink()
    assert due_slots(service)


def _replace(path: Path, content: bytes) -> None:
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def test_what_a_crash_left_of_a_marker_is_repaired(small: Site) -> None:
    assert take_backup(small.service(), MANUAL) is not None
    left = small.backups / f".{MARKER}.passing-marker.partial"
    left.write_text("{")
    assert f"leftover removed: {left.name}" in repair(small.service())
    assert not left.exists()


def _state(**parts: object) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **parts}))


STATES: dict[str, Callable[[Path], object]] = {
    "pipe": _anew(os.mkfifo),
    "device": _anew(lambda path: path.symlink_to("/dev/zero")),
    "folder": _anew(Path.mkdir),
    "deep": lambda path: path.write_text(DEEP),
    "deep but small": lambda path: path.write_text(DEEP[:60_000]),
    "null": lambda path: path.write_text("null"),
    "no ids": _state(ids=[]),
    "null id": _state(ids=[None]),
    "long id": _state(ids=["x" * 50_000]),
    "number as mount": _state(mount=5),
    "zero in mount": _state(mount="/\0"),
    "no time": _state(at=None),
}


def test_what_is_remembered_may_be_anything(small: Site, tmp_path: Path) -> None:
    assert take_backup(small.service(), MANUAL) is not None
    [state] = (tmp_path / "state").iterdir()
    whole = state.read_bytes()
    for put in STATES.values():
        put(state)
        small.service().tree.folder.require_here()
        assert state.is_dir() or json.loads(state.read_bytes())["mount"]
        _replace(state, whole)
