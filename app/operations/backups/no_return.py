"""Restores that cannot be undone any more: why, and what becomes of their safety backups."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from app.domain.backup import Backup, Tier
from app.domain.checks import Finding
from app.domain.events import RestoreEvent
from app.domain.restore import Method, Restore, RestoreState, never_undone, newer_restores
from app.errors import ResidencyBackupError
from app.operations.backups.inventory import MISSING
from app.operations.backups.pins import pinned_for, release
from app.operations.backups.servers import of_this_server, require_folder, surely_of_this_server
from app.operations.service import Service
from app.ports.events import Event, failure

_MEGABYTE = 1_000_000
_Databases = Callable[[str | None], Mapping[str, int] | None]  # by the name of another database than the live one


def release_for_good(service: Service, backups: Sequence[Backup]) -> list[str]:
    """Release the safety backups of restores that nothing can undo any more; says which. Retention decides on them."""
    pinned = {restore_id for restore_id, backup in pinned_for(backups) if backup.tier is Tier.SAFETY}
    if not pinned:
        return []
    now, records = service.clock(), surely_of_this_server(service.source, service.restores.restores(service.database))
    open_ = [record for record in records if record.id in pinned and _may_be_undone(record, now)]
    done, ask = [], _asking_once(service)
    for record in open_:
        if why := _why_never(service, record, records, backups, ask):
            names = release(service, record, backups)
            figures = {"released": names}
            service.events.emit(Event(RestoreEvent.SAFETY_RELEASED, restore=record.id, figures=figures, reason=why))
            done += [f"{name} released: restore {record.id} cannot be undone any more: {why}" for name in names]
    return done


def lost_undos(service: Service, records: Sequence[Restore], backups: Sequence[Backup]) -> dict[str, str]:
    """Why complete restores cannot be undone any more, by their ids.

    Those that can be are left out, and so are those of which nobody can tell: the server is away or another one, or the
    folder is.

    Args:
        service: the parts.
        records: all restores of the database, newest first.
        backups: all that there are.
    """
    now, ask = service.clock(), _asking_once(service)
    here = _to_be_seen(service, records, now)
    standing = {backup.id for backup in backups if backup.problem != MISSING}
    lost: dict[str, str] = {}
    for record in records:
        if record.state is not RestoreState.COMPLETE:
            continue
        why = _why_over(record, now)
        if why is None and record in here:
            newer = next((newer for newer in newer_restores(record, here) if newer.id in lost), None)
            why = _came_after(newer) if newer else _why_never(service, record, here, backups, ask)
        if why is not None:
            before = f"; what was there before it is in {record.safety}" if record.safety in standing else ""
            lost[record.id] = why + before
    return lost


def safety_findings(service: Service, records: Sequence[Restore], backups: Sequence[Backup]) -> list[Finding]:
    """What safety backups hold: how many, how much, for which restores, and until when the pinned ones are kept."""
    own = [backup for backup in backups if backup.tier is Tier.SAFETY and backup.database == service.database]
    if not own:
        return []
    size = sum(backup.bytes for backup in own) / _MEGABYTE
    labels = ", ".join(sorted({backup.label or "of no known restore" for backup in own}))
    pins = ", ".join(_pins(own, {record.pin: record for record in records}, service.clock()))
    pinned = f"pinned: {pins}" if pins else "none is pinned"
    return [Finding.ok("safety backups", f"{len(own)} of {size:,.1f} MB, {labels}; {pinned}")]


def _pins(backups: Sequence[Backup], records: Mapping[str, Restore], now: datetime) -> Iterator[str]:
    for backup in backups:
        if backup.pinned_reason is None:
            continue
        record = records.get(backup.pinned_reason)
        until = record.undo_until if record else None
        how_long = (
            f"until {until.astimezone(now.tzinfo):%Y-%m-%d %H:%M %Z}"
            if until
            else f"for {backup.pinned_reason or 'good'}"
        )
        yield f"{backup.id} {how_long}"


def _may_be_undone(record: Restore, now: datetime) -> bool:
    return record.state is RestoreState.COMPLETE and record.undo_until is not None and record.undo_until > now


def _to_be_seen(service: Service, records: Sequence[Restore], now: datetime) -> Sequence[Restore]:
    """The restores of which server and folder can tell what is kept; both are asked only if time is left for one."""
    if not any(_may_be_undone(record, now) for record in records):
        return []
    try:
        require_folder(service)
    except ResidencyBackupError:
        return []
    return of_this_server(service.source, records)


def _why_over(record: Restore, now: datetime) -> str | None:
    if record.undo_until is None:
        return "nothing that was before it is kept"
    if record.undo_until > now:
        return None
    return f"that was possible until {record.undo_until.astimezone(now.tzinfo):%Y-%m-%d %H:%M %Z}"


def _came_after(newer: Restore) -> str:
    return f"restore {newer.id} came after it, and cannot be undone"


def _why_never(
    service: Service, record: Restore, records: Sequence[Restore], backups: Sequence[Backup], ask: _Databases
) -> str | None:
    if after := never_undone(newer_restores(record, records), service.clock()):
        return _came_after(after)
    if record.method is Method.ROWS and record.id not in service.tree.scripts.ids():
        return "its script is gone"
    if record.method is Method.IN_PLACE:
        stands = any(backup.id == record.safety and backup.problem != MISSING for backup in backups)
        return None if stands else f"its safety backup {record.safety} is gone"
    databases = ask(record.into)
    if databases is None:
        return None
    if record.method is Method.SHADOW:
        return None if record.undo in databases else f"database {record.undo} is gone"
    anew = record.changed_oid is not None and databases.get(record.changes) not in {None, record.changed_oid}
    return f"database {record.changes} was made anew since" if anew and not newer_restores(record, records) else None


def _asking_once(service: Service) -> _Databases:
    """The server's databases, asked once however many restores are looked at; None if it is away."""

    @functools.cache
    def ask(into: str | None) -> Mapping[str, int] | None:
        target = service.target if into is None else service.target.named(into)
        try:
            return target.databases()
        except ResidencyBackupError as error:
            service.events.emit(failure(RestoreEvent.SERVER_AWAY, error))
            return None

    return ask
