"""A tree on the local disk, a way to save a backup in it, and processes that do something with it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from app.domain.backup import Tier
from app.storage.local import LocalTree

RUN = "0123456789ab"
NAME = "backup-2025-01-15"
FILE = f"daily/{NAME}.sql"
OLD, NEW = b"the old content", b"the new and longer content"
HERE = Path(__file__).parents[1]


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
        assert tree.read_manifest(stored.file) in {None, manifest_for(contents[stored.file])}
    return contents


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
