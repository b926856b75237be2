"""The port to the record of restores."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from app.domain.restore import Restore


class Restores(Protocol):
    """The record of restores. Times are aware. Each method is one transaction, and may raise CatalogError."""

    def begin_restore(self, restore: Restore) -> None:
        """Record a restore that this process begins. At most one is under way for a live database.

        Raises:
            RestoreRunningError: another restore of the database is under way, or its process died and it was not
                recovered yet (the message names it, and `check --repair`); or the key of the request is known already,
                because a message was delivered twice.
        """

    def beat_restore(self, restore: Restore, now: datetime) -> bool:
        """Record a sign of life. False if the restore does not belong to this process any more."""

    def save_restore(self, restore: Restore) -> None:
        """Record the progress of a restore of this process, or how it ended. Later signs of life stay.

        Raises:
            RestoreError: it does not belong to this process any more: another one took it for dead and recovered it.
        """

    def replace_restore(self, restore: Restore, was: Restore) -> bool:
        """Record the outcome of a restore of any process. False if the record does not equal `was` any more.

        If the new state is RUNNING, because a rollback begins, the restore belongs to this process from then on.

        Raises:
            RestoreRunningError: the new state is RUNNING, and another restore of the database is under way.
        """

    def restore(self, restore_id: str) -> Restore | None:
        """The restore with an id; None if there is none."""

    def restores(self, database: str) -> Sequence[Restore]:
        """All restores of a live database, newest first."""

    def stands_in(self, name: str, restore_id: str) -> bool:
        """Whether this record, with a restore of this id, is stored in a database of that name on the live server."""

    def dead_restores(self, database: str, now: datetime) -> Sequence[Restore]:
        """Restores under way whose processes are dead. Only `check --repair` or a rollback ends them."""
