"""What a manifest describes is known without reading it, if its stamp says surely that it has not changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from app.archive.manifest import Manifest
from app.domain.backup import Tier
from app.operations.backups.descriptions import BEGINNING, Descriptions
from app.operations.backups.inventory import inventory
from app.operations.backups.same_name import TreeFile
from app.ports.runs import KnownManifest
from app.ports.tree import ManifestRead
from app.storage.local import LocalTree
from bench.commands import make_tree
from tests.fakes.tree import MemoryTree
from tests.fix_memory_site import MemorySite

FILE = "daily/backup-2025-01-15.sql.zst"
HOUR_NS = 3600_000000000


class CountingTree(LocalTree):
    """Counts the manifests that are read, on a disk whose clock says what it is told."""

    ahead_ns = HOUR_NS

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.read: list[str] = []

    def read_stamped(self, file: str, most: int | None = None) -> ManifestRead | None:
        self.read.append(file)
        return super().read_stamped(file, most)

    def clock(self, tier: Tier) -> int:
        return super().clock(tier) + self.ahead_ns


@pytest.fixture
def tree(tmp_path: Path) -> CountingTree:
    make_tree(tmp_path, count=2)
    return CountingTree(tmp_path)


def described(tree: CountingTree, known: dict[str, KnownManifest], *, recording: bool = True) -> dict[str, TreeFile]:
    """The files of the tree; `known` is what is known after this look, and `tree.read` what it read."""
    tree.read.clear()
    descriptions = Descriptions(tree, lambda _: None, known, recording=recording)  # type: ignore[arg-type]
    files = {file.stored.file: file for file in map(descriptions.of, tree.files())}
    known |= {name: file.known for name, file in files.items() if file.known is not None}
    return files


def test_a_manifest_is_read_once(tree: CountingTree) -> None:
    known: dict[str, KnownManifest] = {}
    first = described(tree, known)
    assert len(tree.read) == 2
    assert described(tree, known) == first
    assert tree.read == []


@pytest.mark.parametrize("ahead_ns", [0, -HOUR_NS], ids=["it was just written", "the clock was set back"])
def test_a_young_stamp_is_not_believed(tree: CountingTree, ahead_ns: int) -> None:
    known: dict[str, KnownManifest] = {}
    tree.ahead_ns = ahead_ns
    for _ in range(2):
        described(tree, known)
        assert len(tree.read) == 2
        assert {manifest.stamp for manifest in known.values()} == {None}
    tree.ahead_ns = HOUR_NS
    described(tree, known)
    described(tree, known)
    assert tree.read == []


def test_who_only_looks_asks_no_clock_and_keeps_no_stamp(tree: CountingTree) -> None:
    known: dict[str, KnownManifest] = {}
    described(tree, known, recording=False)
    assert {manifest.stamp for manifest in known.values()} == {None}
    assert list(tree.root.glob("**/.clock*")) == []


def in_place(path: Path, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.write(content)


def renamed_over(path: Path, content: bytes) -> None:
    path.with_name("new").write_bytes(content)
    path.with_name("new").rename(path)


@pytest.mark.parametrize("how", [in_place, renamed_over])
def test_a_changed_manifest_is_read_whatever_its_size_and_modification_time(tree: CountingTree, how: object) -> None:
    known: dict[str, KnownManifest] = {}
    described(tree, known)
    path = tree.root / f"{FILE}.json"
    before, manifest = path.stat(), Manifest.model_validate_json(path.read_bytes())
    changed = manifest.model_copy(update={"database": manifest.database[::-1]}).to_json().encode()
    time.sleep(0.02)  # the clock of most file systems ticks every 4 to 10 ms: a tick is what the margin is for
    how(path, changed)  # type: ignore[operator]
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    found = described(tree, known)[FILE]
    assert tree.read == [FILE]
    assert found.described is not None
    assert found.described.database == manifest.database[::-1]


def test_a_tree_that_was_copied_with_its_times_is_read_and_not_parsed(
    tree: CountingTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known: dict[str, KnownManifest] = {}
    first = described(tree, known)
    for path in tmp_path.glob("*/*.json"):
        state, content = path.stat(), path.read_bytes()
        renamed_over(path, content)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    monkeypatch.setattr("app.archive.manifest.parse_facts", None)
    again = described(tree, known)
    assert [file.described for file in again.values()] == [file.described for file in first.values()]
    assert len(tree.read) == 2
    assert not any(manifest.recorded for manifest in known.values())
    described(tree, known)
    assert tree.read == []


def test_of_a_long_manifest_only_the_facts_are_read(memory_site: MemorySite, monkeypatch: pytest.MonkeyPatch) -> None:
    memory_site.take()
    (file,) = memory_site.tree.files()
    manifest = memory_site.manifest()
    long = manifest.model_copy(update={"segments": manifest.segments * 2000}).to_json().encode()
    assert len(long) > 2 * BEGINNING
    memory_site.tree.write_manifest(file.file, long)
    asked: list[int | None] = []
    read_stamped = MemoryTree.read_stamped

    def reading(tree: MemoryTree, name: str, most: int | None = None) -> ManifestRead | None:
        asked.append(most)
        return read_stamped(tree, name, most)

    monkeypatch.setattr(MemoryTree, "read_stamped", reading)
    monkeypatch.setattr("app.archive.manifest.parse_manifest", None)
    (backup,) = inventory(memory_site.service)
    assert (asked, backup.rows, backup.is_verified) == ([BEGINNING], 4, True)
