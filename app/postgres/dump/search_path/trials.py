"""Evaluates expressions that call functions of users, with no more rights than their authors have, and rolls it back.

A backup is often made by a superuser, but anybody may have written a function: if a check calls it, it must not run
with superuser rights each night. So it runs with the rights of the table's owner, as the server does when it builds an
index. RESET ROLE cannot undo the rights of a function that is SECURITY DEFINER: the expression is put into a temporary
function of the owner with that option, which is rolled back. The text of that function is parsed under an empty
search_path, whatever path it runs under, because users may have operators that fit it better than the server's own. A
session without superuser rights tries only what superusers, the database's owner and its own roles have written.
Under the database's search_path, even a superuser's function calls what others have created there. So it is tried with
the session's own rights only if no untrusted role has created, or may create, objects there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql

from app.postgres.configured_path import CONFIGURED_PATH, path_is_trusted
from app.postgres.event_triggers import EventTriggers
from app.postgres.search_path_hints import UNDEFINED

_MANY_MS = 300
_FEW_MS = 1_000
_LOCK_MS = 200
_FUNCTION = "pg_temp.residency_backup_try"
# A timeout, a locked table, or a missing right of the owner: the result is unknown.
_UNKNOWN = {"57014", "55P03", "42501", "25006", "0A000", "40P01"}
# Classes of SQLSTATEs whose messages quote names but no rows: syntax and access rules, invalid schema names.
_OF_NAMES = ("42", "3F")
BROKEN = "a row breaks it"  # a text that is cast to a number if a check is false, and so fails
_BREAKS = "23514"  # check_violation, of a domain
_ROLES = """
    SELECT current_setting('is_superuser') = 'on', pg_is_in_recovery(),
           ARRAY(SELECT rolname::text FROM pg_roles WHERE rolsuper AND rolname = ANY (%(owners)s)),
           ARRAY(SELECT rolname::text FROM pg_roles r WHERE rolname = ANY (%(owners)s) AND (
               pg_has_role(r.oid, 'USAGE')
               OR r.oid = (SELECT datdba FROM pg_database WHERE datname = current_database())))"""


@dataclass(frozen=True, slots=True)
class Roles:
    """The roles whose functions may be tried, and with which rights.

    Attributes:
        superuser: whether the session has superuser rights.
        recovery: whether the server is a standby, on which no function can be created.
        superusers, trusted: owners that are superusers, and owners that the session trusts.
    """

    superuser: bool
    recovery: bool
    superusers: frozenset[str]
    trusted: frozenset[str]

    @classmethod
    def of(cls, connection: psycopg.Connection, owners: Collection[str]) -> Roles:
        """Query the server about some owners."""
        row = connection.execute(_ROLES.encode(), {"owners": list(owners)}).fetchone()
        if row is None:
            return cls(superuser=True, recovery=True, superusers=frozenset(), trusted=frozenset())
        return cls(row[0], row[1], frozenset(row[2]), frozenset(row[3]))

    def run_as(self, owners: Sequence[str]) -> str | None:
        """The role whose rights a trial must run with; None for the session's own."""
        return next((owner for owner in owners if owner not in self.superusers), None) if self.superuser else None

    def may_try(self, owners: Sequence[str]) -> bool:
        """Whether functions of these owners may be tried at all."""
        if self.superuser:
            return self.run_as(owners) is None or not self.recovery
        return all(owner in self.superusers or owner in self.trusted for owner in owners)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a trial.

    Attributes:
        tried: whether the expression was evaluated.
        error: the server's message under the conditions of a restore; None if it succeeded.
        lasting: whether it fails under the database's own search_path too.
        lasting_known: whether `lasting` is known.
    """

    tried: bool = True
    error: str | None = None
    lasting: bool = False
    lasting_known: bool = True


UNTRIED = Outcome(tried=False)


@dataclass(slots=True)
class Trials:
    """A session that evaluates expressions."""

    _connection: psycopg.Connection
    _roles: Roles
    _snapshot: str | None
    _path: str
    _triggers: EventTriggers
    _path_is_trusted: bool

    def outcome(self, statements: Sequence[str], owners: Sequence[str]) -> Outcome:
        """Run the first statement with a clear result as a restore would; if it fails, as the database's sessions do.

        Args:
            statements: for the same object, each on fewer rows: many rows take longer, and one may fail for itself.
            owners: of the functions that are called.
        """
        if not self._roles.may_try(owners):
            return UNTRIED
        run_as = self._roles.run_as(owners)
        outcome = UNTRIED
        for place, statement in enumerate(statements, start=1):
            timeout = _FEW_MS if place == len(statements) else _MANY_MS
            error = self._error("", statement, run_as, timeout)
            if error is None:
                return Outcome()
            if error.sqlstate in _UNKNOWN:
                outcome = UNTRIED
                continue
            if _violates_check(error):
                holds = self._is_true_under_configured_path(statement, run_as, timeout)
                return Outcome(error=_message_of(error), lasting=holds is False, lasting_known=holds is not None)
            if run_as is None and not self._path_is_trusted:
                return Outcome(error=_message_of(error)) if error.sqlstate in UNDEFINED else UNTRIED
            lasting = self._fails_under_configured_path(statement, run_as, timeout)
            if error.sqlstate in UNDEFINED or not lasting:
                return Outcome(error=_message_of(error), lasting=lasting)
            outcome = Outcome()  # the rows are the cause, under any path
        return outcome

    def _fails_under_configured_path(self, statement: str, run_as: str | None, timeout: int) -> bool:
        """Whether it fails under the database's path too; False if no function can be created unseen by triggers."""
        if self._roles.recovery or self._triggers.not_disabled:
            return False
        error = self._error(self._path, statement, run_as, timeout)
        return error is not None and error.sqlstate not in _UNKNOWN

    def _is_true_under_configured_path(self, statement: str, run_as: str | None, timeout: int) -> bool | None:
        """Whether the check is true for each row under the database's path; None if that cannot be tried."""
        if self._roles.recovery or self._triggers.not_disabled or (run_as is None and not self._path_is_trusted):
            return None
        return self._error(self._path, statement, run_as, timeout) is None

    def _error(self, path: str, statement: str, run_as: str | None, timeout: int) -> psycopg.Error | None:
        connection = self._connection
        try:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            if self._snapshot:
                connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(self._snapshot))
            for name, value in (("statement_timeout", timeout), ("lock_timeout", _LOCK_MS)):
                connection.execute(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), value))
            command = statement
            if path or run_as is not None:
                self._make(statement, run_as)
                command = f"SELECT {_FUNCTION}()"
            connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))
            connection.execute("SET TRANSACTION READ ONLY")
            connection.execute(command.encode(), binary=True)
        except psycopg.OperationalError as error:
            if connection.closed:
                raise
            return error
        except psycopg.Error as error:
            return error
        finally:
            with suppress(psycopg.OperationalError):  # a lost connection is being reported already
                connection.rollback()
        return None

    def _make(self, statement: str, run_as: str | None) -> None:
        """Create the temporary function; event triggers do not fire on it."""
        connection = self._connection
        with self._triggers.disabled():
            # Binary selects the extended protocol, which accepts one statement only.
            head = f"CREATE FUNCTION {_FUNCTION}() RETURNS void LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC"
            connection.execute(f"{head} {statement}; END".encode(), binary=True)
            if run_as is not None:
                owner = sql.SQL("ALTER FUNCTION {}() OWNER TO {}").format(sql.SQL(_FUNCTION), sql.Identifier(run_as))
                connection.execute(owner)


def _violates_check(error: psycopg.Error) -> bool:
    """Whether a row violates a check."""
    return error.sqlstate == _BREAKS or f'"{BROKEN}"' in (error.diag.message_primary or "")


def _message_of(error: psycopg.Error) -> str:
    """The server's message if it quotes no rows; else the SQLSTATE."""
    code = error.sqlstate or "?"
    if _violates_check(error):
        return BROKEN
    message = error.diag.message_primary if code.startswith(_OF_NAMES) else None
    return " ".join(message.split()) if message else f"it fails there, with SQLSTATE {code}"


def start_trials(connection: psycopg.Connection, roles: Roles, snapshot: str | None) -> Trials:
    """Prepare a session for trials.

    Args:
        connection: one with autocommit that nobody else uses, and that is closed afterwards.
        roles: owners of the functions.
        snapshot: id of an exported snapshot; None for the present.
    """
    connection.prepare_threshold = None
    connection.execute("SET jit = off")
    row = connection.execute(CONFIGURED_PATH.encode()).fetchone()
    trusted = path_is_trusted(connection, superuser=roles.superuser)
    return Trials(connection, roles, snapshot, str(row[0]) if row else "", EventTriggers(connection), trusted)
