"""Subscriptions and logical replication slots of a database, whatever it is called.

A subscription's worker finds its database by oid, and so follows it through a rename; a slot likewise. DROP DATABASE
refuses a database that has a subscription, or a slot that is in use, and takes other slots along without a word.

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
# A role without the superuser's rights may not alter one that needs no password; that column came with 16.
_SUBSCRIPTIONS = """
    SELECT subname, pg_get_userbyid(subowner), subenabled, subslotname,
           pg_has_role(subowner, 'USAGE') AND ({} OR current_setting('is_superuser') = 'on')
    FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = %s ORDER BY subname"""
_PASSWORD_REQUIRED = ("true", "subpasswordrequired")
_SINCE = 160000
# Who gets no rows from pg_replication_slots has no slots to fear: everybody may read it.
_SLOTS = """
    SELECT slot_name, plugin, active_pid,
           CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint END
    FROM pg_replication_slots WHERE slot_type = 'logical' AND database = %s AND (NOT temporary OR %s)
    ORDER BY slot_name"""
# While tables are copied for the first time, each has a slot of its own at the publisher, which DROP would go to drop.
_COPYING = """
    SELECT srsubstate = 'i', format('pg_%%s_sync_%%s_%%s', srsubid, srrelid, system_identifier)
    FROM pg_subscription_rel JOIN pg_subscription s ON s.oid = srsubid, pg_control_system()
    WHERE subname = %s AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND srsubstate <> 'r' ORDER BY srrelid"""
_NOWHERE = "host=/nonexistent dbname=none user=none password=none"  # fails at once


def replication(database: Database, name: str) -> Replication:
    """What a database of the server has of both; nothing where there is no such database."""
    with maintenance(database) as session:
        return Replication(subscriptions=_subscriptions(session, name), slots=_slots(session, name))


def pause(database: Database, name: str, subscriptions: Collection[str]) -> None:
    """Disable some of a database's subscriptions, as far as they are there.

    Raises:
        RestorePermissionError: the role may not; says what an administrator does first.
    """
    chosen = [each for each in replication(database, name).subscriptions if each.name in subscriptions and each.enabled]
    if not chosen:
        return
    with _inside(database, name) as session:
        for each in chosen:
            _alter(session, name, each, disabling(each.name))
            log.info("restore disabled a subscription", database=name, subscription=each.name)


def resume(database: Database, name: str, subscriptions: Collection[str]) -> list[str]:
    """Enable some of a database's subscriptions again; returns those that are gone, or have no slot any more.

    Raises:
        RestorePermissionError: the role may not; says what an administrator does.
    """
    known = {each.name: each for each in replication(database, name).subscriptions}
    able = [each for each in known.values() if each.name in subscriptions and each.slot is not None]
    asleep = [each for each in able if not each.enabled]
    if asleep:
        with _inside(database, name) as session:
            for each in asleep:
                _alter(session, name, each, enabling(each.name))
                log.info("restore enabled a subscription again", database=name, subscription=each.name)
    return sorted(set(subscriptions) - {each.name for each in able})


def detach(database: Database, name: str) -> list[str]:
    """Take their slots from all of a database's subscriptions; returns their names. The publisher is not asked."""
    found = replication(database, name).subscriptions
    if found:
        with _inside(database, name) as session:
            for each in found:
                for statement in freeing(each.name)[:-1]:
                    _alter(session, name, each, statement)
    return [each.name for each in found]


def require_no_readers(session: Maintenance, name: str) -> None:
    """Make sure that nobody reads a database through a slot; a reader is not ended unasked: nobody else has its rows.

    Raises:
        RestoreBusyError: somebody does; names the slot.
    """
    used = [each for each in _slots(session, name, temporary=True) if each.pid is not None]
    if used:
        listed = ", ".join(str(each) for each in used)
        message = f"database {name} is being read through logical replication slots: {listed}"
        ends = (f"SELECT pg_terminate_backend({each.pid}, 5000)" for each in used)
        drops = (f"SELECT pg_drop_replication_slot('{each.name}')" for each in used)
        hint = f"stop the consumers; they lose what they have not read: {in_psql('postgres', *ends, *drops)}"
        raise RestoreBusyError(message, hint)


def slots_of(session: Maintenance, name: str) -> list[LogicalSlot]:
    """The slots that go with a database."""
    return _slots(session, name)


@contextmanager
def without_subscriptions(database: Database, session: Maintenance, name: str) -> Iterator[None]:
    """A database without subscriptions for the length of a block, in which it is dropped.

    The publisher is never asked: its slot is left to whoever else uses it. The connection stays, so that nobody renames
    the database meanwhile; dropping it ends that too.

    Raises:
        RestorePermissionError: the role may not drop one; says what an administrator does first.
    """
    found = _subscriptions(session, name)
    if not found:
        yield
        return
    with _inside(database, name) as inside:
        for each in found:
            _free(inside, name, each)
        yield


def _free(session: Maintenance, name: str, subscription: Subscription) -> None:
    rests, forgets, drops = freeing(subscription.name)
    if subscription.enabled:
        _alter(session, name, subscription, rests)
    if subscription.slot is not None:
        _alter(session, name, subscription, forgets)
    copying = session.query(_COPYING, subscription.name)
    if copying:
        moved = f"ALTER SUBSCRIPTION {quoted(subscription.name)} CONNECTION '{_NOWHERE}'"
        _alter(session, name, subscription, moved)
    _alter(session, name, subscription, drops)
    log.info("restore dropped a subscription", database=name, subscription=subscription.name, slot=subscription.slot)
    if left := [slot for not_begun, slot in copying if not not_begun]:
        names = ", ".join(f"'{slot}'" for slot in left)
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
    """What is left to do from one statement on."""
    steps = freeing(subscription)
    return steps[steps.index(statement) :] if statement in steps[1:] else (statement,)


def _subscriptions(session: Maintenance, name: str) -> list[Subscription]:
    needs_password = _PASSWORD_REQUIRED[session.connection.info.server_version >= _SINCE]
    return [
        Subscription(name=subscription, owner=owner, enabled=enabled, slot=slot, may_alter=may)
        for subscription, owner, enabled, slot, may in session.query(_SUBSCRIPTIONS.format(needs_password), name)
    ]


def _slots(session: Maintenance, name: str, *, temporary: bool = False) -> list[LogicalSlot]:
    found = session.query(_SLOTS, name, temporary)
    return [LogicalSlot(name=slot, plugin=plugin, pid=pid, held=held) for slot, plugin, pid, held in found]


@contextmanager
def _inside(database: Database, name: str) -> Iterator[Maintenance]:
    """A session in the database itself: subscriptions are altered nowhere else."""
    with as_restore_errors(), without_login_triggers(database, name).connect() as connection:
        session = Maintenance(connection, name)
        session.execute("a setting", "SET lock_timeout = {}", sql.Literal(_LOCK_WAIT_MS))
        session.execute("a setting", "SET default_transaction_read_only = off")
        yield session
