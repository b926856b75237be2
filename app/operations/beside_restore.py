"""Says of a database that went away that a restore is putting another in its place, if one is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import structlog

from app.domain.restore import Restore, RestoreState, Step
from app.errors import CatalogError, DatabaseMissingError, ServerUnavailableError
from app.operations.service import Service

log = structlog.get_logger(__name__)
_RENAMING = {Step.SWAPPING, Step.ROLLING_BACK}


@contextmanager
def naming_restores(service: Service) -> Iterator[None]:
    """Name the restore that took the database away from what is done in a block.

    Raises:
        ServerUnavailableError: one did; trying again helps.
    """
    begun = service.clock()
    try:
        yield
    except (DatabaseMissingError, ServerUnavailableError) as error:
        found = _restore(service, begun)
        if found is None:
            raise
        said = f"{error.message}; restore {found.id} puts another database in its place"
        hint = "when it has ended, make the backup again; this shows it: residency-backup restores"
        if found.state is not RestoreState.RUNNING:
            said, hint = f"{error.message}; restore {found.id} has replaced it meanwhile", "make the backup again"
        raise ServerUnavailableError(said, hint) from error


def _restore(service: Service, since: datetime) -> Restore | None:
    """The restore that renames the live database, or has done so since an instant."""
    try:
        records = service.restores.restores(service.database)
    except CatalogError as error:
        log.warning("restores not readable", error=type(error).__name__, reason=error.message)
        return None
    live = (each for each in records if each.into is None)
    return next((each for each in live if _renames(each, since)), None)


def _renames(record: Restore, since: datetime) -> bool:
    if record.state is RestoreState.RUNNING:
        return record.step in _RENAMING
    return record.undo is not None and record.finished_at is not None and record.finished_at >= since
