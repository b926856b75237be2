"""Folders and files that a user may not read or write are named with the way out; root may, so another user tries."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from app.storage.local import LocalTree
from tests.fix_local_tree import FILE, OLD, in_process, save


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
