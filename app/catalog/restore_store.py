"""The record of restores, in a database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from app.catalog import restores
from app.catalog.lazy import LazyEngine, Store
from app.domain.restore import Restore


class SqlRestores(Store):
    """The port `Restores`.

    Args:
        engine: of the catalog.
        is_in: called with a database's name and a restore's id; returns whether this catalog is in that database.
    """

    def __init__(self, engine: LazyEngine, is_in: Callable[[str, str], bool] = lambda _name, _restore: False) -> None:
        super().__init__(engine)
        self._is_in = is_in

    def begin_restore(self, restore: Restore) -> None:
        self._disbelieve(restore.started_at)
        with self._writing("the restore cannot be begun") as connection:
            restores.begin(connection, restore, self._engine.lease)

    def beat_restore(self, restore: Restore, now: datetime) -> bool:
        with self._writing("the sign of life cannot be recorded") as connection:
            return restores.beat(connection, restore, now)

    def save_restore(self, restore: Restore) -> None:
        with self._writing(f"the restore {restore.id} cannot be recorded") as connection:
            restores.save(connection, restore)

    def replace_restore(self, restore: Restore, was: Restore) -> bool:
        with self._writing(f"the restore {restore.id} cannot be recorded") as connection:
            return restores.replace_unchanged(connection, restore, was)

    def restore(self, restore_id: str) -> Restore | None:
        with self._reading("the restore cannot be read") as connection:
            return next(iter(restores.read(connection, restore_id=restore_id)), None)

    def restores(self, database: str) -> Sequence[Restore]:
        with self._reading("restores cannot be read") as connection:
            return restores.read(connection, database)

    def dead_restores(self, database: str, now: datetime) -> Sequence[Restore]:
        self._disbelieve(now)
        with self._reading("restores cannot be read") as connection:
            return restores.dead(connection, database, now.astimezone(UTC), self._engine.lease)

    def stands_in(self, name: str, restore_id: str) -> bool:
        return not self._engine.is_file and self._is_in(name, restore_id)
