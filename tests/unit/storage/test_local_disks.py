"""Full, broken and odd disks: each error is told as what it is, and leaves nothing."""

from __future__ import annotations

import errno
import os
import textwrap
from pathlib import Path

import pytest

from app.domain.backup import Tier
from app.errors import (
    BackupError,
    BackupPermissionError,
    BackupStorageError,
    BackupWriteError,
    DiskReadError,
)
from app.storage.local import LocalTree
from tests.fix_local_tree import (
    FILE,
    NAME,
    NEW,
    OLD,
    RUN,
    assert_manifests_are_true,
    in_process,
    manifest_for,
    save,
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
    stored = tree.look(FILE)
    assert stored is not None
    assert stored.manifest is None, "one manifest that cannot be read hides no backup"
    assert "Input/output error" in str(stored.problem)
