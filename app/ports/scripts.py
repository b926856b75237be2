"""The port to the inverse scripts of merges, which undo them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol


class Scripts(Protocol):
    """Plain SQL scripts that undo merges, each under its restore's id. Methods may raise the errors of `Tree`."""

    def create(self, restore_id: str) -> AbstractContextManager[Script]:
        """A new script. It is removed if the block raises before `Script.keep` was called."""

    def open(self, restore_id: str) -> BinaryIO:
        """Open a script for reading. Raises BackupNotFoundError if it is missing."""

    def ids(self) -> Sequence[str]:
        """The ids of restores that have a script."""

    def path(self, restore_id: str) -> Path:
        """The path of a script, which need not exist."""

    def remove(self, restore_id: str) -> None:
        """Remove a script. A missing one is no error."""


class Script(Protocol):
    """A script that is being written."""

    stream: BinaryIO

    def keep(self) -> None:
        """Sync the script to the disk, because the merge is about to be committed. It is not removed any more."""
