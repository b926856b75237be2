"""The record of restores: the port `Restores`, kept in a database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from app.catalog import restores
from app.catalog.lazy import LazyEngine, Store
from app.domain.restore import Restore


class SqlRestores(Store):
    """The record of restores; see the port for what each method promises.

    Args:
        engine: of the catalog.
        is_in: called with the name of a database and the id of a restore; whether this catalog is in that database.
    """

    def __init__(self, engine: LazyEngine, is_in: Callable[[str, str], bool] = lambda _name, _restore: False) -> None:
        super().__init__(engine)
        self._is_in = is_in

    def begin_restore(self, restore: Restore) -> None:
        """Record a restore that this process begins.

        Raises:
            RestoreRunningError: another is under way or not recovered, or the request is known already.
        """
        self._disbelieve(restore.started_at)
        with self._writing("the restore cannot be begun") as connection:
            restores.begin(connection, restore, self._engine.lease)

    def beat_restore(self, restore: Restore, now: datetime) -> bool:
        """Give a sign of life; False if the restore is no longer this process's."""
        with self._writing("the sign of life cannot be recorded") as connection:
            return restores.beat(connection, restore, now)

    def save_restore(self, restore: Restore) -> None:
        """Record the state of a restore that this process holds.

        Raises:
            RestoreError: it is no longer this process's.
        """
        with self._writing(f"the restore {restore.id} cannot be recorded") as connection:
            restores.save(connection, restore)

    def replace_restore(self, restore: Restore, was: Restore) -> bool:
        """Record how a restore ended, whoever held it; False if its record has changed since `was` was read."""
        with self._writing(f"the restore {restore.id} cannot be recorded") as connection:
            return restores.replace_unchanged(connection, restore, was)

    def restore(self, restore_id: str) -> Restore | None:
        """The restore of an id; None if there is none."""
        with self._reading("the restore cannot be read") as connection:
            return next(iter(restores.read(connection, restore_id=restore_id)), None)

    def restores(self, database: str) -> Sequence[Restore]:
        """All restores of a live database, newest first."""
        with self._reading("restores cannot be read") as connection:
            return restores.read(connection, database)

    def dead_restores(self, database: str, now: datetime) -> Sequence[Restore]:
        """Restores under way whose processes are dead."""
        self._disbelieve(now)
        with self._reading("restores cannot be read") as connection:
            return restores.dead(connection, database, now.astimezone(UTC), self._engine.lease)

    def stands_in(self, name: str, restore_id: str) -> bool:
        """Whether the catalog, which has a restore of that id, is in the database of that name on the live server."""
        return not self._engine.is_file and self._is_in(name, restore_id)
