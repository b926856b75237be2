"""What is special to a tree on a local disk: modes, names, links and what is no folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.domain.backup import Tier
from app.errors import (
    BackupNotFoundError,
    BackupStorageError,
    BackupWriteError,
)
from app.storage.local import LocalTree
from tests.fix_local_tree import FILE, NAME, NEW, OLD, RUN, in_process, mode_of, save

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
