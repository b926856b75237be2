"""What is packed beside the server and how: each mishap has its own error or warning, and what is laid out is whole."""

from __future__ import annotations

import errno
import os
import shutil
import tarfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import psutil
import pytest

from app.archive.tar import pack
from app.archive.tar.reader import BLOCK
from app.errors import (
    BackupCancelledError,
    BackupCreationError,
    BackupError,
    BackupPermissionError,
    BackupStorageError,
    BackupValidationError,
    BackupWriteError,
    Cancelled,
    DiskReadError,
    RestoreValidationError,
)
from app.operations.backup.space import _LOOK_EVERY
from app.operations.backup.take import take_backup
from app.operations.backups.verify import verify
from app.operations.service import Progress
from app.storage.local import LocalTree
from tests.fix_fork import run_forked
from tests.fix_full import FULL, SMALL_FILES_ONLY, FullSite
from tests.fix_service import At, leftovers
from tests.tiers import THOROUGH

pytestmark = THOROUGH  # the faults that most would meet are in test_full_faults.py
FRAMES = 4 * BLOCK


@pytest.mark.parametrize("which", ["missing", "the backups", "above the backups", "within the backups", "nested"])
def test_paths_that_cannot_be_taken_in(packed_site: FullSite, server_folder: Path, which: str) -> None:
    backups = packed_site.site.backups
    packed_site.site.service().tree.probe(FULL.tier)
    paths = {
        "missing": "/not/there",
        "the backups": str(backups),
        "above the backups": str(server_folder),
        "within the backups": str(backups / "full"),
        "nested": f"{packed_site.uploads},{packed_site.uploads}/a",
    }
    error = packed_site.fails(BackupValidationError, BACKUP_FULL_PATHS=paths[which])
    assert "BACKUP_FULL_PATHS" in error.hint
    assert error.exit_code == 13


def test_a_link_to_the_backups_is_seen_through(packed_site: FullSite, server_folder: Path) -> None:
    packed_site.site.service().tree.probe(FULL.tier)
    (server_folder / "alias").symlink_to(packed_site.site.backups)
    packed_site.fails(BackupValidationError, BACKUP_FULL_PATHS=str(server_folder / "alias"))


def test_odd_files_are_left_out_with_a_warning(packed_site: FullSite) -> None:
    os.mkfifo(packed_site.uploads / "pipe")
    (packed_site.uploads / "out").symlink_to("/etc/passwd")
    (packed_site.uploads / "up").symlink_to("../../etc")
    (packed_site.uploads / "deep").mkdir()
    (packed_site.uploads / "deep/back").symlink_to("..")
    (packed_site.uploads / "round").symlink_to("deep/back/../..")  # by its letters it stays inside
    taken = packed_site.take()
    for name in ("pipe", "out", "up", "round"):
        assert str(packed_site.uploads / name) in " ".join(taken.warnings)
    assert str(packed_site.uploads / "deep/back") not in " ".join(taken.warnings)
    target = packed_site.uploads.parent / "laid-out"
    packed_site.lay_out(taken.backup.id, target)


def test_two_slashes_are_one(packed_site: FullSite) -> None:
    paths = f"/{packed_site.uploads}"
    packed_site.take(BACKUP_FULL_PATHS=paths)
    target = packed_site.uploads.parent / "laid-out"
    packed_site.lay_out("latest-full", target)


def test_a_password_in_a_command_is_not_kept(packed_site: FullSite) -> None:
    packed_site.take(RESTORE_POST_COMMAND="env PGPASSWORD=s3cretX true")
    target = packed_site.uploads.parent / "laid-out"
    packed_site.lay_out("latest-full", target)
    kept = (target / "settings.env").read_text()
    assert "# RESTORE_POST_COMMAND=\n" in kept
    assert "s3cretX" not in kept


def test_too_little_free_space_is_found_before_anything_is_copied(packed_site: FullSite) -> None:
    error = packed_site.fails(BackupStorageError, BACKUP_MIN_FREE_MB=str(1 << 30))
    assert "full backup" in error.message
    assert error.exit_code == 14


def test_a_disk_that_fills_up_while_the_tar_is_packed(packed_site: FullSite, monkeypatch: pytest.MonkeyPatch) -> None:
    with (packed_site.uploads / "large").open("wb") as file:
        file.truncate(_LOOK_EVERY + FRAMES)
    service = packed_site.service()

    def lose_space() -> None:
        monkeypatch.setattr(LocalTree, "free_bytes", lambda _: 0)

    fault = At(lose_space, phase="pack")
    with pytest.raises(BackupStorageError, match="filling up"):
        take_backup(service, FULL, fault)
    assert fault.done
    assert not leftovers(packed_site.site.backups)
    assert not list(packed_site.site.backups.glob("full/backup-*"))


def test_a_cancel_in_the_instant_after_the_folder_was_made(
    packed_site: FullSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CancelledOnEntry:
        def __init__(self, folder: Path) -> None:
            self.folder = folder

        def __enter__(self) -> Path:
            self.folder.mkdir()
            raise Cancelled(BackupCancelledError("the run was revoked"))

        def __exit__(self, *_: object) -> None:
            raise AssertionError("the block was never entered")

    monkeypatch.setattr("app.storage.local.staging", CancelledOnEntry)
    with pytest.raises(BackupCancelledError):
        packed_site.take()
    assert not leftovers(packed_site.site.backups)
    assert not packed_site.site.service().catalog.running(packed_site.site.database.name)


@pytest.mark.parametrize(
    ("where", "name", "number", "expected"),
    [
        ("os.readlink", "newest", errno.ESTALE, DiskReadError),
        ("os.open", "a", errno.EACCES, BackupPermissionError),
        ("pathlib.Path.unlink", "PG_VERSION", errno.EROFS, BackupWriteError),
    ],
)
def test_a_disk_that_fails_has_a_type(
    packed_site: FullSite,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    name: str,
    number: int,
    expected: type[BackupError],
) -> None:
    real = {"os.readlink": os.readlink, "os.open": os.open}.get(where, Path.unlink)

    def fail(path: Path, *arguments: object, **options: object) -> object:
        if Path(path).name == name:
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(where, fail)
    assert packed_site.fails(expected).hint


def test_a_running_servers_own_folder_is_refused(packed_site: FullSite, server_folder: Path) -> None:
    base = server_folder / "data" / "base"
    base.with_name("postmaster.pid").touch()
    error = packed_site.fails(BackupValidationError, BACKUP_FULL_PATHS=str(base))
    assert "running server" in error.message


def test_a_running_servers_folder_further_down_is_told(packed_site: FullSite) -> None:
    (packed_site.uploads / "a" / "postmaster.pid").touch()
    assert any("a server runs on it" in each for each in packed_site.take().warnings)


class WhileOpen(At):
    """Act once in the middle of packing one file: some of its blocks are in the tar, and more are to be."""

    def __init__(self, file: Path, act: Callable[[], object]) -> None:
        super().__init__(act, phase="pack")
        self._file = file

    def advance(self, amount: int) -> None:
        if not self.done and any(each.path == str(self._file) for each in psutil.Process().open_files()):
            super().advance(amount)


class Several(Progress):
    """Several progresses as one."""

    def __init__(self, all_of_them: Sequence[Progress]) -> None:
        self._all = all_of_them

    def start(self, what: str, total: int | None) -> None:
        for progress in self._all:
            progress.start(what, total)

    def advance(self, amount: int) -> None:
        for progress in self._all:
            progress.advance(amount)


def swap_for_secret(folder: Path, elsewhere: Path) -> None:
    folder.rename(folder.with_name("zz"))
    folder.symlink_to(elsewhere)


CHANGES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "folder becomes file": (lambda d, _: (shutil.rmtree(d), d.write_text("x")), "{}/b"),
    "inner becomes file": (lambda d, _: (shutil.rmtree(d / "sub"), (d / "sub").touch()), "{}"),
    "moved up": (lambda d, _: (d / "sub/x").rename(d.parent / "moved"), "moved ups"),
    "file becomes folder": (lambda d, _: ((d / "b").unlink(), (d / "b").mkdir(), (d / "b/new").touch()), "{}"),
    "file becomes pipe": (lambda d, _: ((d / "b").unlink(), os.mkfifo(d / "b")), "{}"),
    "folder becomes link": (swap_for_secret, "folder becomes links"),
    "inner folder becomes link": (lambda d, elsewhere: swap_for_secret(d / "sub", elsewhere), "{}/sub"),
}


def test_what_changes_its_kind_while_it_is_packed_is_told_and_nothing_from_elsewhere_comes_in(
    packed_site: FullSite, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "_NAMED", 100)
    elsewhere = server_folder / "elsewhere"
    elsewhere.mkdir()
    for name in ("b", "x"):
        (elsewhere / name).write_text("OUTSIDE")
    folders = {change: packed_site.uploads / f"{change}s" / "d" for change in CHANGES}
    for folder in folders.values():
        (folder / "sub").mkdir(parents=True)
        (folder / "000big").write_bytes(os.urandom(FRAMES))
        (folder / "b").write_text("b")
        (folder / "sub/x").write_text("x")
    faults = [
        WhileOpen(folders[change] / "000big", partial(act, folders[change], elsewhere))
        for change, (act, _) in CHANGES.items()
    ]
    taken = packed_site.take(Several(faults))
    for change, fault in zip(CHANGES, faults, strict=True):
        assert fault.done, change
        named = CHANGES[change][1].format(folders[change].relative_to(packed_site.uploads))
        assert any(named in warning for warning in taken.warnings), "\n".join((change, *taken.warnings))
    target = server_folder / "target"
    packed_site.lay_out(taken.backup.id, target)
    texts = [path.read_bytes() for path in (target / "paths").rglob("*") if path.is_file()]
    assert b"OUTSIDE" not in texts


def test_what_is_too_deep_to_be_laid_out_again_is_left_out_and_told(packed_site: FullSite, server_folder: Path) -> None:
    deep = packed_site.uploads.joinpath(*["d" * 250] * 15)
    at = os.open(packed_site.uploads, os.O_RDONLY)
    for name in deep.relative_to(packed_site.uploads).parts:
        os.mkdir(name, dir_fd=at)
        inner = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    taken = packed_site.take()
    assert any("too long a path" in each for each in taken.warnings)
    packed_site.lay_out(taken.backup.id, server_folder / "target")


def test_a_folder_that_is_empty_may_have_been_a_mount(packed_site: FullSite) -> None:
    shutil.rmtree(packed_site.uploads)
    packed_site.uploads.mkdir()
    assert any("is it mounted?" in each for each in packed_site.take().warnings)


@pytest.mark.parametrize("which", ["circle", "long"])
def test_a_path_that_cannot_be_is_no_crash(packed_site: FullSite, server_folder: Path, which: str) -> None:
    (server_folder / "circle").symlink_to("circle")
    path = {"circle": server_folder / "circle", "long": server_folder / ("k" * 300)}[which]
    assert "cannot be" in packed_site.fails(BackupValidationError, BACKUP_FULL_PATHS=str(path)).message


@pytest.mark.parametrize("what", ["gone", "pipe"])
def test_a_whole_path_that_goes_meanwhile_fails_the_backup_and_the_last_one_stays(
    packed_site: FullSite, what: str
) -> None:
    kept = packed_site.take().backup
    if what == "pipe":
        shutil.rmtree(packed_site.uploads)
        os.mkfifo(packed_site.uploads)
        packed_site.fails(BackupValidationError)
    else:
        packed_site.fails(DiskReadError, At(lambda: shutil.rmtree(packed_site.uploads), phase="copy"))
    assert verify(packed_site.service(), kept.id).failed == []


def test_a_cancel_while_retention_works_does_not_undo_the_backup(
    packed_site: FullSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled(*_: object, **_more: object) -> None:
        raise Cancelled(BackupCancelledError("the run was revoked"))

    monkeypatch.setattr("app.operations.backup.take.apply_retention", cancelled)
    taken = packed_site.take()
    assert taken.backup.is_verified
    assert "retention was cut short" in taken.warnings[0]


def test_what_writes_into_the_copy_fails_it(packed_site: FullSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.tar.writer.TarWriter.add_file", lambda *_: True)
    error = packed_site.fails(BackupCreationError)
    assert "written to while it was packed" in error.message


def test_what_could_not_be_laid_out_again_is_no_backup(packed_site: FullSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def place(entry: tarfile.TarInfo, _: Path) -> Path:
        if entry.name.endswith("letter.txt"):
            raise RestoreValidationError("letter.txt is no part of a full backup")
        return Path()

    monkeypatch.setattr("app.operations.backup.full.place_of", place)
    error = packed_site.fails(BackupValidationError)
    assert "letter.txt" in error.message


def test_names_as_long_as_the_disk_takes_come_back(packed_site: FullSite, server_folder: Path) -> None:
    deep = packed_site.uploads.joinpath(*[os.fsdecode(b"\xff" * 250)] * 10)
    deep.mkdir(parents=True)
    (deep / "x").write_text("deep")
    taken = packed_site.take()
    target = server_folder / "target"
    packed_site.lay_out(taken.backup.id, target)
    assert Path(f"{target}/paths{deep}/x").read_text() == "deep"


def test_a_target_on_a_full_disk_is_left_as_it_was(packed_site: FullSite, server_folder: Path) -> None:
    (packed_site.uploads / "large").write_bytes(os.urandom(2 << 20))
    taken = packed_site.take()
    target = server_folder / "target"
    words = ("restore-full", taken.backup.id, "--target", str(target))
    done = run_forked(SMALL_FILES_ONLY, words, packed_site.site.process_env(), timeout=60)
    assert done.code == 14, done.stderr
    assert not target.exists()
    assert [each for each in server_folder.iterdir() if each.name.startswith(".")] == []


def test_a_target_where_this_user_may_not_write(
    packed_site: FullSite, server_folder: Path, ordinary: tuple[str, ...]
) -> None:
    taken = packed_site.take()
    closed = server_folder / "closed"
    closed.mkdir(0o500)
    done = packed_site.site.cli("restore-full", taken.backup.id, "--target", str(closed / "target"), prefix=ordinary)
    assert done.code == 12, done.stderr
    assert "RestorePermissionError" in done.stderr
