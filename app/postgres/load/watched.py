"""Sessions in which a foreign dump cannot change the server outside of the database that it is loaded into.

Functions in the file run with the rights of the role that loads it, and every role may change its own password and
settings. So each statement is a transaction, and the session's locks are checked before its commit: a change of a
catalog that all databases share holds a lock on it. Only GRANT releases that lock at once, but the statistics of the
transaction count its rows. If there is such a change, the statement is rolled back. What is not transactional (a
replication slot), or hidden from this check, is found afterwards: see `app.postgres.load.server_changes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import ClassVar

import psycopg

from app.archive.pg_dump import TRANSACTION
from app.errors import RestoreValidationError
from app.postgres.database import Database
from app.postgres.load.statements import is_setting
from app.postgres.session import RestoreSession, restore_session

_CATALOGS = {
    1260: "roles and their passwords",
    1261: "memberships of roles",
    1262: "rights on databases",
    1213: "tablespaces",
    2396: "comments on roles, databases or tablespaces",
    2964: "settings of roles or databases",
    3592: "security labels of roles, databases or tablespaces",
    6243: "rights on the server's settings",
}
_DATABASES = 1262
_GRANTED = (_DATABASES, 1213, 6243)
# All names are qualified: the file has set the search_path. Deferred constraints are checked before the query.
_LOOK = """
    SET CONSTRAINTS ALL IMMEDIATE;
    SELECT relation::pg_catalog.int8 FROM pg_catalog.pg_locks
    WHERE pid OPERATOR(pg_catalog.=) {pid} AND mode OPERATOR(pg_catalog.~) 'Exclusive'
        AND database OPERATOR(pg_catalog.=) 0::pg_catalog.oid
        AND relation OPERATOR(pg_catalog.=) ANY (ARRAY{catalogs}::pg_catalog.oid[])
    UNION SELECT catalog::pg_catalog.int8 FROM pg_catalog.unnest(ARRAY{granted}::pg_catalog.oid[]) catalog
    WHERE pg_catalog.pg_stat_get_xact_tuples_inserted(catalog) OPERATOR(pg_catalog.+)
        pg_catalog.pg_stat_get_xact_tuples_updated(catalog) OPERATOR(pg_catalog.>) 0"""
_EVENT_TRIGGER = re.compile(rb"(?:CREATE|ALTER)\s+EVENT\s+TRIGGER\s", re.IGNORECASE)


def require_no_shared_changes(connection: psycopg.Connection, what: str, granted: Sequence[int] = _GRANTED) -> None:
    """Make sure that the open transaction has changed no catalog that all databases share.

    Args:
        connection: in the transaction.
        what: name of the statement that it ran.
        granted: catalogs whose changed rows are counted.

    Raises:
        RestoreValidationError: it has changed some; names them.
    """
    look = _LOOK.format(pid=connection.info.backend_pid, catalogs=list(_CATALOGS), granted=list(granted))
    cursor = connection.execute(look.encode())
    cursor.nextset()
    changed_catalogs = sorted(_CATALOGS[catalog] for (catalog,) in cursor.fetchall())
    if changed_catalogs:
        message = f"{what}: functions in the file change objects outside of the database: {', '.join(changed_catalogs)}"
        raise RestoreValidationError(message, "the changes were rolled back: look at the functions in the file")


class WatchedSession(RestoreSession):
    """A session that commits no change outside of its database."""

    runs_together: ClassVar[bool] = False

    def __init__(self, connection: psycopg.Connection, database: str) -> None:
        super().__init__(connection, database)
        self._granted: Sequence[int] = _GRANTED

    def run(self, statement: bytes, what: str) -> None:
        """Run one statement, and check its changes; see `RestoreSession.run`."""
        with self._watched(statement, what):
            super().run(statement, what)

    def copy(self, statement: bytes, blocks: Iterable[bytes], what: str) -> int:
        """Send rows, and check the changes of functions that they call; see `RestoreSession.copy`."""
        with self._watched(statement, what):
            return super().copy(statement, blocks, what)

    @contextmanager
    def transaction(self, what: str) -> Iterator[None]:
        """A transaction whose changes are checked, or a savepoint in an open one, for the length of a block."""
        outermost = not self.in_transaction
        with super().transaction(what):
            yield
            if outermost:
                require_no_shared_changes(self.connection, what, self._granted)

    def _watched(self, statement: bytes, what: str) -> AbstractContextManager[None]:
        if ends := TRANSACTION.match(statement):
            if ends[1].upper() == b"COMMIT":
                with self.translated(what):
                    require_no_shared_changes(self.connection, what, self._granted)
        elif _EVENT_TRIGGER.match(statement):  # it sets a flag in the database's row of pg_database
            self._granted = [catalog for catalog in self._granted if catalog != _DATABASES]
        elif not (self.in_transaction or is_setting(statement)):
            return self.transaction(what)
        return nullcontext()


@contextmanager
def watched_session(database: Database, jobs: int) -> Iterator[RestoreSession]:
    """A watched session for the length of a block; see `app.postgres.session.restore_session`."""
    with restore_session(database, jobs) as found:
        yield WatchedSession(found.connection, database.name)
