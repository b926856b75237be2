"""Sessions in which a stranger's file changes nothing of the server beside the database that it is loaded into.

Its functions run with the rights of whoever loads it, and every role may change its own password and settings. So each
statement is a transaction of its own here, and before the commit the session's locks are looked at: who changes a
catalog that all databases share holds one. Only a GRANT lets go of it at once, but is counted. Then nothing of the
statement stays. What can be done outside of a transaction (a replication slot), or hidden from this, is found
afterwards: see `app.postgres.load.server_changes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

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
# In full: the file has set the search_path. What is deferred to the commit is done before the look.
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
    """Make sure that the open transaction has changed nothing that all databases share.

    Args:
        connection: in a transaction.
        what: was done in it.
        granted: catalogs whose changes are counted.

    Raises:
        RestoreValidationError: it has; says what.
    """
    look = _LOOK.format(pid=connection.info.backend_pid, catalogs=list(_CATALOGS), granted=list(granted))
    cursor = connection.execute(look.encode())
    cursor.nextset()
    found = sorted(_CATALOGS[catalog] for (catalog,) in cursor.fetchall())
    if found:
        message = f"{what}: functions in the file change what is outside of the database: {', '.join(found)}"
        raise RestoreValidationError(message, "they were kept from it: look at the functions in the file")


class WatchedSession(RestoreSession):
    """A session that commits nothing which changes something beside."""

    def __init__(self, connection: psycopg.Connection, database: str) -> None:
        super().__init__(connection, database)
        self._granted: Sequence[int] = _GRANTED

    def run(self, statement: bytes, what: str) -> None:
        """Run one statement, and make sure of it; see `Session.run`."""
        with self._watched(statement, what):
            super().run(statement, what)

    def copy(self, statement: bytes, blocks: Iterable[bytes], what: str) -> int:
        """Send rows, and make sure of what they call; see `Session.copy`."""
        with self._watched(statement, what):
            return super().copy(statement, blocks, what)

    @contextmanager
    def transaction(self, what: str) -> Iterator[None]:
        """All or nothing of what is done in a block, and of what is done beside."""
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
        elif _EVENT_TRIGGER.match(statement):  # the server notes of a database that it has one
            self._granted = [catalog for catalog in self._granted if catalog != _DATABASES]
        elif not (self.in_transaction or is_setting(statement)):
            return self.transaction(what)
        return nullcontext()


@contextmanager
def watched_session(database: Database, jobs: int) -> Iterator[RestoreSession]:
    """Such a session for the length of a block; see `app.postgres.session.session`."""
    with restore_session(database, jobs) as found:
        yield WatchedSession(found.connection, database.name)
