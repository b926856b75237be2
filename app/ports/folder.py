"""The port to the root of the tree: whether it is the one that is meant, and which server's backups it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from app.domain.servers import Lineage


class Folder(Protocol):
    """What the tree's root is known by: a marker in it, and what is remembered of that elsewhere.

    Every method may raise what `Tree` raises.
    """

    def require_here(self) -> None:
        """Make sure that what stood in the folder still does, as far as anybody remembers. Writes nothing there.

        Raises:
            BackupFolderLostError: it does not.
        """

    def held(self) -> Folder:
        """The folder as it is now, for a run: `require_here`, `require_same` and `change` refuse any other.

        Raises:
            BackupFolderLostError: it is not the one that was there before.
            BackupReadError: its marker cannot be read.
        """

    def require_same(self) -> None:
        """Raise BackupFolderLostError where the folder is not the one that was held."""

    def require_readable(self) -> None:
        """Raise BackupReadError where there is a marker that cannot be read."""

    def clear_up(self) -> list[str]:
        """Remove what a crash left of a marker; says what."""

    def is_marked(self) -> bool:
        """Whether the marker is there."""

    def lineage(self, database: str) -> Lineage | None:
        """What the marker says of a database's servers; None where it says nothing."""

    def change(self, database: str, change: Callable[[Lineage | None], Lineage | None]) -> None:
        """Change what the marker says of a database, and make the marker where it is missing; one at a time.

        Args:
            database: its name.
            change: gets what the marker says, gives what it is to say; None leaves it. What it raises changes nothing.
        """

    def renew(self) -> None:
        """Take the folder as it is for the one that is meant, whatever is remembered."""
