"""Keeps event triggers from firing on statements of this service: on temporary tables, on triggers that it disables.

PostgreSQL 17 and later have a setting for that. Before, event triggers that are enabled as usual do not fire if
session_replication_role is `replica`. One that is enabled ALWAYS or REPLICA is disabled and enabled again in one
transaction, so that other sessions never see it disabled.
Source: filter_event_trigger in PostgreSQL's evtcache.c and event_trigger.c; documentation, "Event Triggers".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import sql

from app.domain.psql import in_psql, quoted

SETTING_SINCE = 170000
_PRIVILEGE_SINCE = 150000
_DDL = re.compile(rb"\s*(?:ALTER|COMMENT|CREATE|DROP|GRANT|REFRESH|REVOKE)\s", re.IGNORECASE)
# Those for logins have fired already. All names are qualified: a merge has the search_path of users.
_ENABLED = """
    SELECT evtname, evtenabled::pg_catalog.text, pg_catalog.pg_has_role(evtowner, 'USAGE')
    FROM pg_catalog.pg_event_trigger
    WHERE evtenabled OPERATOR(pg_catalog.<>) 'D' AND evtevent OPERATOR(pg_catalog.<>) 'login' ORDER BY evtname"""
_SUPERUSER = "pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on'"
_ENABLE = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}


# They fire when a session starts, before its first statement, unless the setting event_triggers of the role is off.
_AT_LOGIN = """
    SELECT evtname, current_database(), session_user FROM pg_event_trigger
    WHERE evtevent = 'login' AND evtenabled IN ('O', 'A') AND current_setting('event_triggers', true) = 'on'
    ORDER BY evtname"""


def at_login(connection: psycopg.Connection) -> list[str]:
    """A warning for each event trigger that fires when a session of this role starts (PostgreSQL 17 and later)."""
    return [
        f"event trigger {name} fires at the start of each session of this service, also of pg_dump and psql; "
        f"to disable it for the role: {in_psql(database, f'ALTER ROLE {quoted(role)} SET event_triggers = off')}"
        for name, database, role in connection.execute(_AT_LOGIN).fetchall()
    ]


def may_fire(statement: bytes) -> bool:
    """Whether event triggers may fire on a statement."""
    return _DDL.match(statement) is not None


class EventTriggers:
    """The event triggers of a session's database.

    Attributes:
        not_disabled: names of those that this role cannot disable.
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        self.not_disabled: tuple[str, ...] = ()
        self._connection = connection
        self._held: Sequence[tuple[str, str]] = ()
        self._role: str | None = None  # the session_replication_role to return to, if this session may change it
        triggers = connection.execute(_ENABLED).fetchall()
        if triggers:
            self._hold([(str(name), str(how), bool(owned)) for name, how, owned in triggers])

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """A block in which none of them fires, except `not_disabled`."""
        if self._role is not None:
            with self._connection.transaction():
                self._act_as("replica")
                yield
                self._act_as(self._role)
        elif self._held:
            with self._connection.transaction():
                self._alter((name, "DISABLE") for name, _ in self._held)
                yield
                self._alter((name, _ENABLE[how]) for name, how in self._held)
        else:
            yield

    def _hold(self, triggers: Sequence[tuple[str, str, bool]]) -> None:
        """Choose the way that this role may use."""
        version = self._connection.info.server_version
        if version >= SETTING_SINCE and self._may_set("event_triggers"):
            self._connection.execute("SET event_triggers = off")
        elif all(how == "O" for _, how, _ in triggers) and self._may_set("session_replication_role"):
            row = self._connection.execute("SHOW session_replication_role").fetchone()
            self._role = str(row[0]) if row else "origin"
        else:
            self._held = [(name, how) for name, how, owned in triggers if owned]
            self.not_disabled = tuple(name for name, _, owned in triggers if not owned)

    def _may_set(self, name: str) -> bool:
        has_privilege = self._connection.info.server_version >= _PRIVILEGE_SINCE
        granted = f" OR pg_catalog.has_parameter_privilege('{name}', 'SET')" if has_privilege else ""
        row = self._connection.execute(f"SELECT {_SUPERUSER}{granted}".encode()).fetchone()
        return bool(row and row[0])

    def _act_as(self, role: str) -> None:
        self._connection.execute("SELECT pg_catalog.set_config('session_replication_role', %s, true)", (role,))

    def _alter(self, triggers: Iterator[tuple[str, str]]) -> None:
        for name, how in triggers:
            statement = sql.SQL("ALTER EVENT TRIGGER {} {}").format(sql.Identifier(name), sql.SQL(how))
            self._connection.execute(statement)


def disable_hint(database: str, names: Sequence[str]) -> str:
    """The command by which a superuser disables event triggers."""
    return in_psql(database, *(f"ALTER EVENT TRIGGER {quoted(name)} DISABLE" for name in names))
