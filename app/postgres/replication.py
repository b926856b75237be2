"""Subscriptions and logical replication slots of a database, also after it was renamed.

The worker of a subscription finds its database by oid, and so follows it through a rename; so does a slot. DROP
DATABASE refuses a database that has a subscription, or a slot in use; other slots it drops without a message.

Source: dropdb in PostgreSQL's dbcommands.c, DropSubscription and AlterSubscription in subscriptioncmds.c.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import structlog
from psycopg import sql

from app.domain.psql import in_psql, quoted
from app.domain.replication import LogicalSlot, Replication, Subscription, disabling, enabling, freeing
from app.errors import RestoreBusyError, RestorePermissionError
from app.postgres.database import Database
from app.postgres.maintenance import Maintenance, maintenance
from app.postgres.session import as_restore_errors
from app.postgres.without_login_triggers import without_login_triggers

log = structlog.get_logger(__name__)
_LOCK_WAIT_MS = 5_000
# Only a superuser may alter a subscription that needs no password (password_required = false, PostgreSQL 16 and later).
_SUBSCRIPTIONS = """
    SELECT subname, pg_get_userbyid(subowner), subenabled, subslotname,
           pg_has_role(subowner, 'USAGE') AND ({} OR current_setting('is_superuser') = 'on')
    FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = %s ORDER BY subname"""
_PASSWORD_REQUIRED = ("true", "subpasswordrequired")
_SINCE = 160000
# No rows means no slots: every role may read pg_replication_slots.
_SLOTS = """
    SELECT slot_name, plugin, active_pid,
           CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint END
    FROM pg_replication_slots WHERE slot_type = 'logical' AND database = %s AND (NOT temporary OR %s)
    ORDER BY slot_name"""
# During the initial copy each table has its own slot at the publisher, which DROP SUBSCRIPTION would connect to drop.
_COPYING = """
    SELECT srsubstate = 'i', format('pg_%%s_sync_%%s_%%s', srsubid, srrelid, system_identifier)
    FROM pg_subscription_rel JOIN pg_subscription s ON s.oid = srsubid, pg_control_system()
    WHERE subname = %s AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND srsubstate <> 'r' ORDER BY srrelid"""
_UNREACHABLE = "host=/nonexistent dbname=none user=none password=none"  # a connection fails at once


def replication(database: Database, name: str) -> Replication:
    """Subscriptions and slots of a database; none if there is no such database."""
    with maintenance(database) as session:
        return Replication(subscriptions=_subscriptions(session, name), slots=_slots(session, name))


def pause(database: Database, name: str, subscriptions: Collection[str]) -> None:
    """Disable some of a database's subscriptions; those that do not exist are ignored.

    Raises:
        RestorePermissionError: the role may not; the hint is what a superuser does first.
    """
    chosen = [
        subscription
        for subscription in replication(database, name).subscriptions
        if subscription.name in subscriptions and subscription.enabled
    ]
    if not chosen:
        return
    with _inside(database, name) as session:
        for subscription in chosen:
            _alter(session, name, subscription, disabling(subscription.name))
            log.info("restore disabled a subscription", database=name, subscription=subscription.name)


def resume(database: Database, name: str, subscriptions: Collection[str]) -> list[str]:
    """Enable some of a database's subscriptions again; returns those that do not exist, or have no slot any more.

    Raises:
        RestorePermissionError: the role may not; the hint is what a superuser does.
    """
    known = {subscription.name: subscription for subscription in replication(database, name).subscriptions}
    with_slot = [
        subscription
        for subscription in known.values()
        if subscription.name in subscriptions and subscription.slot is not None
    ]
    disabled = [subscription for subscription in with_slot if not subscription.enabled]
    if disabled:
        with _inside(database, name) as session:
            for subscription in disabled:
                _alter(session, name, subscription, enabling(subscription.name))
                log.info("restore enabled a subscription again", database=name, subscription=subscription.name)
    return sorted(set(subscriptions) - {subscription.name for subscription in with_slot})


def detach(database: Database, name: str) -> list[str]:
    """Set slot_name = NONE for all subscriptions of a database; returns their names. No publisher is contacted."""
    subscriptions = replication(database, name).subscriptions
    if subscriptions:
        with _inside(database, name) as session:
            for subscription in subscriptions:
                for statement in freeing(subscription.name)[:-1]:
                    _alter(session, name, subscription, statement)
    return [subscription.name for subscription in subscriptions]


def require_no_readers(session: Maintenance, name: str) -> None:
    """Make sure that no slot of a database is in use. Its reader is not ended: nobody else has the rows it waits for.

    Raises:
        RestoreBusyError: a slot is in use; names it.
    """
    slots = [slot for slot in _slots(session, name, temporary=True) if slot.pid is not None]
    if slots:
        listed = ", ".join(str(slot) for slot in slots)
        message = f"database {name} is being read through logical replication slots: {listed}"
        ends = (f"SELECT pg_terminate_backend({slot.pid}, 5000)" for slot in slots)
        drops = (f"SELECT pg_drop_replication_slot('{slot.name}')" for slot in slots)
        hint = f"stop the consumers; they lose what they have not read: {in_psql('postgres', *ends, *drops)}"
        raise RestoreBusyError(message, hint)


def slots_of(session: Maintenance, name: str) -> list[LogicalSlot]:
    """The slots that are dropped with a database."""
    return _slots(session, name)


@contextmanager
def without_subscriptions(database: Database, session: Maintenance, name: str) -> Iterator[None]:
    """A block in which a database is dropped; its subscriptions are dropped before.

    No publisher is contacted: its slot may have another user. The connection stays open, so that nobody renames the
    database meanwhile; DROP DATABASE ends it.

    Raises:
        RestorePermissionError: the role may not drop one; the hint is what a superuser does first.
    """
    subscriptions = _subscriptions(session, name)
    if not subscriptions:
        yield
        return
    with _inside(database, name) as inside:
        for subscription in subscriptions:
            _free(inside, name, subscription)
        yield


def _free(session: Maintenance, name: str, subscription: Subscription) -> None:
    disable, unset_slot, drop = freeing(subscription.name)
    if subscription.enabled:
        _alter(session, name, subscription, disable)
    if subscription.slot is not None:
        _alter(session, name, subscription, unset_slot)
    copy_slots = session.query(_COPYING, subscription.name)
    if copy_slots:
        moved = f"ALTER SUBSCRIPTION {quoted(subscription.name)} CONNECTION '{_UNREACHABLE}'"
        _alter(session, name, subscription, moved)
    _alter(session, name, subscription, drop)
    log.info("restore dropped a subscription", database=name, subscription=subscription.name, slot=subscription.slot)
    if remaining := [slot for not_begun, slot in copy_slots if not not_begun]:
        names = ", ".join(f"'{slot}'" for slot in remaining)
        query = f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name IN ({names})"
        hint = f"at the publisher: {query}"
        log.warning("restore left slots of a first copy at the publisher", subscription=subscription.name, hint=hint)


def _alter(session: Maintenance, name: str, subscription: Subscription, statement: str) -> None:
    what = f"subscription {subscription.name} of database {name}"
    try:
        with session.without_event_triggers(statement.encode(), what):
            session.execute_text(what, statement)
    except RestorePermissionError as error:
        hint = f"as a superuser, or as {subscription.owner}: {in_psql(name, *_by_hand(subscription.name, statement))}"
        raise RestorePermissionError(error.message, hint) from error


def _by_hand(subscription: str, statement: str) -> tuple[str, ...]:
    """The statements from one on."""
    steps = freeing(subscription)
    return steps[steps.index(statement) :] if statement in steps[1:] else (statement,)


def _subscriptions(session: Maintenance, name: str) -> list[Subscription]:
    needs_password = _PASSWORD_REQUIRED[session.connection.info.server_version >= _SINCE]
    return [
        Subscription(name=subscription, owner=owner, enabled=enabled, slot=slot, may_alter=may)
        for subscription, owner, enabled, slot, may in session.query(_SUBSCRIPTIONS.format(needs_password), name)
    ]


def _slots(session: Maintenance, name: str, *, temporary: bool = False) -> list[LogicalSlot]:
    rows = session.query(_SLOTS, name, temporary)
    return [LogicalSlot(name=slot, plugin=plugin, pid=pid, held=held) for slot, plugin, pid, held in rows]


@contextmanager
def _inside(database: Database, name: str) -> Iterator[Maintenance]:
    """A session in the database itself: subscriptions can be altered only there."""
    with as_restore_errors(), without_login_triggers(database, name).connect() as connection:
        session = Maintenance(connection, name)
        session.execute("a setting", "SET lock_timeout = {}", sql.Literal(_LOCK_WAIT_MS))
        session.execute("a setting", "SET default_transaction_read_only = off")
        yield session
