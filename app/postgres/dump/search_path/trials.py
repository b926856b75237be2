"""Tries what calls functions of users, with no more rights than those of who wrote them, and leaves nothing behind.

A backup is often made by a superuser, and functions are anybody's: one that is called in a check must not run with the
superuser's rights each night. So it runs as the server itself does it when it builds an index: with those of the owner
of the table. A temporary function with the owner's rights (SECURITY DEFINER) is what cannot be left again by
RESET ROLE; it is rolled back. Its words are read under an empty search_path, whatever path it is run under: users may
have operators that fit them better than the server's own. Who is no superuser tries only what superusers, the
database's owner and its own roles have written.
Under the database's search_path, even a superuser's function calls what others have put there: so it is tried under
that with the session's own rights only if none of them has made, or may make, anything there.
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
# It took too long, somebody has the table, or the owner may not: nobody can tell.
_UNKNOWN = {"57014", "55P03", "42501", "25006", "0A000", "40P01"}
# Messages that quote names, and no rows: of syntax and access rules.
_OF_NAMES = ("42", "3F")
BROKEN = "a row breaks it"  # what is no number, and so fails
_BREAKS = "23514"  # of a domain
_ROLES = """
    SELECT current_setting('is_superuser') = 'on', pg_is_in_recovery(),
           ARRAY(SELECT rolname::text FROM pg_roles WHERE rolsuper AND rolname = ANY (%(owners)s)),
           ARRAY(SELECT rolname::text FROM pg_roles r WHERE rolname = ANY (%(owners)s) AND (
               pg_has_role(r.oid, 'USAGE')
               OR r.oid = (SELECT datdba FROM pg_database WHERE datname = current_database())))"""


@dataclass(frozen=True, slots=True)
class Roles:
    """Whose functions may be tried, and how.

    Attributes:
        superuser: whether the session is one.
        recovery: whether the server is a standby, on which no function can be made.
        superusers, trusted: of the owners those that are superusers, and whom the session trusts.
    """

    superuser: bool
    recovery: bool
    superusers: frozenset[str]
    trusted: frozenset[str]

    @classmethod
    def of(cls, connection: psycopg.Connection, owners: Collection[str]) -> Roles:
        """Ask the server."""
        row = connection.execute(_ROLES.encode(), {"owners": list(owners)}).fetchone()
        if row is None:
            return cls(superuser=True, recovery=True, superusers=frozenset(), trusted=frozenset())
        return cls(row[0], row[1], frozenset(row[2]), frozenset(row[3]))

    def whose(self, owners: Sequence[str]) -> str | None:
        """With whose rights it is to run, if not with the session's own."""
        return next((each for each in owners if each not in self.superusers), None) if self.superuser else None

    def may_try(self, owners: Sequence[str]) -> bool:
        """Whether it may be tried at all."""
        if self.superuser:
            return self.whose(owners) is None or not self.recovery
        return all(each in self.superusers or each in self.trusted for each in owners)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a try.

    Attributes:
        tried: whether it was evaluated.
        said: what the server said of a restore's way to do it; None if nothing.
        lasting: whether it fails in the way of the database's own sessions too.
        told: whether that could be tried.
    """

    tried: bool = True
    said: str | None = None
    lasting: bool = False
    told: bool = True


UNTRIED = Outcome(tried=False)


@dataclass(slots=True)
class Trials:
    """A session that tries things."""

    _connection: psycopg.Connection
    _roles: Roles
    _snapshot: str | None
    _path: str
    _triggers: EventTriggers
    _path_is_trusted: bool

    def outcome(self, statements: Sequence[str], owners: Sequence[str]) -> Outcome:
        """Try the first statement that tells as a restore would run it; then, if it fails, as the database's own do.

        Args:
            statements: of the same, each on fewer rows: one of many may be another's fault, or they take too long.
            owners: of those who wrote what is called.
        """
        if not self._roles.may_try(owners):
            return UNTRIED
        whose = self._roles.whose(owners)
        outcome = UNTRIED
        for place, statement in enumerate(statements, start=1):
            timeout = _FEW_MS if place == len(statements) else _MANY_MS
            error = self._error("", statement, whose, timeout)
            if error is None:
                return Outcome()
            if error.sqlstate in _UNKNOWN:
                outcome = UNTRIED
                continue
            if _breaks(error):
                holds = self._holds(statement, whose, timeout)
                return Outcome(said=_said(error), lasting=holds is False, told=holds is not None)
            if whose is None and not self._path_is_trusted:
                return Outcome(said=_said(error)) if error.sqlstate in UNDEFINED else UNTRIED
            lasting = self._lasts(statement, whose, timeout)
            if error.sqlstate in UNDEFINED or not lasting:
                return Outcome(said=_said(error), lasting=lasting)
            outcome = Outcome()  # it is the rows' matter
        return outcome

    def _lasts(self, statement: str, whose: str | None, timeout: int) -> bool:
        """Whether it fails under the database's own path too; no, if no function can be made that nobody else sees."""
        if self._roles.recovery or self._triggers.not_disabled:
            return False
        error = self._error(self._path, statement, whose, timeout)
        return error is not None and error.sqlstate not in _UNKNOWN

    def _holds(self, statement: str, whose: str | None, timeout: int) -> bool | None:
        """Whether each row is as it is checked to be under the database's own path; None if that cannot be told."""
        if self._roles.recovery or self._triggers.not_disabled or (whose is None and not self._path_is_trusted):
            return None
        return self._error(self._path, statement, whose, timeout) is None

    def _error(self, path: str, statement: str, whose: str | None, timeout: int) -> psycopg.Error | None:
        connection = self._connection
        try:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            if self._snapshot:
                connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(self._snapshot))
            for name, value in (("statement_timeout", timeout), ("lock_timeout", _LOCK_MS)):
                connection.execute(sql.SQL("SET LOCAL {} = {}").format(sql.Identifier(name), value))
            said = statement
            if path or whose is not None:
                self._make(statement, whose)
                said = f"SELECT {_FUNCTION}()"
            connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))
            connection.execute("SET TRANSACTION READ ONLY")
            connection.execute(said.encode(), binary=True)
        except psycopg.OperationalError as error:
            if connection.closed:
                raise
            return error
        except psycopg.Error as error:
            return error
        finally:
            with suppress(psycopg.OperationalError):  # it was lost: that is being raised
                connection.rollback()
        return None

    def _make(self, statement: str, whose: str | None) -> None:
        """The temporary function; nobody's event triggers are to see it."""
        connection = self._connection
        with self._triggers.disabled():
            # Binary: it is one statement, and no more.
            head = f"CREATE FUNCTION {_FUNCTION}() RETURNS void LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC"
            connection.execute(f"{head} {statement}; END".encode(), binary=True)
            if whose is not None:
                owner = sql.SQL("ALTER FUNCTION {}() OWNER TO {}").format(sql.SQL(_FUNCTION), sql.Identifier(whose))
                connection.execute(owner)


def _breaks(error: psycopg.Error) -> bool:
    """Whether a row is not what it is checked to be."""
    return error.sqlstate == _BREAKS or f'"{BROKEN}"' in (error.diag.message_primary or "")


def _said(error: psycopg.Error) -> str:
    """What the server said, as far as it quotes no rows."""
    code = error.sqlstate or "?"
    if _breaks(error):
        return BROKEN
    said = error.diag.message_primary if code.startswith(_OF_NAMES) else None
    return " ".join(said.split()) if said else f"it fails there, with SQLSTATE {code}"


def start_trials(connection: psycopg.Connection, roles: Roles, snapshot: str | None) -> Trials:
    """Begin to try.

    Args:
        connection: an autocommitting one, for nothing else; it is to be closed afterwards.
        roles: of those who wrote what is tried.
        snapshot: what the server calls an exported one; None for the present.
    """
    connection.prepare_threshold = None
    connection.execute("SET jit = off")
    row = connection.execute(CONFIGURED_PATH.encode()).fetchone()
    trusted = path_is_trusted(connection, superuser=roles.superuser)
    return Trials(connection, roles, snapshot, str(row[0]) if row else "", EventTriggers(connection), trusted)
