"""A hostile tar writes nothing outside, and nothing twice."""

from __future__ import annotations

import errno
import io
import os
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.alerts.listeners import Listeners
from app.archive.codecs import frame_format
from app.domain.backup import Codec
from app.errors import BackupValidationError, RestorePermissionError, RestoreValidationError
from app.operations.full_restore.run import DataFolderTools, FullSource, restore_full

NOBODY = Listeners(())
PROGRAMS = DataFolderTools(verify=lambda _: "18.6", start=lambda folder: ["pg_ctl", "-D", str(folder)])


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.size = 1 if kind == tarfile.REGTYPE else 0
    return info


def with_pax(name: str, **headers: str) -> tarfile.TarInfo:
    """An entry whose extended header says something else."""
    info = entry(name)
    info.pax_headers = headers
    return info


def source(*entries: tarfile.TarInfo) -> FullSource:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        tar.addfile(entry("postgres", tarfile.DIRTYPE, mode=0o700))
        for each in entries:
            tar.addfile(each, io.BytesIO(b"x" * each.size))  # the headers of `with_pax` go first, as they are
    data = frame_format(Codec.GZIP).pack(plain.getvalue())
    return FullSource(name="x", open=lambda: io.BytesIO(data), codec=Codec.GZIP, size=len(data), manifest=None)


HOSTILE = {
    "absolute": [entry("/etc/cron.d/x")],
    "climbing": [entry("postgres/../../x")],
    "dots": [entry("./postgres/x")],
    "another top": [entry("home/x")],
    "twice": [entry("postgres/x"), entry("postgres/x")],
    "file as folder": [entry("postgres/x"), entry("postgres/x/y")],
    "link in the server's data": [entry("postgres/x", tarfile.SYMTYPE, "y")],
    "absolute link": [entry("paths/x", tarfile.SYMTYPE, "/etc")],
    "link out": [entry("paths/x", tarfile.SYMTYPE, "../../..")],
    "link into the server's data": [entry("paths/x", tarfile.SYMTYPE, "../postgres")],
    "links that lead out together": [
        entry("paths/a/b/c", tarfile.DIRTYPE),
        entry("paths/up", tarfile.SYMTYPE, "a/b/c"),
        entry("paths/out", tarfile.SYMTYPE, "up/../../../../.."),
    ],
    "file through a link": [entry("paths/a", tarfile.SYMTYPE, "."), entry("paths/a/x")],
    "hard link": [entry("paths/x"), entry("paths/y", tarfile.LNKTYPE, "paths/x")],
    "hard link out": [entry("paths/y", tarfile.LNKTYPE, "/etc/passwd")],
    "device": [entry("paths/x", tarfile.CHRTYPE)],
    "pipe": [entry("paths/x", tarfile.FIFOTYPE)],
    "a name that no disk takes": [entry("paths/" + "x" * 300)],
    "a name of megabytes": [entry("paths/" + "x/" * 1_000_000 + "x")],
    "a folder in a folder in a folder": [entry("paths/" + "x/" * 1500 + "x")],
    "a link to nothing": [entry("paths/x", tarfile.SYMTYPE, "")],
    "a link that no disk takes": [entry("paths/x", tarfile.SYMTYPE, "y" * 5000)],
    "a time that is none": [with_pax("paths/x", mtime="nan")],
    "a time that no disk takes": [with_pax("paths/x", mtime="1e30")],
    "a nothing in a name": [with_pax("paths/x", path="paths/x\0y")],
    "a sparse file": [with_pax("paths/x", **{"GNU.sparse.map": "0,1", "GNU.sparse.size": "1"})],
    "a sparse file of no size": [with_pax("paths/x", **{"GNU.sparse.map": "0,1", "GNU.sparse.size": "zz"})],
    "larger than the file": [with_pax("paths/x", size=str(1 << 60))],
}


@pytest.mark.parametrize("entries", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_tar_is_refused_and_leaves_nothing(tmp_path: Path, entries: list[tarfile.TarInfo]) -> None:
    with pytest.raises(RestoreValidationError) as caught:
        restore_full(source(*entries), tmp_path / "above" / "target", PROGRAMS, NOBODY)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_full_backup_is_refused(tmp_path: Path) -> None:
    data = b"\x1f\x8b nothing of the kind"
    stranger = FullSource(name="x", open=lambda: io.BytesIO(data), codec=Codec.GZIP, size=9, manifest=None)
    with pytest.raises(RestoreValidationError, match="does not verify"):
        restore_full(stranger, tmp_path / "target", PROGRAMS, NOBODY)
    assert list(tmp_path.iterdir()) == []


def test_modes_are_kept_but_nobodys_power_is(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    inside = [entry("paths/srv", tarfile.DIRTYPE, mode=0o3500), entry("paths/srv/run", mode=0o4755)]
    inside.append(entry("paths/srv/kept", mode=0o444))
    link = entry("paths/srv/link", tarfile.SYMTYPE, "run")
    done = restore_full(source(*inside, link), target, PROGRAMS, NOBODY)
    assert (target / "paths/srv/link").read_text() == "x"
    assert (target / "paths/srv/run").stat().st_mode & 0o7777 == 0o755
    assert (target / "paths/srv/kept").stat().st_mode & 0o7777 == 0o444
    assert (target / "paths/srv").stat().st_mode & 0o7777 == 0o3700
    assert (target / "postgres").stat().st_mode & 0o7777 == 0o700
    assert (target / "paths").stat().st_mode & 0o7777 == 0o700
    assert done.warnings


@pytest.mark.parametrize("what", ["file", "folder with something in it", "link"])
def test_a_target_that_is_not_empty_is_left_alone(tmp_path: Path, what: str) -> None:
    target = tmp_path / "target"
    if what == "file":
        target.touch()
    elif what == "link":
        target.symlink_to(tmp_path)
    else:
        (target / "x").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RestoreValidationError, match="not"):
        restore_full(source(), target, PROGRAMS, NOBODY)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_unpacked_file_gets_its_owner_again_or_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, tuple[int, int]] = {}

    lstat = Path.lstat

    def give(path: Path, uid: int, gid: int, *, follow_symlinks: bool) -> None:
        assert not follow_symlinks
        if "closed" in path.name:
            raise OSError(errno.EINVAL, "Invalid argument")  # in a user namespace that has no such user
        given[path.name] = (uid, gid)

    def owned(path: Path) -> SimpleNamespace | os.stat_result:
        uid, gid = given.get(path.name, (None, None))
        return lstat(path) if uid is None else SimpleNamespace(st_uid=uid, st_gid=gid, st_mode=lstat(path).st_mode)

    monkeypatch.setattr(os, "chown", give)
    monkeypatch.setattr(Path, "lstat", owned)
    folder, file, link = (
        entry("paths/srv", tarfile.DIRTYPE, mode=0o500),
        entry("paths/srv/run"),
        entry("paths/srv/link", tarfile.SYMTYPE, "run"),
    )
    server = entry("postgres/PG_VERSION")
    for each in (folder, file, link, server):
        each.uid, each.gid = 1234, 4321
    done = restore_full(source(folder, file, link, server), tmp_path / "one", PROGRAMS, NOBODY)
    assert given == dict.fromkeys(("srv", "run", "link"), (1234, 4321)), "the server's files are for whoever starts it"
    assert done.owners_kept
    closed = entry("paths/closed")
    closed.uid = 1234
    assert not restore_full(source(closed), tmp_path / "two", PROGRAMS, NOBODY).owners_kept


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_root_gives_files_back(tmp_path: Path) -> None:
    file = entry("paths/run")
    file.uid, file.gid = 1234, 4321
    restore_full(source(file), tmp_path / "target", PROGRAMS, NOBODY)
    found = (tmp_path / "target/paths/run").stat()
    assert (found.st_uid, found.st_gid) == (1234, 4321)


def test_a_way_that_goes_up_ends_where_it_says(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    done = restore_full(source(), tmp_path / "deep" / ".." / "target", PROGRAMS, NOBODY)
    assert done.target == tmp_path / "target"
    assert (tmp_path / "target/postgres").is_dir()


def test_a_folder_that_is_there_is_filled_and_stays_what_it_is(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir(0o750)
    before = target.stat()
    restore_full(source(entry("paths/x")), target, PROGRAMS, NOBODY)
    assert sorted(each.name for each in target.iterdir()) == ["paths", "postgres"]
    assert (target.stat().st_ino, target.stat().st_mode) == (before.st_ino, before.st_mode)


def test_a_folder_that_cannot_be_filled_is_empty_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "target"
    target.mkdir()
    rename = Path.rename

    def fail_at_the_second(path: Path, new: Path) -> Path:
        if path.name == "postgres":
            assert (target / "paths").is_dir()
            raise PermissionError(1, "Operation not permitted", str(new))
        return rename(path, new)

    monkeypatch.setattr(Path, "rename", fail_at_the_second)
    with pytest.raises(RestorePermissionError):
        restore_full(source(entry("paths/x")), target, PROGRAMS, NOBODY)
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("there", [True, False])
def test_a_cancel_at_the_very_end_leaves_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    there: bool,  # noqa: FBT001
) -> None:
    target = tmp_path / "target"
    if there:
        target.mkdir()

    def sync() -> None:
        if (target / "postgres").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "sync", sync)
    with pytest.raises(KeyboardInterrupt):
        restore_full(source(entry("paths/x")), target, PROGRAMS, NOBODY)
    assert list(tmp_path.rglob("*")) == ([target] if there else [])


def test_what_failed_is_raised_not_what_could_not_be_tidied_up(tmp_path: Path) -> None:
    def verify(folder: Path) -> str:
        (folder.parents[1] / "somebody's").touch()
        raise BackupValidationError("it differs")

    with pytest.raises(RestoreValidationError, match="it differs"):
        restore_full(
            source(), tmp_path / "new" / "target", DataFolderTools(verify=verify, start=PROGRAMS.start), NOBODY
        )
    assert [each.name for each in (tmp_path / "new").iterdir()] == ["somebody's"]


def test_what_a_killed_run_has_left_is_named(tmp_path: Path) -> None:
    left, anothers = tmp_path / ".target.0123456789ab.unfinished", tmp_path / ".target.2.0123456789ab.unfinished"
    left.mkdir()
    anothers.mkdir()
    done = restore_full(source(), tmp_path / "target", PROGRAMS, NOBODY)
    assert any(str(left) in each for each in done.warnings)
    assert not any(str(anothers) in each for each in done.warnings)
    (left / "x").touch()
    with pytest.raises(RestoreValidationError, match="it holds x"):
        restore_full(source(), left, PROGRAMS, NOBODY)


def test_folders_above_it_are_nobody_elses_to_change(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        restore_full(source(), tmp_path / "a" / "b" / "target", PROGRAMS, NOBODY)
    finally:
        os.umask(before)
    assert [each.stat().st_mode & 0o777 for each in (tmp_path / "a", tmp_path / "a/b")] == [0o755, 0o755]
