"""Removes what was kept for rolling restores back, once its time is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from app.domain.backup import Backup
from app.domain.events import RestoreEvent
from app.domain.restore import Method, Restore, RestoreState
from app.errors import ResidencyBackupError
from app.operations.backups.inventory import inventory
from app.operations.backups.no_return import release_for_good
from app.operations.backups.pins import release
from app.operations.backups.servers import surely_of_this_server
from app.operations.service import Service, target_for
from app.ports.events import Event, failure

_ENDED = (RestoreState.COMPLETE, RestoreState.ROLLED_BACK)


def due(service: Service) -> list[Restore]:
    """Restores whose undo has expired."""
    now = service.clock()
    ended = service.restores.restores(service.database)
    return surely_of_this_server(service.source, [record for record in ended if _is_over(record, now)])


def _is_over(record: Restore, now: datetime) -> bool:
    return record.state in _ENDED and record.undo_until is not None and record.undo_until <= now


def expire(service: Service, backups: Sequence[Backup] | None = None) -> list[str]:
    """Remove databases, scripts and pins whose time is over; says what was removed.

    Args:
        service: the parts.
        backups: all; None to list them.

    Raises:
        RestoreError, BackupError: the first failure, after everything else was removed; the next run tries again.
    """
    done, failures = [], []
    backups = inventory(service) if backups is None else backups
    for record in due(service):
        try:
            done += _expire_one(service, record, backups)
        except ResidencyBackupError as error:
            service.events.emit(failure(RestoreEvent.UNDO_NOT_REMOVED, error, restore=record.id))
            failures.append(error)
    done += release_for_good(service, backups)
    if failures:
        raise failures[0]
    return done


def expire_quietly(service: Service, backups: Sequence[Backup] | None = None) -> list[str]:
    """The same as part of other work: a failure is a warning."""
    try:
        return expire(service, backups)
    except ResidencyBackupError as error:
        service.events.emit(failure(RestoreEvent.UNDOS_NOT_REMOVED, error))
        return []


def _expire_one(service: Service, listed: Restore, backups: Sequence[Backup]) -> list[str]:
    record = _claimed(service, listed)
    if record is None:
        return []
    done = []
    kept = record.undo if record.state is RestoreState.COMPLETE else record.shadow
    if record.method is Method.SHADOW and kept:
        target = target_for(service, record)
        if kept in target.databases():
            slots = target.replication(kept).slots
            target.drop(kept)
            done.append(f"database of restore {record.id} dropped: {kept}")
            done += [f"with {kept} went its logical replication slot {slot}" for slot in slots]
    service.tree.scripts.remove(record.id)
    done += [f"pin of restore {record.id} released: {name}" for name in release(service, record, backups)]
    changed = replace(record, undo=None, shadow=None, undo_until=None)
    if service.restores.replace_restore(changed, record):
        done.append(f"restore {record.id} can no longer be rolled back")
        service.events.emit(Event(RestoreEvent.UNDO_REMOVED, restore=record.id, figures={"database": kept}))
    return done


def _claimed(service: Service, listed: Restore) -> Restore | None:
    """The restore's record as it is now, claimed so that no rollback begins meanwhile; None if its undo must stay."""
    now = service.clock()
    record = service.restores.restore(listed.id)
    if record is None or not _is_over(record, now):
        return None
    claimed = replace(record, heartbeat_at=now)
    return claimed if service.restores.replace_restore(claimed, record) else None
