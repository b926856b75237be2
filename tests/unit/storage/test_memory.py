"""What is remembered of a folder, by several processes at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import BackupFolderLostError
from app.storage import memory
from app.storage.folder import LocalFolder
from app.storage.memory import FolderMemory


def test_a_running_process_learns_that_another_has_taken_a_new_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, home = tmp_path / "disk/backups", tmp_path / "state"
    worker = LocalFolder(root, FolderMemory(home), "residency_scheduler")
    with monkeypatch.context() as patched:
        patched.setattr(memory, "mount_point", lambda _: str(root.parent))
        worker.renew()
    root.rename(tmp_path / "unmounted")
    root.mkdir()
    with pytest.raises(BackupFolderLostError, match="which is not mounted now"):
        worker.require_here()

    LocalFolder(root, FolderMemory(home), "residency_scheduler").renew()

    worker.require_here()
