"""The port to the inverse scripts of merges, which undo them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol


class Scripts(Protocol):
    """Plain SQL scripts that undo merges, each under its restore's id. Raises what `Tree` raises."""

    def create(self, restore_id: str) -> AbstractContextManager[Script]:
        """A new script; gone when the block ends in an error, unless it was kept before that."""

    def open(self, restore_id: str) -> BinaryIO:
        """Open a script for reading. Raises BackupNotFoundError where it is missing."""

    def ids(self) -> Sequence[str]:
        """The restores that have one."""

    def path(self, restore_id: str) -> Path:
        """Where a script stands, or would."""

    def remove(self, restore_id: str) -> None:
        """Remove a script. Missing is no error."""


class Script(Protocol):
    """A script in the making."""

    stream: BinaryIO

    def keep(self) -> None:
        """Put it on the disk itself: from here on a crash leaves it whole."""
