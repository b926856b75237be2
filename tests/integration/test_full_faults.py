"""What may go wrong with a full backup: each has its own error, and leaves nothing but what was there."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest

from app.archive.tarball import BLOCK
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
    ProgramKilledError,
    RestoreValidationError,
    ServerUnavailableError,
)
from app.operations import pack
from app.operations.check import check, repair
from app.operations.full_preflight import preflight_full
from app.operations.service import Progress
from app.operations.take_backup import take_backup
from app.postgres.binaries import Binary, find_binary, installed
from tests.fix_full import FULL, FullSite, server_on
from tests.fix_postgres import nothing_runs_in
from tests.fix_service import At, fill_wide, leftovers, require_same_content


def fails(full_site: FullSite, expected: type[BackupError], progress: At | None = None, **settings: str) -> BackupError:
    """Take a full backup that must fail, and see that nothing came of it."""
    site = full_site.site
    before = site.files()
    service = site.service(**settings)
    with pytest.raises(expected) as caught:
        take_backup(service, FULL, progress) if progress else take_backup(service, FULL)
    assert progress is None or progress.done, "the fault was never injected"
    assert type(caught.value) is expected
    assert caught.value.hint
    assert site.files() == before
    assert not leftovers(site.backups)
    assert not site.service().catalog.running(site.database.name)
    assert nothing_runs_in(site.backups)
    return caught.value


def role(full_site: FullSite, attributes: str) -> str:
    """The URL of a new role that may read everything."""
    full_site.site.database.execute(
        f"CREATE ROLE copier LOGIN PASSWORD 'canary-4711' {attributes}; GRANT pg_read_all_data TO copier"
    )
    return psycopg.conninfo.make_conninfo(full_site.site.database.url, user="copier", password="canary-4711")


def test_a_role_without_replication_is_told_how_to_get_it(full_site: FullSite) -> None:
    error = fails(full_site, BackupPermissionError, DATABASE_URL=role(full_site, "NOREPLICATION"))
    assert error.hint == 'as a superuser: ALTER ROLE "copier" REPLICATION'
    assert error.exit_code == 12


def test_a_role_with_replication_alone_makes_one(full_site: FullSite, server_folder: Path) -> None:
    taken = full_site.take(DATABASE_URL=role(full_site, "REPLICATION"))
    target = server_folder / "target"
    assert full_site.site.cli("restore-full", taken.backup.id, "--target", str(target)).code == 0
    words = (target / "globals.sql").read_text()
    assert "CREATE ROLE copier" in words
    assert "SCRAM" not in words, "only a superuser may read passwords"
    with server_on(target / "postgres", full_site.server, full_site.site.database.name) as copy:
        require_same_content(full_site.site.database, copy)


def test_a_server_that_refuses_replication_connections_is_told_the_line_it_needs(
    full_site: FullSite, server_folder: Path
) -> None:
    hba = server_folder / "postgres/data/pg_hba.conf"
    hba.write_text("".join(each for each in hba.read_text().splitlines(keepends=True) if "replication" not in each))
    full_site.site.database.execute("SELECT pg_reload_conf()")
    error = fails(full_site, BackupPermissionError)
    assert "pg_hba.conf" in error.hint
    assert "host replication postgres" in error.hint


@pytest.mark.parametrize(
    ("settings", "named"),
    [("max_wal_senders = 0", "max_wal_senders"), ("wal_level = minimal\nmax_wal_senders = 0", "wal_level")],
)
def test_a_server_that_lets_nobody_copy_it(full_site: FullSite, server_folder: Path, settings: str, named: str) -> None:
    with (server_folder / "postgres/data/postgresql.conf").open("a") as file:
        file.write(f"\n{settings}\n")
    full_site.server.restart()
    error = fails(full_site, BackupCreationError)
    assert named in error.message
    assert named in error.hint


def test_tablespaces_are_refused_by_name(full_site: FullSite, server_folder: Path) -> None:
    place = server_folder / "postgres" / "space"
    place.mkdir()
    with full_site.site.database.connect() as connection:
        connection.execute(f"CREATE TABLESPACE fast LOCATION '{place}'")
        error = fails(full_site, BackupValidationError)
        connection.execute("DROP TABLESPACE fast")
    assert f"fast at {place}" in error.message


@pytest.mark.parametrize("which", ["missing", "the backups", "above the backups", "within the backups", "nested"])
def test_paths_that_cannot_be_taken_in(full_site: FullSite, server_folder: Path, which: str) -> None:
    backups = full_site.site.backups
    full_site.site.service().tree.probe(FULL.tier)
    paths = {
        "missing": "/not/there",
        "the backups": str(backups),
        "above the backups": str(server_folder),
        "within the backups": str(backups / "full"),
        "nested": f"{full_site.uploads},{full_site.uploads}/a",
    }
    error = fails(full_site, BackupValidationError, BACKUP_FULL_PATHS=paths[which])
    assert "BACKUP_FULL_PATHS" in error.hint
    assert error.exit_code == 13


def test_a_link_to_the_backups_is_seen_through(full_site: FullSite, server_folder: Path) -> None:
    full_site.site.service().tree.probe(FULL.tier)
    (server_folder / "alias").symlink_to(full_site.site.backups)
    fails(full_site, BackupValidationError, BACKUP_FULL_PATHS=str(server_folder / "alias"))


def test_a_file_that_may_not_be_read_fails_the_backup(full_site: FullSite, ordinary: tuple[str, ...]) -> None:
    (full_site.uploads / "a/letter.txt").chmod(0)
    done = full_site.site.cli("create", "full", prefix=ordinary)
    assert done.code == 12, done.stderr
    assert "letter.txt may not be read" in done.stderr
    assert full_site.site.files() == {}


def test_odd_files_are_left_out_with_a_warning(full_site: FullSite) -> None:
    os.mkfifo(full_site.uploads / "pipe")
    (full_site.uploads / "out").symlink_to("/etc/passwd")
    (full_site.uploads / "up").symlink_to("../../etc")
    (full_site.uploads / "deep").mkdir()
    (full_site.uploads / "deep/back").symlink_to("..")
    (full_site.uploads / "round").symlink_to("deep/back/../..")  # by its letters it stays inside
    taken = full_site.take()
    for name in ("pipe", "out", "up", "round"):
        assert str(full_site.uploads / name) in " ".join(taken.warnings)
    assert str(full_site.uploads / "deep/back") not in " ".join(taken.warnings)
    target = full_site.uploads.parent / "laid-out"
    assert full_site.site.cli("restore-full", taken.backup.id, "--target", str(target)).code == 0


def test_a_folder_that_may_not_be_entered_fails_the_backup(full_site: FullSite, ordinary: tuple[str, ...]) -> None:
    (full_site.uploads / "a").chmod(0o444)
    done = full_site.site.cli("create", "full", prefix=ordinary)
    assert done.code == 12, done.stderr
    assert "may not be read" in done.stderr
    assert full_site.site.files() == {}


def test_two_slashes_are_one(full_site: FullSite) -> None:
    paths = f"/{full_site.uploads}"
    assert full_site.site.cli("create", "full", BACKUP_FULL_PATHS=paths).code == 0
    target = full_site.uploads.parent / "laid-out"
    assert full_site.site.cli("restore-full", "latest-full", "--target", str(target)).code == 0


def test_a_password_in_a_command_is_not_kept(full_site: FullSite) -> None:
    done = full_site.site.cli("create", "full", RESTORE_POST_COMMAND="env PGPASSWORD=s3cretX true")
    assert done.code == 0, done.stderr
    target = full_site.uploads.parent / "laid-out"
    assert full_site.site.cli("restore-full", "latest-full", "--target", str(target)).code == 0
    kept = (target / "settings.env").read_text()
    assert "# RESTORE_POST_COMMAND=\n" in kept
    assert "s3cretX" not in kept


def test_too_little_free_space_is_found_before_anything_is_copied(full_site: FullSite) -> None:
    error = fails(full_site, BackupStorageError, BACKUP_MIN_FREE_MB=str(1 << 30))
    assert "full backup" in error.message
    assert error.exit_code == 14


def test_a_disk_that_fills_up_while_the_server_is_copied(full_site: FullSite) -> None:
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); from app.cli import main; main()"
    )
    before = full_site.site.files()
    done = subprocess.run(
        [sys.executable, "-c", limited, "create", "full"],
        env=full_site.site.process_env(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # A signal that is ignored says less than a disk that is full: pg_basebackup does not always tell why it ended.
    assert done.returncode in {14, 15}, done.stderr
    assert full_site.site.files() == before
    assert not leftovers(full_site.site.backups)


def test_a_disk_that_fills_up_while_the_tar_is_packed(full_site: FullSite) -> None:
    service = full_site.site.service()

    def lose_space() -> None:
        service.tree.free_bytes = lambda: 0  # type: ignore[method-assign]

    fault = At(lose_space, phase="pack")
    with pytest.raises(BackupStorageError, match="filling up"):
        take_backup(service, FULL, fault)
    assert fault.done
    assert not leftovers(full_site.site.backups)
    assert not list(full_site.site.backups.glob("full/backup-*"))


def test_a_server_lost_while_it_is_copied(full_site: FullSite) -> None:
    fill_wide(full_site.site.database)
    fault = At(full_site.server.kill, phase="copy", after=0)
    error = fails(full_site, ServerUnavailableError, fault)
    assert error.transient
    full_site.server.restart()
    assert full_site.take().backup.good


def slowed(full_site: FullSite) -> None:
    """Enough to copy that the fault comes before the end."""
    fill_wide(full_site.site.database)
    full_site.site.database.execute("CREATE TABLE more AS SELECT * FROM wide, generate_series(1, 12)")


def test_a_process_killed_in_the_middle_takes_the_copying_with_it_and_repair_cleans_up(full_site: FullSite) -> None:
    slowed(full_site)
    process = full_site.start_and_wait_for_copy()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert nothing_runs_in(full_site.site.backups), "pg_basebackup goes on"
    left = leftovers(full_site.site.backups)
    assert left
    assert not list(full_site.site.backups.glob("full/backup-*"))
    assert any(each.check == "leftovers" and each.severity == "warning" for each in check(full_site.site.service()))
    done = repair(full_site.site.service())
    assert sum("leftover removed" in each for each in done) == len(left)
    assert not leftovers(full_site.site.backups)
    assert full_site.take().backup.good


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_cancelled_process_ends_the_copying_and_leaves_nothing(full_site: FullSite, number: int) -> None:
    slowed(full_site)
    process = full_site.start_and_wait_for_copy()
    os.kill(process.pid, number)
    assert process.wait(20) == 130
    assert nothing_runs_in(full_site.site.backups)
    assert not leftovers(full_site.site.backups)
    assert full_site.site.files() == {}


def test_a_cancel_in_the_instant_after_the_folder_was_made(
    full_site: FullSite, monkeypatch: pytest.MonkeyPatch
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
        full_site.take()
    assert not leftovers(full_site.site.backups)
    assert not full_site.site.service().catalog.running(full_site.site.database.name)


def programs_that(folder: Path, monkeypatch: pytest.MonkeyPatch, **lines: str) -> None:
    """The server's own programs, but some of them shell scripts."""
    folder.mkdir()

    def found(program: str, path: str) -> list[Binary]:
        if program not in lines:
            return installed(program, path)
        return [replace(each, path=str(folder / program)) for each in installed("pg_basebackup", path)]

    for program, line in lines.items():
        script = folder / program
        script.write_text(f"#!/bin/sh\n{line}\n")
        script.chmod(0o755)
    monkeypatch.setattr("app.postgres.binaries.installed", found)
    assert find_binary(next(iter(lines)), "1").path.startswith(str(folder))


@pytest.mark.parametrize(
    ("said", "expected", "words"),
    [
        ('could not write to file "x": No space left on device', BackupStorageError, "BACKUP_DIR"),
        (
            'could not read COPY data: ERROR:  could not write "y": No space left on device',
            BackupCreationError,
            "server",
        ),
        (
            'FATAL:  number of requested standby connections exceeds "max_wal_senders"',
            ServerUnavailableError,
            "senders",
        ),
    ],
)
def test_whose_disk_is_full(
    full_site: FullSite,
    server_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    expected: type[BackupError],
    words: str,
) -> None:
    programs_that(server_folder / "bin", monkeypatch, pg_basebackup=f"echo 'pg_basebackup: error: {said}' >&2; exit 1")
    assert words in fails(full_site, expected).hint


@pytest.mark.parametrize(
    ("how", "expected", "said"),
    [
        ("kill -9 $$", ProgramKilledError, "pg_verifybackup was ended by signal 9"),
        ("echo 'pg_verifybackup: error: out of memory' >&2; exit 1", BackupCreationError, "was not verified"),
    ],
)
def test_a_proof_that_could_not_be_tried_is_no_difference(
    full_site: FullSite,
    server_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    expected: type[BackupError],
    said: str,
) -> None:
    programs_that(server_folder / "bin", monkeypatch, pg_verifybackup=how)
    assert said in fails(full_site, expected).message


def test_without_pg_waldump_it_is_said_that_no_wal_was_read(
    full_site: FullSite, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = find_binary("pg_verifybackup", full_site.site.database.query("SHOW server_version")[0][0]).path
    programs_that(
        server_folder / "bin",
        monkeypatch,
        pg_verifybackup=f'case "$*" in *--no-parse-wal*) exec {real} "$@";; *) exit 1;; esac',
    )
    assert full_site.take().backup.good
    found = [each for each in preflight_full(full_site.site.service()).findings if each.severity == "warning"]
    assert any("pg_waldump" in each.message for each in found)


def test_a_missing_pg_dumpall_is_found_before_anything_is_copied(
    full_site: FullSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "app.postgres.binaries.installed",
        lambda program, path: [] if program == "pg_dumpall" else installed(program, path),
    )
    assert "pg_dumpall" in fails(full_site, BackupCreationError).message


def test_a_server_lost_before_its_roles_were_read_may_be_tried_again(
    full_site: FullSite, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "connection to server at 127.0.0.1 failed: Connection refused"
    programs_that(server_folder / "bin", monkeypatch, pg_dumpall=f"echo '{said}' >&2; exit 1")
    assert fails(full_site, ServerUnavailableError).transient


@pytest.mark.parametrize(
    ("where", "number", "expected"),
    [
        ("app.operations.pack.os.readlink", errno.ESTALE, DiskReadError),
        ("pathlib.Path.unlink", errno.EROFS, BackupWriteError),
    ],
)
def test_a_disk_that_fails_has_a_type(
    full_site: FullSite, monkeypatch: pytest.MonkeyPatch, where: str, number: int, expected: type[BackupError]
) -> None:
    real = os.readlink if "readlink" in where else Path.unlink

    def fail(path: Path, *arguments: object, **options: object) -> object:
        if str(path) == "newest" or Path(path).name == "PG_VERSION":
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(where, fail)
    assert fails(full_site, expected).hint


def test_a_running_servers_own_folder_is_refused(full_site: FullSite, server_folder: Path) -> None:
    error = fails(full_site, BackupValidationError, BACKUP_FULL_PATHS=str(server_folder / "postgres" / "data" / "base"))
    assert "running server" in error.message


def test_a_running_servers_folder_further_down_is_told(full_site: FullSite) -> None:
    (full_site.uploads / "a" / "postmaster.pid").touch()
    assert any("a server runs on it" in each for each in full_site.take().warnings)


FRAMES = 4 * BLOCK


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
    full_site: FullSite, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "_NAMED", 100)
    elsewhere = server_folder / "elsewhere"
    elsewhere.mkdir()
    for name in ("b", "x"):
        (elsewhere / name).write_text("OUTSIDE")
    folders = {change: full_site.uploads / f"{change}s" / "d" for change in CHANGES}
    for folder in folders.values():
        (folder / "sub").mkdir(parents=True)
        (folder / "000big").write_bytes(os.urandom(FRAMES))
        (folder / "b").write_text("b")
        (folder / "sub/x").write_text("x")
    faults = [
        WhileOpen(folders[change] / "000big", partial(act, folders[change], elsewhere))
        for change, (act, _) in CHANGES.items()
    ]
    taken = full_site.take(Several(faults))
    for change, fault in zip(CHANGES, faults, strict=True):
        assert fault.done, change
        named = CHANGES[change][1].format(folders[change].relative_to(full_site.uploads))
        assert any(named in warning for warning in taken.warnings), "\n".join((change, *taken.warnings))
    target = server_folder / "target"
    assert full_site.site.cli("restore-full", taken.backup.id, "--target", str(target)).code == 0
    texts = [path.read_bytes() for path in (target / "paths").rglob("*") if path.is_file()]
    assert b"OUTSIDE" not in texts


def test_what_is_too_deep_to_be_laid_out_again_is_left_out_and_told(full_site: FullSite, server_folder: Path) -> None:
    deep = full_site.uploads.joinpath(*["d" * 250] * 15)
    at = os.open(full_site.uploads, os.O_RDONLY)
    for name in deep.relative_to(full_site.uploads).parts:
        os.mkdir(name, dir_fd=at)
        inner = os.open(name, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    taken = full_site.take()
    assert any("too long a path" in each for each in taken.warnings)
    assert full_site.site.cli("restore-full", taken.backup.id, "--target", str(server_folder / "target")).code == 0


def test_a_folder_that_is_empty_may_have_been_a_mount(full_site: FullSite) -> None:
    shutil.rmtree(full_site.uploads)
    full_site.uploads.mkdir()
    assert any("is it mounted?" in each for each in full_site.take().warnings)


@pytest.mark.parametrize("which", ["circle", "long"])
def test_a_path_that_cannot_be_is_no_crash(full_site: FullSite, server_folder: Path, which: str) -> None:
    (server_folder / "circle").symlink_to("circle")
    path = {"circle": server_folder / "circle", "long": server_folder / ("k" * 300)}[which]
    assert "cannot be" in fails(full_site, BackupValidationError, BACKUP_FULL_PATHS=str(path)).message


@pytest.mark.parametrize("what", ["gone", "pipe"])
def test_a_whole_path_that_goes_meanwhile_fails_the_backup_and_the_last_one_stays(
    full_site: FullSite, what: str
) -> None:
    kept = full_site.take().backup
    if what == "pipe":
        shutil.rmtree(full_site.uploads)
        os.mkfifo(full_site.uploads)
        fails(full_site, BackupValidationError)
    else:
        fails(full_site, DiskReadError, At(lambda: shutil.rmtree(full_site.uploads), phase="pack"))
    assert full_site.site.cli("verify", kept.id).code == 0


def test_a_cancel_while_retention_works_does_not_undo_the_backup(
    full_site: FullSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled(*_: object, **_more: object) -> None:
        raise Cancelled(BackupCancelledError("the run was revoked"))

    monkeypatch.setattr("app.operations.take_backup.prune", cancelled)
    taken = full_site.take()
    assert taken.backup.good
    assert "retention was cut short" in taken.warnings[0]


def test_what_writes_into_the_copy_fails_it(full_site: FullSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.archive.tar_writer.TarWriter.add_file", lambda *_: True)
    error = fails(full_site, BackupCreationError)
    assert "written to while it was packed" in error.message


def test_what_could_not_be_laid_out_again_is_no_backup(full_site: FullSite, monkeypatch: pytest.MonkeyPatch) -> None:
    def place(entry: tarfile.TarInfo, _: Path) -> Path:
        if entry.name.endswith("letter.txt"):
            raise RestoreValidationError("letter.txt is no part of a full backup")
        return Path()

    monkeypatch.setattr("app.operations.take_full.place_of", place)
    error = fails(full_site, BackupValidationError)
    assert "letter.txt" in error.message


def test_names_as_long_as_the_disk_takes_come_back(full_site: FullSite, server_folder: Path) -> None:
    deep = full_site.uploads.joinpath(*[os.fsdecode(b"\xff" * 250)] * 10)
    deep.mkdir(parents=True)
    (deep / "x").write_text("deep")
    taken = full_site.take()
    target = server_folder / "target"
    assert full_site.site.cli("restore-full", taken.backup.id, "--target", str(target)).code == 0
    assert Path(f"{target}/paths{deep}/x").read_text() == "deep"


def test_programs_of_another_major_are_refused(full_site: FullSite, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = [Binary(19, 0, "/usr/bin/pg_basebackup")]
    monkeypatch.setattr("app.postgres.binaries.installed", lambda *_: newer)
    error = fails(full_site, BackupCreationError)
    assert "of the same major" in error.message


def test_a_target_on_a_full_disk_is_left_as_it_was(full_site: FullSite, server_folder: Path) -> None:
    (full_site.uploads / "large").write_bytes(os.urandom(2 << 20))
    taken = full_site.take()
    limited = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)); from app.cli import main; main()"
    )
    target = server_folder / "target"
    done = subprocess.run(
        [sys.executable, "-c", limited, "restore-full", taken.backup.id, "--target", str(target)],
        env=full_site.site.process_env(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 14, done.stderr
    assert not target.exists()
    assert [each for each in server_folder.iterdir() if each.name.startswith(".")] == []


def test_a_target_where_this_user_may_not_write(
    full_site: FullSite, server_folder: Path, ordinary: tuple[str, ...]
) -> None:
    taken = full_site.take()
    closed = server_folder / "closed"
    closed.mkdir(0o500)
    done = full_site.site.cli("restore-full", taken.backup.id, "--target", str(closed / "target"), prefix=ordinary)
    assert done.code == 12, done.stderr
    assert "RestorePermissionError" in done.stderr
