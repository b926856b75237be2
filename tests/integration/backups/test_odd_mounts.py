"""File systems that lack what others have: a size (some network mounts), hard links (SMB, exFAT, FUSE).

Seen in public trackers: rclone/rclone#2356, awslabs/mountpoint-s3#1118.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from app.postgres.programs import run
from app.storage import sidecar
from tests.fix_service import Site
from tests.tiers import THOROUGH

pytestmark = THOROUGH  # few have what it takes

BACK_UP = """
import os, pathlib, subprocess, sys
folder = pathlib.Path(os.environ["BACKUP_DIR"])
folder.mkdir()
mount = ["mount", "-t", "tmpfs", "-o", "size=0,mode=0700", "none", str(folder)]
if subprocess.run(mount, capture_output=True).returncode:
    sys.exit(99)
from app.cli import run
from tests.tiers import THOROUGH
sys.exit(run(["create", "manual"]))
"""


def test_a_mount_that_does_not_tell_its_size_takes_backups(site: Site) -> None:
    prefix = ["unshare", "--user", "--map-root-user", "--mount"]
    if run([*prefix, "true"]).code:
        pytest.skip("no right to mount anything here")
    done = run([*prefix, sys.executable, "-c", BACK_UP], site.process_env(), timeout=100)
    if done.code == 99:
        pytest.skip("no right to mount anything here")
    assert done.code == 0, done.stderr


def test_without_hard_links_a_newer_manifest_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    final, aside = tmp_path / "backup.sql.json", tmp_path / ".aside"
    final.write_bytes(b"newer")
    assert not sidecar.take_away(final, aside, b"older")
    assert final.read_bytes() == b"newer"
    assert not aside.exists()
