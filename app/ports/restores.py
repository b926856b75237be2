"""The port to the record of restores."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from app.domain.restore import Restore


class Restores(Protocol):
    """The record of restores. All times are aware; every method is one transaction, and may raise CatalogError."""

    def begin_restore(self, restore: Restore) -> None:
        """Record a restore that this process begins; at most one is under way for a live database.

        Raises:
            RestoreRunningError: a restore of the database is under way, or its process died and `check --repair` has
                not recovered it yet; or the request's key is known: a message was delivered twice.
        """

    def beat_restore(self, restore: Restore, now: datetime) -> bool:
        """Give a sign of life. False if the restore is no longer this process's."""

    def save_restore(self, restore: Restore) -> None:
        """Record where a restore of this process stands, or how it ended.

        A sign of life given since is not taken back.

        Raises:
            RestoreError: it is no longer this process's: it was taken for dead and recovered by another.
        """

    def replace_restore(self, restore: Restore, was: Restore) -> bool:
        """Record what became of a restore, whoever held it. False if it no longer stands as `was`.

        A record that is RUNNING, because a rollback begins, is this process's from then on.

        Raises:
            RestoreRunningError: it is to run, and another restore of the database is under way.
        """

    def restore(self, restore_id: str) -> Restore | None:
        """The restore of an id; None if there is none."""

    def restores(self, database: str) -> Sequence[Restore]:
        """All restores of a live database, newest first."""

    def stands_in(self, name: str, restore_id: str) -> bool:
        """Whether this record, which knows a restore of that id, stands in the live server's database of a name."""

    def dead_restores(self, database: str, now: datetime) -> Sequence[Restore]:
        """Those under way whose holders are dead: nobody ends them but `check --repair` or a rollback."""
