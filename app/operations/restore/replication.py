"""Subscriptions and logical replication slots on the way of a restore: said before, put to rest, brought back.

A database that is put aside keeps its subscriptions. An enabled one would go on there, and take rows from the publisher
that then nobody else gets; so it is disabled before the swap. The names are recorded before, so that whatever dies, who
settles the restore enables them again where the database stays, or comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from app.domain.checks import Finding
from app.domain.events import RestoreEvent
from app.domain.psql import in_psql, quoted
from app.domain.replication import Replication, Subscription, disabling, enabling, freeing
from app.domain.restore import Method, Restore, RestoreState, Side
from app.errors import ResidencyBackupError, RestorePermissionError, RestoreValidationError, TargetUnavailableError
from app.operations.restore.job import Job, RestoreJob
from app.operations.restore.journal import Journal
from app.operations.service import Service
from app.ports.events import Event, Events, failure
from app.ports.target import Target

SUBSCRIPTIONS, SLOTS = "subscriptions", "replication slots"
_SEE = "docs/restore.md, 'Subscriptions and replication slots'"


def replication_findings(job: Job) -> Iterator[Finding]:
    """What a restore means to subscriptions and slots of the database that it changes."""
    if not job.live:
        return
    live, method = job.request.changes, job.method
    replication = job.target.replication(live)
    if method is Method.SHADOW:
        yield from _resting(live, replication.subscriptions)
        yield from _left_behind(live, replication)
    elif method is Method.IN_PLACE:
        yield from _barring(live, replication.subscriptions)
    if method is not Method.SHADOW and replication.slots:
        yield _told_on(live, replication, method)


def _resting(live: str, subscriptions: Sequence[Subscription]) -> Iterator[Finding]:
    if barred := [each for each in subscriptions if each.enabled and not each.may_alter]:
        by_hand = in_psql(live, *(disabling(each.name) for each in barred))
        owners = ", ".join(sorted({each.owner for each in barred}))
        message = (
            f"subscriptions of {live} would go on in the database that is put aside, and take the publisher's rows; "
            f"the role may not disable them: {_names(barred)}"
        )
        hint = f"as a superuser, or as {owners}: {by_hand}; then restore again"
        yield Finding.failed(SUBSCRIPTIONS, RestorePermissionError(message, hint))
        return
    if enabled := [each for each in subscriptions if each.enabled]:
        said = f"subscriptions of {live} are disabled before the swap, and enabled again by a rollback: "
        yield Finding.warning(SUBSCRIPTIONS, f"{said}{_names(enabled)}; see {_SEE}")
    if locked := [each for each in subscriptions if not each.may_alter]:
        by_hand = "; ".join(in_psql(f"{live}_undo_ID", *freeing(each.name)) for each in locked)
        said = f"the role may not drop subscriptions of {live}; before the database that is put aside can be dropped, "
        yield Finding.warning(SUBSCRIPTIONS, f"{said}a superuser must run: {by_hand}")


def _left_behind(live: str, found: Replication) -> Iterator[Finding]:
    if found.slots:
        listed = ", ".join(map(str, found.slots))
        drops = (f"SELECT pg_drop_replication_slot('{each.name}')" for each in found.slots)
        yield Finding.warning(
            SLOTS,
            f"logical replication slots of {live} stay with the database that is put aside, hold WAL there, and go "
            f"with it: {listed}. Their consumers get nothing more and must be set up anew; if there will be no "
            f"rollback: {in_psql('postgres', *drops)}; see {_SEE}",
        )


def _barring(live: str, subscriptions: Sequence[Subscription]) -> Iterator[Finding]:
    if subscriptions:
        message = f"{live} is replaced in place, which no subscription of it can outlive: {_names(subscriptions)}"
        by_hand = "; ".join(in_psql(live, *freeing(each.name)) for each in subscriptions)
        hint = f"drop them, which leaves the publisher's slots alone, and restore again: {by_hand}"
        yield Finding.failed(SUBSCRIPTIONS, RestoreValidationError(message, hint))


def _told_on(live: str, found: Replication, method: Method) -> Finding:
    names = ", ".join(each.name for each in found.slots)
    if method is Method.ROWS:
        return Finding.ok(SLOTS, f"consumers of logical replication slots of {live} get what changes: {names}")
    said = f"consumers of logical replication slots of {live} get all restored rows once more, as new ones: {names}"
    return Finding.warning(SLOTS, f"{said}; see {_SEE}")


def pause(target: Target, journal: Journal, side: Side) -> None:
    """Disable what is enabled in the live database, the names being recorded before."""
    live = journal.record.changes
    enabled = [each.name for each in target.replication(live).subscriptions if each.enabled]
    if enabled:
        paused: dict[str, Any] = {f"paused_{side}": tuple(enabled)}
        journal.write(**paused)
        target.pause_subscriptions(live, enabled)


def resume(events: Events, target: Target, record: Restore, side: Side) -> list[str]:
    """Enable in the live database what was paused in it; returns what the server refused, with the command that helps.

    Raises:
        TargetUnavailableError: it does not answer: to be tried again.
    """
    names = record.paused(side)
    if not names:
        return []
    try:
        for name in target.resume_subscriptions(record.changes, names):
            events.emit(Event(RestoreEvent.SUBSCRIPTION_LOST, figures={"subscription": name}))
    except TargetUnavailableError:
        raise
    except ResidencyBackupError as error:
        # What is asked once more will be refused once more: that must not keep a restore from being settled.
        by_hand = in_psql(record.changes, *map(enabling, names))
        events.emit(replace(failure(RestoreEvent.SUBSCRIPTIONS_DISABLED, error), hint=by_hand))
        return [f"subscriptions are still disabled: {error.message}; {by_hand}"]
    return []


def resumed_or_said(events: Events, target: Target, record: Restore, side: Side) -> list[str]:
    """The same where the work is done already, and the server may have gone since."""
    try:
        return resume(events, target, record, side)
    except TargetUnavailableError as error:
        events.emit(failure(RestoreEvent.SUBSCRIPTIONS_DISABLED, error))
        by_hand = in_psql(record.changes, *map(enabling, record.paused(side)))
        return [f"subscriptions may still be disabled: {error.message}; {by_hand}"]


def detach_copies(job: RestoreJob, shadow: str) -> None:
    """Make sure that DROP SUBSCRIPTION in a copy does not drop the slot of what it is a copy of, at the publisher."""
    own = job.source.backup is not None and job.source.backup.database == job.request.changes
    if job.request.into is not None and not own and (names := job.target.detach_subscriptions(shadow)):
        listed = ", ".join(names)
        job.outcome.notes.append(
            f"subscriptions of the copy have no slot, so that dropping them touches no publisher: {listed}"
        )


def report_subscriptions(job: RestoreJob) -> None:
    """What an administrator has to do about the restored database's subscriptions."""
    live, paused = job.request.changes, set(job.record.paused(Side.REPLACED))
    try:
        restored = job.target.replication(live).subscriptions
    except ResidencyBackupError as error:  # the restore is done, whatever comes of this
        job.service.events.emit(failure(RestoreEvent.SUBSCRIPTIONS_UNKNOWN, error))
        job.outcome.warnings.append(
            f"whether {live} has subscriptions to be enabled is not known: {error.message}; see {_SEE}"
        )
        return
    for each in restored:
        if each.slot is not None:
            said = f"subscription {each.name} of the restored {live} is disabled: {_anew(live, each.name)}"
            job.outcome.warnings.append(said)
    if missing := paused - {each.name for each in restored}:
        names = ", ".join(sorted(missing))
        job.outcome.warnings.append(
            f"the restored {live} has no subscription {names}: CREATE SUBSCRIPTION anew; see {_SEE}"
        )


def _anew(live: str, subscription: str) -> str:
    """How one that a backup brought begins: enabled alone, it would pass over what the publisher sends."""
    steps = (enabling(subscription), f"ALTER SUBSCRIPTION {quoted(subscription)} REFRESH PUBLICATION")
    return f"empty its tables, then {in_psql(live, *steps)}; or without copying again: {_SEE}"


def held_aside(service: Service, records: Iterable[Restore]) -> Iterator[Finding]:
    """Slots of databases that are kept for rollbacks: the server keeps WAL for them, on the disk that all share."""
    for record in records:
        name = record.undo if record.state is RestoreState.COMPLETE else record.shadow
        if record.method is not Method.SHADOW or name is None or record.undo_until is None:
            continue
        target = service.target if record.into is None else service.target.named(record.into)
        if slots := target.replication(name).slots:
            said = f"database {name} of restore {record.id} has logical replication slots: {', '.join(map(str, slots))}"
            drops = (f"SELECT pg_drop_replication_slot('{each.name}')" for each in slots)
            yield Finding.warning(SLOTS, f"{said}; if you will not roll back: {in_psql('postgres', *drops)}")


def asleep(service: Service, records: Iterable[Restore], there: Mapping[str, int]) -> Iterator[Finding]:
    """Subscriptions that are disabled in the live database since a restore, or a rollback, put it there.

    One that worked until a restore disabled it is warned of. What the backup brought disabled may be meant to be so.
    """
    live = there.get(service.database)
    came = [each for each in records if each.into is None and live is not None and _put_there(each) == live]
    if not came:
        return
    stopped = {name: each for each in came for name in each.paused(Side.REPLACED)}
    for each in service.target.replication(service.database).subscriptions:
        if each.enabled or each.slot is None:
            continue
        said = f"subscription {each.name} of {service.database} is disabled"
        made = any(record.state is RestoreState.COMPLETE for record in came)
        anew = _anew(service.database, each.name) if made else in_psql(service.database, enabling(each.name))
        if each.name in stopped:
            told = f"{said}, and was enabled until restore {stopped[each.name].id}: {anew}"
            yield Finding.warning(SUBSCRIPTIONS, told)
        elif made:
            yield Finding.ok(SUBSCRIPTIONS, f"{said}, as a restore leaves it; if it is wanted: {anew}")


def _put_there(record: Restore) -> int | None:
    """Oid of the database that a restore, or its rollback, left in the live one's place."""
    return record.made_oid if record.state is RestoreState.COMPLETE else record.replaced_oid


def put_aside(target: Target, record: Restore, name: str) -> list[str]:
    """Remarks on what a rollback took away with the restored database, and on what it brought back."""
    remarks = []
    before = set(record.paused(Side.REPLACED))  # those are enabled again
    for each in target.replication(record.changes).subscriptions:
        if not each.enabled and each.slot is not None and each.name not in before:
            by_hand = in_psql(record.changes, enabling(each.name))
            said = f"subscription {each.name} was disabled before the restore already, and still is"
            remarks.append(f"{said}; if it is wanted: {by_hand}; if an earlier restore had made the database: {_SEE}")
    if paused := record.paused(Side.MADE):
        said = f"subscriptions of the restored database are disabled: {', '.join(paused)}"
        remarks.append(f"{said}; the rows that they got since the restore are in {name}")
    if slots := target.replication(name).slots:
        said = f"logical replication slots went with {name}, and hold WAL there: {', '.join(map(str, slots))}"
        drops = (f"SELECT pg_drop_replication_slot('{each.name}')" for each in slots)
        remarks.append(f"{said}; to drop them: {in_psql('postgres', *drops)}")
    return remarks


def _names(subscriptions: Sequence[Subscription]) -> str:
    return ", ".join(each.name for each in subscriptions)
