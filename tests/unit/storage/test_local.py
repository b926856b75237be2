"""What is special to a tree on a local disk: modes, crashes, full disks, refusals and links."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.domain.backup import Tier
from app.errors import (
    BackupError,
    BackupNotFoundError,
    BackupPermissionError,
    BackupStorageError,
    BackupWriteError,
    DiskReadError,
)
from app.storage.local import LocalTree

RUN = "0123456789ab"
NAME = "backup-2025-01-15"
FILE = f"daily/{NAME}.sql"
OLD, NEW = b"the old content", b"the new and longer content"
HERE = Path(__file__).parents[3]
STEPS = ("replace", "unlink", "fsync", "rename")


class Crash(BaseException):
    """The process dies here: nothing that runs after it may change the disk."""


@pytest.fixture
def tree(tmp_path: Path) -> LocalTree:
    made = LocalTree(tmp_path / "backups")
    made.probe(Tier.DAILY)
    return made


def manifest_for(content: bytes) -> bytes:
    return json.dumps({"sha256": hashlib.sha256(content).hexdigest()}).encode()


def save(tree: LocalTree, content: bytes, file: str = FILE) -> str | None:
    tier, _, name = file.partition("/")
    with tree.create(Tier(tier), name, RUN) as draft:
        draft.stream.write(content)
        return draft.publish(file, manifest_for(content), [stored.file for stored in tree.files()])


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def assert_manifests_are_true(tree: LocalTree) -> dict[str, bytes]:
    """The archives and their contents; each manifest that stands beside one describes it."""
    contents = {}
    for stored in tree.files():
        contents[stored.file] = (tree.root / stored.file).read_bytes()
        assert stored.manifest in {None, manifest_for(contents[stored.file])}
    return contents


# Modes


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_folders_are_0700_and_files_0600_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    tree = LocalTree(tmp_path / "above" / "backups")
    before = os.umask(umask)
    try:
        tree.probe(Tier.DAILY)
        with tree.create(Tier.DAILY, NAME, RUN) as draft:
            assert mode_of(tree.root / f"daily/.{NAME}.{RUN}.partial") == 0o600
            draft.publish(FILE, b"{}")
        tree.write_manifest(FILE, b"{ }")
    finally:
        os.umask(before)
    for folder in (tree.root.parent, tree.root, tree.root / "daily"):
        assert mode_of(folder) == 0o700
    for file in (FILE, f"{FILE}.json"):
        assert mode_of(tree.root / file) == 0o600


def test_the_modes_of_folders_that_exist_are_the_operators_affair(tmp_path: Path) -> None:
    tree = LocalTree(tmp_path)
    tmp_path.chmod(0o750)
    tree.probe(Tier.DAILY)
    assert mode_of(tmp_path) == 0o750


# Temporary names


def test_temporary_names_are_hidden_and_carry_the_run(tree: LocalTree, monkeypatch: pytest.MonkeyPatch) -> None:
    with tree.create(Tier.DAILY, NAME, RUN) as draft, dying_at(monkeypatch, "unlink", "replace", at=1):
        with pytest.raises(Crash):
            draft.publish(FILE, b"{}")
        names = sorted(path.name for path in (tree.root / "daily").iterdir())
    assert names == [f".{NAME}.{RUN}.partial", f".{NAME}.sql.json.{RUN}.partial"]
    assert [run for _, run in tree.leftovers()] == []


def test_other_hidden_files_are_no_leftovers(tree: LocalTree) -> None:
    for name in (".partial", ".a.partial", ".nfs0001", "x.y.partial", ".a..partial"):
        (tree.root / "daily" / name).touch()
    (tree.root / "daily" / ".a.b.partial").mkdir()
    (tree.root / "daily" / ".a.c.partial").symlink_to(tree.root)
    assert tree.leftovers() == []


def test_what_a_killed_process_leaves_is_found_by_its_run(tree: LocalTree) -> None:
    killed = """
        with tree.create(Tier.DAILY, "backup-2025-01-15", "0123456789ab") as draft:
            draft.stream.write(b"half")
            draft.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert in_process(tree.root, killed).returncode == -9
    ((file, run),) = tree.leftovers()
    assert run == RUN
    tree.remove_leftover(file)
    assert tree.leftovers() == []


# Crashes


@contextmanager
def dying_at(monkeypatch: pytest.MonkeyPatch, *steps: str, at: int, dead: bool = True) -> Iterator[list[str]]:
    """Within the block the `at`-th of the calls that change names on the disk fails.

    `dead`: the process is gone, so every later one fails too; otherwise it is one error of the disk.
    """
    calls: list[str] = []

    def failing(step: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            calls.append(step)
            if len(calls) == at or (dead and len(calls) > at):
                raise Crash if dead else OSError(errno.EIO, os.strerror(errno.EIO))
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        for step in steps:
            patched.setattr(os, step, failing(step, getattr(os, step)))
        yield calls


def every_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, work: Callable[[LocalTree], object], *, dead: bool
) -> Iterator[tuple[LocalTree, BaseException | None]]:
    """Runs `work` on fresh trees that hold OLD, failing at its first step, its second, …; the last run is whole."""
    for number in itertools.count(1):
        tree = LocalTree(tmp_path / f"{number}")
        save(tree, OLD)
        ended: BaseException | None = None
        with dying_at(monkeypatch, *STEPS, at=number, dead=dead) as calls:
            try:
                work(tree)
            except (Crash, BackupError) as error:
                ended = error
        yield tree, ended
        if len(calls) < number:
            assert number > 5, "the calls were not counted"
            assert ended is None
            return


@pytest.mark.parametrize("suffix", [".sql", ".sql.zst"])
@pytest.mark.parametrize("how", ["crash", "disk error"])
def test_wherever_publishing_stops_a_manifest_describes_what_it_stands_beside(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, suffix: str, how: str
) -> None:
    new = f"daily/{NAME}{suffix}"
    for tree, ended in every_step(monkeypatch, tmp_path, lambda tree: save(tree, NEW, new), dead=how == "crash"):
        contents = assert_manifests_are_true(tree)
        assert contents
        assert contents.get(FILE, OLD) in {OLD, NEW}
        assert contents.get(new, NEW) in {OLD, NEW}
        if ended is None:
            assert contents[new] == NEW
        if how == "disk error":
            # Only a manifest waits, and only beside the file that it describes.
            bare = [stored.file for stored in tree.files() if stored.manifest is None]
            waiting = [file for file, _ in tree.leftovers()]
            assert waiting in ([], [f"daily/.{NAME}{suffix}.json.{RUN}.partial"])
            assert not waiting or new in bare
            assert len(contents) == 1 or waiting or new not in bare
        for file, _ in tree.leftovers():
            tree.remove_leftover(file)
        # The next run heals all of it.
        assert save(tree, NEW, new) is None
        assert assert_manifests_are_true(tree) == {new: NEW}


def test_until_the_new_name_is_taken_a_failure_is_raised_and_then_only_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[str | None] = []
    outcomes = []
    for tree, ended in every_step(monkeypatch, tmp_path, lambda tree: told.append(save(tree, NEW)), dead=False):
        outcomes.append(ended is None)
        if ended is None:
            (stored,) = tree.files()
            content = (tree.root / FILE).read_bytes()
            assert content == NEW
            assert stored.manifest == manifest_for(NEW) or told[-1]
        else:
            assert isinstance(ended, BackupWriteError)
    assert outcomes[0] is False
    assert outcomes[-2:] == [True, True]
    assert told[-1] is None
    assert any(reason and "Input/output error" in reason for reason in told)


@pytest.mark.parametrize("how", ["crash", "disk error"])
def test_wherever_a_rename_stops_the_pair_stands_under_one_of_the_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    other = "daily/backup-2024-01-15.sql"
    for tree, _ in every_step(monkeypatch, tmp_path, lambda tree: tree.rename(FILE, other), dead=how == "crash"):
        (stored,) = tree.files()
        assert stored.manifest == manifest_for(OLD)
        assert assert_manifests_are_true(tree) in ({FILE: OLD}, {other: OLD})


@pytest.mark.parametrize("how", ["crash", "disk error"])
def test_wherever_a_removal_stops_no_manifest_promises_what_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    def work(tree: LocalTree) -> None:
        tree.remove(FILE)
        tree.remove("daily/a")
        tree.remove("daily/b")

    for tree, _ in every_step(monkeypatch, tmp_path, work, dead=how == "crash"):
        assert_manifests_are_true(tree)
        if not (tree.root / FILE).exists():
            assert tree.read_manifest(FILE) is None
        tree.remove(FILE)
        assert tree.files() == []


@pytest.mark.parametrize("how", ["crash", "disk error"])
def test_wherever_writing_a_manifest_stops_it_is_the_old_or_the_new_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    def work(tree: LocalTree) -> None:
        for _ in range(3):
            tree.write_manifest(FILE, b"new")

    for tree, _ in every_step(monkeypatch, tmp_path, work, dead=how == "crash"):
        assert tree.read_manifest(FILE) in {manifest_for(OLD), b"new"}
        if how == "disk error":
            assert tree.leftovers() == []


def test_each_step_of_publishing_is_on_the_disk_before_the_next(
    monkeypatch: pytest.MonkeyPatch, tree: LocalTree
) -> None:
    save(tree, OLD)
    for name in (f"{NAME}.sql.gz", f"{NAME}.sql.gz.json"):
        (tree.root / "daily" / name).touch()
    log: list[str] = []

    def logged(step: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(target: int | Path, *rest: Path, **options: int) -> object:
            name = Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else [target, *rest][-1]
            result = real(target, *rest, **options)
            log.append(f"{step} {Path(name).name}")
            return result

        return call

    for step in ("fsync", "replace", "unlink"):
        monkeypatch.setattr(os, step, logged(step, getattr(os, step)))
    assert save(tree, NEW) is None
    # What is missing is not unlinked, so it is not logged.
    assert log == [
        f"fsync .{NAME}.sql.{RUN}.partial",
        f"fsync .{NAME}.sql.json.{RUN}.partial",
        f"unlink {NAME}.sql.json",
        f"unlink {NAME}.sql.gz.json",
        "fsync daily",
        f"replace {NAME}.sql",
        "fsync daily",
        f"replace {NAME}.sql.json",
        "fsync daily",
        f"unlink {NAME}.sql.gz",
        "fsync daily",
    ]


# Full disks


def in_process(root: Path, body: str, *wrapper: str) -> subprocess.CompletedProcess[str]:
    """Runs `body` in a process of its own, with `tree` at `root`; it prints what is to be looked at."""
    head = "import errno, os, resource, signal\nfrom pathlib import Path\nfrom app.domain.backup import Tier\n"
    head += (
        f"from app.errors import *\nfrom app.storage.local import LocalTree\ntree = LocalTree(Path({str(root)!r}))\n"
    )
    return subprocess.run(
        [*wrapper, sys.executable, "-c", head + textwrap.dedent(body)],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )


LIMITED = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
"""


def test_a_full_disk_is_told_from_other_failures_and_leaves_nothing(tree: LocalTree) -> None:
    full = LIMITED + textwrap.dedent("""
        try:
            with tree.create(Tier.DAILY, "backup-2025-01-15", "0123456789ab") as draft:
                draft.stream.write(b"x" * 5_000)
                draft.stream.write(b"x" * 5_001)
                draft.flush()
        except BackupStorageError as error:
            print(error, error.hint)
    """)
    done = in_process(tree.root, full)
    assert "no space left" in done.stdout, done.stderr
    assert "prune" in done.stdout
    assert done.stderr == ""
    assert list((tree.root / "daily").iterdir()) == []


def test_a_disk_too_full_for_the_manifest_still_takes_the_backup(tree: LocalTree) -> None:
    save(tree, OLD)
    full = LIMITED + textwrap.dedent("""
        with tree.create(Tier.DAILY, "backup-2025-01-15", "0123456789ab") as draft:
            draft.stream.write(b"the new and longer content")
            print(draft.publish("daily/backup-2025-01-15.sql", b"x" * 10_001))
    """)
    done = in_process(tree.root, full)
    assert "no space left" in done.stdout, done.stderr
    assert assert_manifests_are_true(tree) == {FILE: NEW}
    assert [path.name for path in (tree.root / "daily").iterdir()] == [f"{NAME}.sql"]


def test_a_disk_too_full_for_a_manifest_keeps_the_earlier_one(tree: LocalTree) -> None:
    save(tree, OLD)
    full = LIMITED + textwrap.dedent("""
        try:
            tree.write_manifest("daily/backup-2025-01-15.sql", b"x" * 10_001)
        except BackupStorageError as error:
            print(error)
    """)
    assert "no space left" in in_process(tree.root, full).stdout
    assert tree.read_manifest(FILE) == manifest_for(OLD)
    assert tree.leftovers() == []


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, BackupStorageError),
        (errno.EDQUOT, BackupStorageError),
        (errno.EFBIG, BackupStorageError),
        (errno.EROFS, BackupPermissionError),
        (errno.EACCES, BackupPermissionError),
        (errno.EPERM, BackupPermissionError),
        (errno.ENOTDIR, BackupStorageError),
        (errno.EIO, BackupWriteError),
        (errno.EMFILE, BackupWriteError),
    ],
)
def test_each_error_of_the_disk_becomes_its_own(
    monkeypatch: pytest.MonkeyPatch, tree: LocalTree, number: int, expected: type[BackupError]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(expected) as caught:
        tree.probe(Tier.DAILY)
    assert type(caught.value) is expected
    assert str(tree.root / "daily") in caught.value.message + caught.value.hint
    assert caught.value.hint
    assert list((tree.root / "daily").iterdir()) == []


def test_a_read_only_file_system_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch, tree: LocalTree) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(BackupPermissionError, match="Read-only file system") as caught:
        tree.probe(Tier.DAILY)
    assert "read-write" in caught.value.hint


def test_a_file_system_that_cannot_sync_folders_is_good_enough(
    monkeypatch: pytest.MonkeyPatch, tree: LocalTree
) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir():
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    assert save(tree, NEW) is None


def test_a_disk_that_forgets_is_found_out(monkeypatch: pytest.MonkeyPatch, tree: LocalTree) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if not Path(f"/proc/self/fd/{descriptor}").resolve().is_dir():
            os.ftruncate(descriptor, 3)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(BackupWriteError, match="does not keep"):
        tree.probe(Tier.DAILY)


def test_reading_back_waits_for_the_disk_and_drops_the_cache(monkeypatch: pytest.MonkeyPatch, tree: LocalTree) -> None:
    calls: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    monkeypatch.setattr(os, "posix_fadvise", lambda _fd, _at, _length, advice: calls.append(f"advise {advice}"))
    with tree.create(Tier.DAILY, NAME, RUN) as draft:
        draft.stream.write(b"x")
        draft.flush()
        assert calls == ["fsync", f"advise {os.POSIX_FADV_DONTNEED}"]
        assert (tree.root / f"daily/.{NAME}.{RUN}.partial").stat().st_size == 1


def test_an_error_of_the_disk_while_reading_is_a_read_error(monkeypatch: pytest.MonkeyPatch, tree: LocalTree) -> None:
    save(tree, OLD)

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "open", refuse)
    for attempt in (lambda: tree.open(FILE), lambda: tree.read_manifest(FILE)):
        with pytest.raises(DiskReadError, match="Input/output error"):
            attempt()
    (stored,) = tree.files()
    assert stored.manifest is None, "one manifest that cannot be read hides no backup"
    assert "Input/output error" in str(stored.problem)


# Refusals: root may do all of this, so another user must try


def as_nobody_special(root: Path, body: str) -> str:
    """What `body` prints when uid 1000, or whoever runs the tests, runs it."""
    wrapper: list[str] = []
    if os.geteuid() == 0:
        unshare = shutil.which("unshare")
        wrapper = [unshare or "unshare", "--user", "--map-user=1000", "--map-group=1000"]
        if unshare is None or subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
            pytest.skip("root is refused nothing, and there is no unshare to become someone else")
    done = in_process(root, body, *wrapper)
    assert done.returncode == 0, done.stderr
    return done.stdout


PROBE = """
try:
    tree.probe(Tier.DAILY)
except BackupPermissionError as error:
    print(os.geteuid(), error, error.hint, sep="\\n")
"""


def test_a_folder_that_may_not_be_written_is_named_with_owner_mode_and_way_out(tmp_path: Path) -> None:
    folder = tmp_path / "daily"
    folder.mkdir(mode=0o500)
    uid, message, hint = as_nobody_special(tmp_path, PROBE).splitlines()
    assert f"Permission denied: this process runs as uid {uid}" in message
    assert f"{folder} belongs to uid" in message
    assert "mode 0500" in message
    assert hint in {f"chmod u+rwX {folder}", f"chown -R {uid} {folder}"}


def test_a_folder_that_cannot_be_made_names_the_one_above_that_refuses(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        _, message, _ = as_nobody_special(tmp_path / "a" / "b", PROBE).splitlines()
    finally:
        tmp_path.chmod(0o700)
    assert f"and {tmp_path} belongs to uid" in message
    assert "mode 0500" in message


def test_a_folder_that_may_not_be_entered_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "daily").mkdir(mode=0o600)
    _, message, _ = as_nobody_special(tmp_path, PROBE).splitlines()
    assert "mode 0600" in message


def test_a_folder_owned_by_another_user_asks_for_chown(tmp_path: Path) -> None:
    root = Path("/")
    if os.geteuid() != 0 and root.stat().st_uid == os.geteuid():
        pytest.skip("a namespace in which even / is this user's")
    if os.geteuid() == 0:
        root = tmp_path / "anothers"
        root.mkdir(mode=0o755)
        os.chown(root, 12345, 12345)
    uid, message, hint = as_nobody_special(root, PROBE).splitlines()
    assert f"this process runs as uid {uid}, and {root} belongs to uid" in message
    assert hint == f"chown -R {uid} {root}"


def test_an_archive_that_may_not_be_read_is_named_itself(tree: LocalTree) -> None:
    save(tree, OLD)
    (tree.root / FILE).chmod(0)
    body = f"""
        try:
            tree.open({FILE!r})
        except BackupPermissionError as error:
            print(error)
    """
    assert f"and {tree.root / FILE} belongs to uid" in as_nobody_special(tree.root, body)


# Not a folder


@pytest.mark.parametrize("root", ["file", "file/below", "dangling", "loop"])
def test_a_root_that_is_no_folder_is_said_so(tmp_path: Path, root: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(BackupStorageError) as caught:
        LocalTree(tmp_path / root).probe(Tier.DAILY)
    assert str(tmp_path / root).startswith(caught.value.message.split(":")[0].removesuffix("/daily"))
    assert caught.value.hint


def test_a_file_in_place_of_a_tiers_folder_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "daily").touch()
    tree = LocalTree(tmp_path)
    attempts: list[Callable[[], object]] = [
        lambda: tree.probe(Tier.DAILY),
        lambda: tree.create(Tier.DAILY, NAME, RUN),
        lambda: tree.open(FILE),
        lambda: tree.remove(FILE),
        tree.files,
        tree.leftovers,
    ]
    for attempt in attempts:
        with pytest.raises(BackupStorageError, match="daily"):
            attempt()


def test_free_space_of_a_root_that_is_not_made_yet_is_that_of_what_is_above(tmp_path: Path) -> None:
    assert LocalTree(tmp_path / "a" / "b").free_bytes() > 0
    assert LocalTree(Path("a/b/c")).free_bytes() > 0


def test_free_space_counts_what_this_user_may_take(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    space = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: space)
    assert LocalTree(tmp_path).free_bytes() == space.f_bavail * space.f_frsize


# Links


def test_a_link_in_place_of_an_archive_or_manifest_is_not_read(tree: LocalTree, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (tree.root / FILE).symlink_to(secret)
    (tree.root / f"{FILE}.json").symlink_to(secret)
    assert tree.files() == []
    assert tree.read_manifest(FILE) is None
    with pytest.raises(BackupNotFoundError):
        tree.open(FILE)
    with pytest.raises(BackupNotFoundError):
        tree.rename(FILE, "daily/backup-2025-01-16.sql")


def test_links_are_replaced_and_removed_but_what_they_point_to_stays(tree: LocalTree, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    works: list[Callable[[], object]] = [lambda: save(tree, NEW), lambda: tree.remove(FILE)]
    for work in works:
        for name in (FILE, f"{FILE}.json"):
            (tree.root / name).unlink(missing_ok=True)
            (tree.root / name).symlink_to(secret)
        work()
        assert not (tree.root / FILE).is_symlink()
        assert not (tree.root / f"{FILE}.json").is_symlink()
    assert secret.read_bytes() == b"secret"


def test_a_link_under_the_temporary_name_is_not_written_through(tree: LocalTree, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    draft = tree.root / f"daily/.{NAME}.sql.{RUN}.partial"
    for target in (secret, tmp_path / "missing"):
        secret.write_bytes(b"secret")
        draft.symlink_to(target)
        with pytest.raises(BackupWriteError):
            save(tree, NEW)
        draft.unlink()
    assert secret.read_bytes() == b"secret"
    assert not (tmp_path / "missing").exists()


def test_a_link_in_place_of_a_tiers_folder_is_refused(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / f"{NAME}.sql").write_bytes(b"x")
    tree = LocalTree(tmp_path / "backups")
    tree.root.mkdir()
    (tree.root / "daily").symlink_to(outside)
    attempts: list[Callable[[], object]] = [
        lambda: tree.probe(Tier.DAILY),
        lambda: tree.remove(FILE),
        lambda: tree.open(FILE),
        tree.files,
    ]
    for attempt in attempts:
        with pytest.raises(BackupStorageError, match="symbolic link"):
            attempt()
    assert [path.name for path in outside.iterdir()] == [f"{NAME}.sql"]


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "backups").symlink_to(tmp_path / "disk")
    tree = LocalTree(tmp_path / "backups")
    tree.probe(Tier.DAILY)
    assert save(tree, NEW) is None
    assert (tmp_path / "disk" / FILE).read_bytes() == NEW


def test_a_pipe_or_folder_under_an_archives_name_is_none(tree: LocalTree) -> None:
    os.mkfifo(tree.root / FILE)
    (tree.root / "daily/backup-2025-01-16.sql").mkdir()
    assert tree.files() == []
    for file in (FILE, "daily/backup-2025-01-16.sql", f"daily/{'x' * 300}.sql"):
        with pytest.raises(BackupNotFoundError):
            tree.open(file)


def test_two_variants_of_an_id_are_both_listed(tree: LocalTree) -> None:
    for suffix in (".sql.zst", ".sql", ".sql.gz"):
        (tree.root / f"daily/{NAME}{suffix}").write_bytes(b"x")
    found = [(stored.id, stored.file) for stored in tree.files()]
    assert found == [(f"daily/{NAME}", f"daily/{NAME}{suffix}") for suffix in (".sql", ".sql.gz", ".sql.zst")]


def test_other_files_in_the_folders_are_ignored(tree: LocalTree) -> None:
    for name in (
        "README",
        f"{NAME}.dump",
        f"{NAME}.sql.json",
        f"{NAME}.sql.bz2",
        ".backup-2025-01-15.sql",
        "\udcff.sql",
    ):
        (tree.root / "daily" / name).touch()
    (tree.root / f"{NAME}.sql").touch()
    assert tree.files() == []


def test_a_file_that_vanishes_while_the_folder_is_listed_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tree: LocalTree
) -> None:
    save(tree, OLD)
    real = os.scandir

    def scandir(path: Path) -> Iterator[os.DirEntry[str]]:
        entries = list(real(path))
        for entry in entries:
            entry.is_file(follow_symlinks=False)
            Path(entry.path).unlink()
        return iter(entries)

    monkeypatch.setattr(os, "scandir", scandir)
    assert tree.files() == []
