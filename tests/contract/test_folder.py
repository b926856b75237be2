"""What every root of a tree must do, whatever it is kept on. A new adapter is one more line in ROOTS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from app.domain.servers import Identity, Known, Lineage
from app.errors import BackupFolderLostError, BackupReadError
from app.ports.folder import Folder
from app.storage.folder import MARKER, LocalFolder
from app.storage.memory import FolderMemory
from tests.fakes.folder import Disk, MemoryFile, MemoryFolder, Mount

ONE = Lineage(known=(Known(identity=Identity("7", 5), since=datetime(2025, 1, 15, tzinfo=UTC), how="first run"),))
FILE = "daily/backup-2025-01-15.sql"


class Root:
    """A folder, and what may happen to it."""

    folder: Folder

    def put_backup(self) -> None:
        """A backup stands there."""

    def replace(self) -> None:
        """An empty one takes its place."""

    def lose_marker(self) -> None:
        """Its marker goes, and nothing else."""

    def spoil_marker(self) -> None:
        """Its marker cannot be read any more."""


class LocalRoot(Root):
    def __init__(self, path: Path) -> None:
        self.path = path / "backups"
        self.folder = LocalFolder(self.path, FolderMemory(path / "state"), "residency")

    def put_backup(self) -> None:
        (self.path / "daily").mkdir(parents=True)
        (self.path / FILE).touch()

    def replace(self) -> None:
        if self.path.exists():
            self.path.rename(self.path.with_name("aside"))
        self.path.mkdir()

    def lose_marker(self) -> None:
        (self.path / MARKER).unlink()

    def spoil_marker(self) -> None:
        (self.path / MARKER).write_text("{")


@dataclass
class MemoryRoot(Root):
    mount: Mount = field(default_factory=Mount)

    def __post_init__(self) -> None:
        self.folder = MemoryFolder(Path("/in-memory"), self.mount)

    def put_backup(self) -> None:
        self.mount.disk.files[FILE] = MemoryFile(b"")

    def replace(self) -> None:
        self.mount.disk = Disk()

    def lose_marker(self) -> None:
        self.mount.disk.marker = None
        self.mount.disk.lineages.clear()

    def spoil_marker(self) -> None:
        self.mount.unreadable = True


ROOTS: dict[str, Callable[[Path], Root]] = {"local": LocalRoot, "memory": lambda _: MemoryRoot()}


@pytest.fixture(params=ROOTS)
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Root:
    return ROOTS[request.param](tmp_path)


def note(folder: Folder, lineage: Lineage | None = ONE, database: str = "residency") -> None:
    folder.change(database, lambda _: lineage)


def test_a_folder_that_nobody_has_used_is_taken_as_it_is(root: Root) -> None:
    root.folder.require_here()
    root.folder.require_readable()
    assert not root.folder.is_marked()
    assert root.folder.lineage("residency") is None
    assert root.folder.clear_up() == []


def test_a_change_makes_the_marker_and_is_read_back(root: Root) -> None:
    note(root.folder)
    assert root.folder.is_marked()
    assert root.folder.lineage("residency") == ONE
    assert root.folder.lineage("another") is None


def test_each_database_has_a_lineage_of_its_own(root: Root) -> None:
    note(root.folder)
    note(root.folder, Lineage(), "another")
    assert (root.folder.lineage("residency"), root.folder.lineage("another")) == (ONE, Lineage())


def test_a_change_is_given_what_stands_there_and_may_leave_it(root: Root) -> None:
    note(root.folder)
    given: list[Lineage | None] = []
    root.folder.change("residency", given.append)
    assert given == [ONE]
    assert root.folder.lineage("residency") == ONE


def test_a_change_that_raises_changes_nothing(root: Root) -> None:
    def refuse(_: Lineage | None) -> Lineage | None:
        raise ValueError

    note(root.folder)
    with pytest.raises(ValueError, match=r"^$"):
        root.folder.change("residency", refuse)
    assert root.folder.lineage("residency") == ONE


def test_an_empty_folder_in_the_place_of_one_that_is_remembered_is_refused_and_not_marked(root: Root) -> None:
    note(root.folder)
    root.replace()
    for ask in (root.folder.require_here, root.folder.held, lambda: note(root.folder)):
        with pytest.raises(BackupFolderLostError):
            ask()
    assert not root.folder.is_marked()


def test_an_empty_folder_is_the_one_that_is_meant_once_somebody_says_so(root: Root) -> None:
    note(root.folder)
    root.replace()
    root.folder.renew()
    root.folder.require_here()
    assert root.folder.is_marked()
    assert root.folder.lineage("residency") is None


def test_a_marker_that_is_lost_is_made_again_where_the_backups_are(root: Root) -> None:
    root.put_backup()
    note(root.folder)
    root.lose_marker()
    root.folder.require_here()
    note(root.folder)
    assert root.folder.lineage("residency") == ONE


def test_a_run_is_bound_to_the_folder_in_which_it_began(root: Root) -> None:
    note(root.folder)
    held = root.folder.held()
    held.require_same()
    root.replace()
    for ask in (held.require_same, lambda: note(held)):
        with pytest.raises(BackupFolderLostError):
            ask()
    root.folder.require_same()  # which is bound to none


def test_a_run_that_marks_its_folder_is_bound_to_that_marker(root: Root) -> None:
    root.put_backup()
    held = root.folder.held()
    note(held)
    held.require_same()
    root.lose_marker()
    with pytest.raises(BackupFolderLostError):
        held.require_same()


def test_a_marker_that_cannot_be_read_keeps_nobody_from_looking_and_everybody_from_writing(root: Root) -> None:
    note(root.folder)
    root.spoil_marker()
    root.folder.require_here()
    assert root.folder.is_marked()
    assert root.folder.lineage("residency") is None
    for ask in (root.folder.require_readable, root.folder.held, lambda: note(root.folder)):
        with pytest.raises(BackupReadError):
            ask()
