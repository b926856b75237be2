"""Wherever a step on the local disk stops, by a crash or an error, no manifest promises what is not there."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.domain.backup import Tier
from app.errors import (
    BackupError,
    BackupWriteError,
)
from app.storage.local import LocalTree
from tests.fix_local_tree import FILE, NAME, NEW, OLD, RUN, assert_manifests_are_true, manifest_for, save

STEPS = ("replace", "unlink", "fsync", "rename")


class Crash(BaseException):
    """The process dies here: nothing that runs after it may change the disk."""


def test_temporary_names_are_hidden_and_carry_the_run(tree: LocalTree, monkeypatch: pytest.MonkeyPatch) -> None:
    with tree.create(Tier.DAILY, NAME, RUN) as draft, dying_at(monkeypatch, "unlink", "replace", at=1):
        with pytest.raises(Crash):
            draft.publish(FILE, b"{}")
        names = sorted(path.name for path in (tree.root / "daily").iterdir())
    assert names == [f".{NAME}.{RUN}.partial", f".{NAME}.sql.json.{RUN}.partial"]
    assert [run for _, run in tree.leftovers()] == []


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
            bare = [stored.file for stored in tree.files() if stored.stamp is None]
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
            assert tree.read_manifest(stored.file) == manifest_for(NEW) or told[-1]
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
        assert tree.read_manifest(stored.file) == manifest_for(OLD)
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
