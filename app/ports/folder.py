"""The port to the identity of the tree's root: whether it is the right folder, and which servers it has backups of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from app.domain.servers import Lineage


class Folder(Protocol):
    """How the tree's root is recognised: by a marker file in it, whose id is also remembered elsewhere.

    Each method may raise the errors of `Tree`.
    """

    def require_here(self) -> None:
        """Make sure that the folder is the remembered one. Writes nothing into it.

        Raises:
            BackupFolderLostError: it is another one, or its backups are gone.
        """

    def held(self) -> Folder:
        """The folder as it is now, for a run: `require_here`, `require_same` and `change` refuse any other one.

        Raises:
            BackupFolderLostError: it is not the remembered one.
            BackupReadError: its marker cannot be read.
        """

    def require_same(self) -> None:
        """Raise BackupFolderLostError if the folder is not the one that `held` saw."""

    def require_readable(self) -> None:
        """Raise BackupReadError if there is a marker that cannot be read."""

    def clear_up(self) -> list[str]:
        """Remove the temporary file of a marker that a crash left; return the names of removed files."""

    def is_marked(self) -> bool:
        """Whether there is a marker."""

    def lineage(self, database: str) -> Lineage | None:
        """The lineage of a database in the marker; None if there is none, or if the marker cannot be read."""

    def change(self, database: str, change: Callable[[Lineage | None], Lineage | None]) -> None:
        """Change the lineage of a database in the marker, under a lock. A missing marker is made.

        Args:
            database: its name.
            change: takes the old lineage and returns the new one, or None for no change. If it raises, nothing changes.
        """

    def renew(self) -> None:
        """Accept the folder as it is, whatever is remembered of it."""
