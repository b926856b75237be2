"""Checks what restores left behind: after a crash, or after their time for a rollback."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.domain.backup import Backup
from app.domain.checks import Finding
from app.domain.hooks import Hook
from app.domain.restore import PREVIEW, Method, Restore, RestoreState, never_undone, newer_restores
from app.errors import ResidencyBackupError
from app.operations.backups.expire import due, expire
from app.operations.backups.inventory import inventory
from app.operations.backups.keep import set_pin
from app.operations.backups.no_return import lost_undos, safety_findings
from app.operations.backups.pins import pinned_for
from app.operations.backups.servers import of_this_server, surely_of_this_server
from app.operations.restore.hooks import is_due
from app.operations.restore.position import Obstacle, obstacle_to_rename, position
from app.operations.restore.recover import interrupted, recover_all
from app.operations.restore.replication import disabled_subscriptions, slots_of_undo
from app.operations.service import Service, target_for
from app.ports.target import Target
from app.ports.tree import Tree

_REPAIR = "to clean up: residency-backup check --repair"
_OURS = re.compile(r"_(?:restore|undo)_(?P<id>[0-9a-f]{12})")


@dataclass(frozen=True, slots=True)
class _Held:
    """What is kept for restores, by their ids. Read before the records, so that a restore that just began has one."""

    scripts: Sequence[str]
    pins: Sequence[tuple[str, Backup]]


def check_restores(service: Service, backups: Sequence[Backup]) -> list[Finding]:
    """Check all restores, and what the server and the tree hold for them."""
    held = _held(service.tree, backups)
    records = service.restores.restores(service.database)
    own = of_this_server(service.source, records)
    dead = {record.id: record for record in interrupted(service)}
    found = [Finding.warning("restores", f"{_left(service, record)}; {_REPAIR}") for record in dead.values()]
    found += [
        Finding.warning("restores", f"restore {record.id} can no longer be rolled back; {_REPAIR}")
        for record in due(service)
    ]
    found += [Finding.warning("restores", remark) for remark in _strays(service, held, records)]
    found += [
        Finding.warning("restores", f"{name} is left of a preview; {_REPAIR}")
        for name in _previews(service.target, service.database)
    ]
    databases = _databases(service.target)
    found += [
        Finding.warning("restores", remark)
        for remark in _strange_databases(service.database, records, set(databases or ()))
    ]
    if databases is not None:
        found += [
            *slots_of_undo(service, own),
            *disabled_subscriptions(service.target, service.database, own, databases),
        ]
    # A restore whose process died is reported above.
    standing = [record for record in own if _needed(service, record) and record.id not in dead]
    lost = lost_undos(service, records, backups) if standing and databases is not None else {}
    found += [
        _kept(record, databases, newer_restores(record, own), lost.get(record.id), service.clock())
        for record in standing
    ]
    found += [_elsewhere(service, record) for record in records if record not in own and _needed(service, record)]
    return (found or [Finding.ok("restores", "nothing is left of any")]) + safety_findings(service, records, backups)


def repair_restores(service: Service) -> list[str]:
    """Recover restores whose process died, and remove what is not needed any more; returns what was done, in words."""
    done = recover_all(service) + expire(service)
    done += [
        f"database {name} of a preview dropped"
        for name in _previews(service.target, service.database)
        if service.target.drop(name)
    ]
    held = _held(service.tree, inventory(service))
    ended = [record for record in service.restores.restores(service.database) if not _needed(service, record)]
    done_with = {record.id for record in surely_of_this_server(service.source, ended)}
    for restore_id in held.scripts:
        if restore_id in done_with:
            service.tree.scripts.remove(restore_id)
            done.append(f"script of restore {restore_id} removed")
    for restore_id, backup in held.pins:
        if restore_id in done_with:
            set_pin(service, backup, None)
            done.append(f"pin released: {backup.id}")
    return done


def _left(service: Service, record: Restore) -> str:
    """What a restore left whose process died, or whose clean-up failed."""
    where = position(target_for(service, record), record)
    abandoned = record.state is RestoreState.ABANDONED
    how = "it could not be cleaned up after" if abandoned else "its process died in"
    waits = f"; {Hook.AFTER} is still to be run" if not abandoned and is_due(service.options, record) else ""
    return f"restore {record.id}: {how} step '{record.step}'; {where}{waits}"


def _needed(service: Service, record: Restore) -> bool:
    """Whether what a restore made and pinned must stay."""
    ended = record.state in {RestoreState.COMPLETE, RestoreState.ROLLED_BACK}
    if ended:
        return record.undo_until is not None and record.undo_until > service.clock()
    return record.state is not RestoreState.FAILED


def _kept(
    record: Restore,
    databases: Mapping[str, int] | None,
    in_front: Sequence[Restore],
    lost: str | None,
    now: datetime,
) -> Finding:
    """What is still kept for a restore.

    Args:
        record: the restore.
        databases: the server's databases; None if it does not answer.
        in_front: the restores to be rolled back before this one.
        lost: why it cannot be undone any more; None if it can.
        now: the present instant.
    """
    if record.state is RestoreState.RUNNING:
        return Finding.ok("restores", f"restore {record.id} is under way, in step '{record.step}'")
    until = f"{record.undo_until:%Y-%m-%d %H:%M %Z}"
    if record.state is RestoreState.ROLLED_BACK:
        kept = record.shadow or record.safety
        gone = record.shadow is not None and databases is not None and record.shadow not in databases
        fate = f"of it nothing is kept: database {kept} is gone" if gone else f"{kept} is kept until {until}"
        return Finding.ok("restores", f"restore {record.id} is rolled back; {fate}")
    if obstacle := _obstacle(record, databases, in_front, now):
        message = f"restore {record.id} cannot be rolled back: {obstacle.why}; before it: {record.safety}"
        return Finding.warning("restores", message)
    if lost is not None:
        return Finding.warning("restores", f"restore {record.id} cannot be rolled back: {lost}")
    if in_front:
        ids = ", ".join(newer.id for newer in in_front)
        until += f", after {ids} {'is' if len(in_front) == 1 else 'are'}"
    return Finding.ok("restores", f"restore {record.id} can be rolled back until {until}")


def _elsewhere(service: Service, record: Restore) -> Finding:
    """A restore on another server: only that server knows how it ended, and what it made."""
    message = f"restore {record.id} was made on another server, of system identifier {record.server}"
    if record.state is RestoreState.COMPLETE and record.undo_until is not None:
        until = record.undo_until.astimezone(service.clock().tzinfo)
        return Finding.ok("restores", f"{message}; roll it back there, until {until:%Y-%m-%d %H:%M %Z}")
    return Finding.ok("restores", f"{message}; it is looked after there")


def _obstacle(
    record: Restore, databases: Mapping[str, int] | None, in_front: Sequence[Restore], now: datetime
) -> Obstacle | None:
    if final := never_undone(in_front, now):
        return Obstacle(f"restore {final.id} came after it, and cannot be undone")
    if record.method is not Method.SHADOW or databases is None:
        return None
    # The restores in front of it replaced the live database since.
    return None if in_front and record.undo in databases else obstacle_to_rename(record, databases)


def _databases(target: Target) -> Mapping[str, int] | None:
    try:
        return target.databases()
    except ResidencyBackupError:
        return None  # reported already


def _previews(target: Target, database: str) -> list[str]:
    """Databases in which previews migrated a copy of a backup, and whose processes died."""
    try:
        found = target.abandoned(PREVIEW)
    except ResidencyBackupError:
        return []  # reported already
    return [name for name in found if database.startswith(re.sub(PREVIEW, "", name))]


def _held(tree: Tree, backups: Sequence[Backup]) -> _Held:
    return _Held(tree.scripts.ids(), pinned_for(backups))


def _strays(service: Service, held: _Held, records: Sequence[Restore]) -> Iterator[str]:
    """What is kept and not needed. If a lost catalog knew the restore, an administrator decides."""
    here = {record.id for record in surely_of_this_server(service.source, records)}
    needed = {record.id for record in records if _needed(service, record) or record.id not in here}
    needed |= {record.id for record in due(service)}
    known = {record.id for record in records}
    for restore_id in held.scripts:
        if restore_id not in needed:
            unknown = (
                f"which the catalog does not know: remove {service.tree.scripts.path(restore_id)} when it is not wanted"
            )
            yield f"a script of restore {restore_id} is left" + (
                f"; {_REPAIR}" if restore_id in known else f", {unknown}"
            )
    for restore_id, backup in held.pins:
        if restore_id not in needed:
            unknown = (
                f"the catalog does not know that restore; to release it: residency-backup keep --release {backup.id}"
            )
            yield f"{backup.id} is still pinned: {backup.pinned_reason}; " + (
                _REPAIR if restore_id in known else unknown
            )


def _strange_databases(database: str, records: Sequence[Restore], names: set[str]) -> Iterator[str]:
    """Databases with the names of a restore that no record knows: the catalog was lost. They are not dropped."""
    known = {name for record in records for name in (record.shadow, record.undo)}
    for name in sorted(names - known):
        base, found = _OURS.sub("", name), _OURS.search(name)
        if found and database.startswith(base) and base:
            yield f"database {name} is of a restore that the catalog does not know; look at it, and drop it by hand"
