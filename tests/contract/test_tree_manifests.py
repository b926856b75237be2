"""What every tree of backups must do with manifests."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.domain.backup import Tier
from app.errors import BackupWriteError
from app.ports.tree import Tree
from tests.fix_trees import FILE, TREES, save


@pytest.fixture(params=TREES)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Tree:
    made = TREES[request.param](tmp_path)
    made.probe(Tier.DAILY)
    return made


def test_a_manifest_that_is_written_again_has_another_stamp_and_is_read_with_it(tree: Tree) -> None:
    save(tree, FILE, b"x", b"first")
    stamps = set()
    for content in (b"second", b"wieder", b"wieder"):
        tree.write_manifest(FILE, content)
        (listed,) = tree.files()
        stored, read, beginning = tree.look(FILE), tree.read_stamped(FILE), tree.read_stamped(FILE, 2)
        assert stored is not None
        assert (stored.manifest, stored.stamp, read) == (content, listed.stamp, (content, listed.stamp))
        assert beginning == (content[:2], listed.stamp)
        stamps.add(listed.stamp)
        time.sleep(0.02)  # longer than a tick
    assert len(stamps) == 3
    assert tree.read_stamped("daily/backup-2025-01-16.sql") is None
    tree.remove(FILE)
    assert tree.read_stamped(FILE) is None


def test_the_clock_is_not_behind_what_was_written_and_leaves_nothing(tree: Tree) -> None:
    save(tree, FILE, b"x", b"first")
    (listed,) = tree.files()
    assert listed.stamp is not None
    assert tree.clock(Tier.DAILY) >= listed.stamp.mtime_ns
    assert list(tree.leftovers()) == []


def test_a_manifest_is_not_put_beside_a_file_that_was_given_another_meanwhile(tree: Tree) -> None:
    save(tree, FILE, b"x")
    stored = tree.look(FILE)
    tree.write_manifest(FILE, b"theirs")
    with pytest.raises(BackupWriteError, match="changed meanwhile"):
        tree.write_manifest(FILE, b"mine", stored)
    assert tree.read_manifest(FILE) == b"theirs"


def test_a_manifest_is_replaced_whole(tree: Tree) -> None:
    save(tree, FILE, b"x", b"a long first manifest")
    tree.write_manifest(FILE, b"short")
    assert tree.read_manifest(FILE) == b"short"
    assert list(tree.leftovers()) == []


def test_an_archive_without_a_manifest_has_none(tree: Tree) -> None:
    assert tree.read_manifest(FILE) is None
