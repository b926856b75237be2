"""Explains a missing database: a restore is replacing it, or a restore would bring it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from shlex import quote

from app.domain.checks import Finding
from app.domain.events import BackupEvent, RestoreEvent
from app.domain.restore import Restore, RestoreState, Step
from app.errors import CatalogError, DatabaseMissingError, ResidencyBackupError, ServerUnavailableError
from app.operations.backups.inventory import inventory, newest_verified
from app.operations.service import Service
from app.ports.events import failure

_RENAMING = {Step.SWAPPING, Step.ROLLING_BACK}


@contextmanager
def naming_restores(service: Service) -> Iterator[None]:
    """A block that needs the database; if a restore has replaced it meanwhile, the error names that restore.

    Raises:
        ServerUnavailableError: one did; trying again helps.
        DatabaseMissingError: none did; the hint says how the database is made anew, if there is a backup of it.
    """
    begun = service.clock()
    try:
        yield
    except (DatabaseMissingError, ServerUnavailableError) as error:
        found = _restore(service, begun)
        if found is None:
            if isinstance(error, DatabaseMissingError):
                raise _made_anew(service, error) from error
            raise
        message = f"{error.message}; restore {found.id} puts another database in its place"
        hint = "when it has ended, make the backup again; this shows it: residency-backup restores"
        if found.state is not RestoreState.RUNNING:
            message, hint = f"{error.message}; restore {found.id} has replaced it meanwhile", "make the backup again"
        raise ServerUnavailableError(message, hint) from error


def naming_backups(service: Service, finding: Finding) -> Finding:
    """Add to the finding of a missing database how a restore brings it back; any other finding stays as it is."""
    if not isinstance(finding.error, DatabaseMissingError):
        return finding
    return replace(finding, error=_made_anew(service, finding.error))


def _made_anew(service: Service, error: DatabaseMissingError) -> DatabaseMissingError:
    """The error with a hint how to restore the database; the error as it is if there is no backup of it."""
    try:
        restorable = newest_verified(service, inventory(service)) is not None
    except ResidencyBackupError as other:  # the missing database is reported, not this error
        service.events.emit(failure(BackupEvent.LIST_UNREADABLE, other))
        return error
    if not restorable:
        return error
    name = quote(service.database)
    anew = f"residency-backup restore latest --mode replace --confirm {name}"
    return DatabaseMissingError(error.message, f"{error.hint}; if it was lost, make it anew: {anew}")


def _restore(service: Service, since: datetime) -> Restore | None:
    """The restore that renames the live database, or has done so since an instant."""
    try:
        records = service.restores.restores(service.database)
    except CatalogError as error:
        service.events.emit(failure(RestoreEvent.RECORDS_UNREADABLE, error))
        return None
    live = (record for record in records if record.into is None)
    return next((record for record in live if _renames(record, since)), None)


def _renames(record: Restore, since: datetime) -> bool:
    if record.state is RestoreState.RUNNING:
        return record.step in _RENAMING
    return record.undo is not None and record.finished_at is not None and record.finished_at >= since
