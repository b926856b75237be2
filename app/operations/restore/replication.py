"""Effects of a restore on subscriptions and logical replication slots: findings before it, and of a check after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from app.domain.checks import Finding
from app.domain.psql import in_psql
from app.domain.replication import Replication, Subscription, disabling, enabling, freeing
from app.domain.restore import Method, Restore, RestoreState, Side
from app.errors import RestorePermissionError, RestoreValidationError
from app.operations.restore.job import Job
from app.operations.restore.subscriptions import SEE_DOCS, start_anew
from app.operations.service import Service, target_for
from app.ports.target import Target

SUBSCRIPTIONS, SLOTS = "subscriptions", "replication slots"


def replication_findings(job: Job) -> Iterator[Finding]:
    """Effects of a restore on the subscriptions and slots of the database that it changes."""
    if not job.live:
        return
    live, method = job.request.changes, job.method
    replication = job.target.replication(live)
    if method is Method.SHADOW:
        yield from _paused_by_swap(live, replication.subscriptions)
        yield from _slots_put_aside(live, replication)
    elif method is Method.IN_PLACE:
        yield from _lost_in_place(live, replication.subscriptions)
    if method is not Method.SHADOW and replication.slots:
        yield _sent_to_consumers(live, replication, method)


def slots_of_undo(service: Service, records: Iterable[Restore]) -> Iterator[Finding]:
    """Warn of slots of databases that are kept for rollbacks: the server keeps WAL for them."""
    for record in records:
        name = record.undo if record.state is RestoreState.COMPLETE else record.shadow
        if record.method is not Method.SHADOW or name is None or record.undo_until is None:
            continue
        if slots := target_for(service, record).replication(name).slots:
            listed = ", ".join(map(str, slots))
            drops = (f"SELECT pg_drop_replication_slot('{slot.name}')" for slot in slots)
            message = f"database {name} of restore {record.id} has logical replication slots: {listed}"
            yield Finding.warning(SLOTS, f"{message}; if you will not roll back: {in_psql('postgres', *drops)}")


def disabled_subscriptions(
    target: Target, database: str, records: Iterable[Restore], oids: Mapping[str, int]
) -> Iterator[Finding]:
    """Subscriptions that are disabled since a restore, or a rollback, made the database live.

    One that a restore disabled is a warning. One that was disabled in the backup may be disabled on purpose.

    Args:
        target: the server.
        database: the live one.
        records: the restores that this server knows.
        oids: the server's databases.
    """
    live = database
    oid = oids.get(live)
    causes = [record for record in records if record.into is None and oid is not None and _live_oid(record) == oid]
    if not causes:
        return
    is_restored = any(record.state is RestoreState.COMPLETE for record in causes)
    paused_by = {name: record for record in causes for name in record.paused(Side.REPLACED)}
    for subscription in target.replication(live).subscriptions:
        name = subscription.name
        if subscription.enabled or subscription.slot is None:
            continue
        message = f"subscription {name} of {live} is disabled"
        enable = start_anew(live, name) if is_restored else in_psql(live, enabling(name))
        if name in paused_by:
            message += f", and was enabled until restore {paused_by[name].id}: {enable}"
            yield Finding.warning(SUBSCRIPTIONS, message)
        elif is_restored:
            yield Finding.ok(SUBSCRIPTIONS, f"{message}, as a restore leaves it; if it is wanted: {enable}")


def _live_oid(record: Restore) -> int | None:
    """Oid of the database that a restore, or its rollback, made live."""
    return record.made_oid if record.state is RestoreState.COMPLETE else record.replaced_oid


def _paused_by_swap(live: str, subscriptions: Sequence[Subscription]) -> Iterator[Finding]:
    enabled = [subscription for subscription in subscriptions if subscription.enabled]
    locked = [subscription for subscription in subscriptions if not subscription.may_alter]
    if barred := [subscription for subscription in enabled if not subscription.may_alter]:
        by_hand = in_psql(live, *(disabling(subscription.name) for subscription in barred))
        owners = ", ".join(sorted({subscription.owner for subscription in barred}))
        message = (
            f"subscriptions of {live} would go on in the database that is put aside, and take the publisher's rows; "
            f"the role may not disable them: {_names(barred)}"
        )
        hint = f"as a superuser, or as {owners}: {by_hand}; then restore again"
        yield Finding.failed(SUBSCRIPTIONS, RestorePermissionError(message, hint))
        return
    if enabled:
        message = f"subscriptions of {live} are disabled before the swap, and enabled again by a rollback: "
        yield Finding.warning(SUBSCRIPTIONS, f"{message}{_names(enabled)}; see {SEE_DOCS}")
    if locked:
        by_hand = "; ".join(in_psql(f"{live}_undo_ID", *freeing(subscription.name)) for subscription in locked)
        message = (
            f"the role may not drop subscriptions of {live}; before the database that is put aside can be dropped, "
            f"a superuser must run: {by_hand}"
        )
        yield Finding.warning(SUBSCRIPTIONS, message)


def _slots_put_aside(live: str, replication: Replication) -> Iterator[Finding]:
    if replication.slots:
        listed = ", ".join(map(str, replication.slots))
        drops = (f"SELECT pg_drop_replication_slot('{slot.name}')" for slot in replication.slots)
        yield Finding.warning(
            SLOTS,
            f"logical replication slots of {live} stay with the database that is put aside, hold WAL there, and go "
            f"with it: {listed}. Their consumers get nothing more and must be set up anew; if there will be no "
            f"rollback: {in_psql('postgres', *drops)}; see {SEE_DOCS}",
        )


def _lost_in_place(live: str, subscriptions: Sequence[Subscription]) -> Iterator[Finding]:
    if subscriptions:
        message = f"{live} is replaced in place, which no subscription of it can outlive: {_names(subscriptions)}"
        by_hand = "; ".join(in_psql(live, *freeing(subscription.name)) for subscription in subscriptions)
        hint = f"drop them, which leaves the publisher's slots alone, and restore again: {by_hand}"
        yield Finding.failed(SUBSCRIPTIONS, RestoreValidationError(message, hint))


def _sent_to_consumers(live: str, replication: Replication, method: Method) -> Finding:
    names = ", ".join(slot.name for slot in replication.slots)
    consumers = f"consumers of logical replication slots of {live} get"
    if method is Method.ROWS:
        return Finding.ok(SLOTS, f"{consumers} what changes: {names}")
    return Finding.warning(SLOTS, f"{consumers} all restored rows once more, as new ones: {names}; see {SEE_DOCS}")


def _names(subscriptions: Sequence[Subscription]) -> str:
    return ", ".join(subscription.name for subscription in subscriptions)
