"""Disables the subscriptions of a database before it is put aside, and enables them if it is live again.

A database that is put aside keeps its subscriptions. One that stays enabled would go on there, and take rows from the
publisher that nobody else gets any more. Their names are recorded first, so that `recover` can enable them again.
"""

from __future__ import annotations

from dataclasses import replace

from app.domain.events import RestoreEvent
from app.domain.psql import in_psql, quoted
from app.domain.replication import enabling
from app.domain.restore import Restore, Side
from app.errors import ResidencyBackupError, TargetUnavailableError
from app.operations.restore.job import RestoreJob
from app.operations.restore.journal import Journal
from app.operations.service import Service
from app.ports.events import Event, Events, failure
from app.ports.target import Target

SEE_DOCS = "docs/restore.md, 'Subscriptions and replication slots'"


def pause(target: Target, journal: Journal, side: Side) -> None:
    """Record the enabled subscriptions of the live database, then disable them."""
    live = journal.record.changes
    enabled = [subscription.name for subscription in target.replication(live).subscriptions if subscription.enabled]
    if enabled:
        if side is Side.REPLACED:
            journal.write(paused_replaced=tuple(enabled))
        else:
            journal.write(paused_made=tuple(enabled))
        target.pause_subscriptions(live, enabled)


def resume(events: Events, target: Target, record: Restore, side: Side) -> list[str]:
    """Enable the paused subscriptions of the live database; returns remarks on what the server refused.

    Raises:
        TargetUnavailableError: the server does not answer; try again.
    """
    names = record.paused(side)
    if not names:
        return []
    try:
        for name in target.resume_subscriptions(record.changes, names):
            event = Event(RestoreEvent.SUBSCRIPTION_LOST, restore=record.id, figures={"subscription": name})
            events.emit(event)
    except TargetUnavailableError:
        raise
    except ResidencyBackupError as error:
        # A refusal will be repeated at each try: it must not keep a restore from being recovered.
        by_hand = in_psql(record.changes, *map(enabling, names))
        event = failure(RestoreEvent.SUBSCRIPTIONS_DISABLED, error, restore=record.id)
        events.emit(replace(event, hint=by_hand))
        return [f"subscriptions are still disabled: {error.message}; {by_hand}"]
    return []


def resume_or_remark(service: Service, target: Target, record: Restore, side: Side) -> list[str]:
    """The same after the work is done: a server that does not answer any more is only a remark."""
    try:
        return resume(service.events, target, record, side)
    except TargetUnavailableError as error:
        service.events.emit(failure(RestoreEvent.SUBSCRIPTIONS_DISABLED, error, restore=record.id))
        by_hand = in_psql(record.changes, *map(enabling, record.paused(side)))
        return [f"subscriptions may still be disabled: {error.message}; {by_hand}"]


def detach_copies(job: RestoreJob, shadow: str) -> None:
    """Take the slots from the subscriptions of a copy: DROP SUBSCRIPTION there must not drop the original's slot."""
    backup = job.source.backup
    is_own = backup is not None and backup.database == job.request.changes
    if job.request.into is not None and not is_own and (names := job.target.detach_subscriptions(shadow)):
        note = "subscriptions of the copy have no slot, so that dropping them touches no publisher: "
        job.outcome.notes.append(note + ", ".join(names))


def report_subscriptions(job: RestoreJob) -> None:
    """Warn of what an administrator has to do about the subscriptions of the restored database."""
    live, outcome = job.request.changes, job.outcome
    try:
        subscriptions = job.target.replication(live).subscriptions
    except ResidencyBackupError as error:  # the restore is complete, even if this fails
        job.service.events.emit(failure(RestoreEvent.SUBSCRIPTIONS_UNKNOWN, error, restore=job.record.id))
        message = f"whether {live} has subscriptions to be enabled is not known: {error.message}; see {SEE_DOCS}"
        outcome.warnings.append(message)
        return
    for subscription in subscriptions:
        if subscription.slot is not None:
            message = f"subscription {subscription.name} of the restored {live} is disabled: "
            outcome.warnings.append(message + start_anew(live, subscription.name))
    if missing := set(job.record.paused(Side.REPLACED)) - {subscription.name for subscription in subscriptions}:
        names = ", ".join(sorted(missing))
        message = f"the restored {live} has no subscription {names}: CREATE SUBSCRIPTION anew; see {SEE_DOCS}"
        outcome.warnings.append(message)


def remarks_on_rollback(target: Target, record: Restore, name: str) -> list[str]:
    """Remarks on the subscriptions and slots that a rollback put aside, and on those that it brought back.

    Args:
        target: the server.
        record: the restore.
        name: what the restored database is called now.
    """
    remarks = []
    enabled_again = set(record.paused(Side.REPLACED))
    for subscription in target.replication(record.changes).subscriptions:
        if subscription.enabled or subscription.slot is None or subscription.name in enabled_again:
            continue
        message = f"subscription {subscription.name} was disabled before the restore already, and still is"
        by_hand = in_psql(record.changes, enabling(subscription.name))
        remarks.append(
            f"{message}; if it is wanted: {by_hand}; if an earlier restore had made the database: {SEE_DOCS}"
        )
    if paused := record.paused(Side.MADE):
        message = f"subscriptions of the restored database are disabled: {', '.join(paused)}"
        remarks.append(f"{message}; the rows that they got since the restore are in {name}")
    if slots := target.replication(name).slots:
        message = f"logical replication slots went with {name}, and hold WAL there: {', '.join(map(str, slots))}"
        drops = (f"SELECT pg_drop_replication_slot('{slot.name}')" for slot in slots)
        remarks.append(f"{message}; to drop them: {in_psql('postgres', *drops)}")
    return remarks


def start_anew(live: str, subscription: str) -> str:
    """How a restored subscription is started. If it is only enabled, it lacks what the publisher sent meanwhile."""
    steps = (enabling(subscription), f"ALTER SUBSCRIPTION {quoted(subscription)} REFRESH PUBLICATION")
    return f"empty its tables, then {in_psql(live, *steps)}; or without copying again: {SEE_DOCS}"
