"""The trees that the contract of trees is tried on, and how a backup gets into one. A new adapter is one more line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.domain.backup import Tier
from app.ports.tree import Tree
from app.storage.local import LocalTree
from app.storage.scripts import LocalScripts
from tests.fakes.tree import MemoryTree

TREES: dict[str, Callable[[Path], Tree]] = {
    "local": lambda folder: LocalTree(folder / "backups"),
    "memory": lambda folder: MemoryTree(LocalScripts(folder / "memory")),
}
RUN = "0123456789ab"
NAME = "backup-2025-01-15"
FILE = f"daily/{NAME}.sql"


def save(tree: Tree, file: str, content: bytes, manifest: bytes = b"{}") -> None:
    """Publish a backup."""
    tier, _, name = file.partition("/")
    with tree.create(Tier(tier), name, RUN) as draft:
        draft.stream.write(content)
        assert draft.publish(file, manifest) is None
