"""Puts a database in the place of another, by two renames in one transaction.

The live database is not closed by ALLOW_CONNECTIONS, because a crash would leave it closed. ALTER DATABASE … RENAME
waits up to 5 s for other sessions to leave, and holds a lock meanwhile that new connections queue behind. So it gets a
shorter timeout, and a second connection terminates the sessions at the same time. Whatever crashes, the server commits
both renames or none.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import structlog
from psycopg import sql

from app.domain.listed import listed
from app.domain.psql import in_psql, quoted
from app.errors import RestoreBusyError, RestoreError, RestorePermissionError, RestoreValidationError
from app.postgres.database import Database
from app.postgres.maintenance import Maintenance, maintenance
from app.postgres.session import sqlstate_of

log = structlog.get_logger(__name__)
GIVE_UP_SECONDS = 30.0
LOCK_WAIT_MS = 2_000  # of each of the two renames; new connections queue behind them
_MORE_MS = 400
_PAUSE_SECONDS = 0.5
_END_SECONDS = 0.02
_SHOWN = 5
_TAKEN = "42P04"
_TOO_LONG = "57014"
_MAY_END = """(current_setting('is_superuser') = 'on' OR NOT rolsuper
          AND (pg_has_role(usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE')))"""
# Sessions that this role may not terminate. While there are any, no session is terminated.
_STAYS = f"""
    SELECT CASE WHEN pid IS NULL THEN 'prepared transaction ' || gid ELSE format('pid %%s of user %%s', pid, usename)
                || coalesce(' (' || nullif(application_name, '') || ')', '') END
    FROM (SELECT pid, NULL AS gid, usename, application_name FROM pg_stat_activity a JOIN pg_roles r ON r.oid = usesysid
          WHERE datname = ANY (%s) AND pid <> pg_backend_pid() AND NOT {_MAY_END}
          UNION ALL SELECT NULL, gid, owner, NULL FROM pg_prepared_xacts WHERE database = ANY (%s)) stays
    ORDER BY 1"""
_SESSIONS = """
    SELECT format('pid %%s of user %%s', pid, coalesce(usename, backend_type, '-'))
           || coalesce(' (' || nullif(application_name, '') || ')', '')
    FROM pg_stat_activity WHERE datname = ANY (%s) AND pid <> pg_backend_pid() ORDER BY pid"""
# A session without a user is the server's own; RENAME ends it.
_END = f"""
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity JOIN pg_roles r ON r.oid = usesysid
    WHERE datname = ANY (%s) AND pid <> pg_backend_pid() AND {_MAY_END}"""
# Sessions, in any database, that hold a lock on these databases.
_HOLD = """
    SELECT format('pid %%s of user %%s', a.pid, coalesce(usename, backend_type, '-'))
           || coalesce(' (' || nullif(application_name, '') || ')', '') || ', which holds a lock on it'
    FROM pg_locks l JOIN pg_database d ON d.oid = objid JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE locktype = 'object' AND classid = 'pg_database'::regclass AND granted AND d.datname = ANY (%s)
          AND a.pid <> pg_backend_pid() ORDER BY a.pid"""
# An interrupted DROP DATABASE leaves -2: nobody can connect to the database any more.
_NAMES = "SELECT datname, datconnlimit = -2 FROM pg_database WHERE datname = ANY (%s)"


def swap(database: Database, new: str, live: str, old: str) -> float:
    """Rename `live` to `old` and `new` to `live`; see `app.ports.target.Target.swap`.

    Raises:
        RestoreBusyError: a session or a prepared transaction stayed; names them. Nothing was renamed.
        RestorePermissionError: the role may not rename the databases.
        RestoreValidationError: there is no database `new`, or one called `old`.
        TargetUnavailableError: the server went away. The names of its databases show whether the swap was done.
    """
    names = (new, live, old)
    with maintenance(database, *names) as session, maintenance(database, *names) as terminator:
        renames = _renames(session, new, live, old)
        databases = [name for name, _ in renames]
        closed = 0.0
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            unremovable = [what for (what,) in session.query(_STAYS, databases, databases)]
            if not unremovable:
                begun = time.monotonic()
                try:
                    with _terminating_sessions(terminator, databases):
                        _rename(session, renames)
                    closed += time.monotonic() - begun
                    break
                except RestoreBusyError as error:
                    log.debug("restore finds the database in use", database=live, reason=error.message)
                closed += time.monotonic() - begun
            if time.monotonic() > deadline:
                remaining = unremovable or [
                    what for query in (_SESSIONS, _HOLD) for (what,) in session.query(query, databases)
                ]
                raise _busy(live, remaining)
            time.sleep(_PAUSE_SECONDS)
    log.debug("restore swapped databases", database=live, new=new, old=old, seconds=round(closed, 3))
    return round(closed, 3)


def _renames(session: Maintenance, new: str, live: str, old: str) -> list[tuple[str, str]]:
    """Old and new names; the live database may be missing."""
    invalid_by_name = {str(name): bool(invalid) for name, invalid in session.query(_NAMES, [new, live, old])}
    if new not in invalid_by_name:
        raise RestoreValidationError(f"there is no database {new} to put in the place of {live}", "restore again")
    if invalid_by_name[new]:
        message = f"database {new} is unusable: a DROP DATABASE of it was interrupted, so it cannot replace {live}"
        raise RestoreValidationError(message, in_psql("postgres", f"DROP DATABASE {quoted(new)}"))
    if live not in invalid_by_name:
        return [(new, live)]
    if old in invalid_by_name:
        message = f"there is a database {old} already, which is the name that {live} would get"
        raise RestoreValidationError(message, "to clean up: residency-backup check --repair")
    return [(live, old), (new, live)]


def _rename(session: Maintenance, renames: list[tuple[str, str]]) -> None:
    try:
        with session.transaction("the renaming of databases"):
            session.execute("a setting", "SET LOCAL lock_timeout = {}", sql.Literal(LOCK_WAIT_MS))
            session.execute("a setting", "SET LOCAL statement_timeout = {}", sql.Literal(LOCK_WAIT_MS + _MORE_MS))
            for old, new in renames:
                what = f"the renaming of database {old} to {new}"
                session.execute(what, "ALTER DATABASE {} RENAME TO {}", sql.Identifier(old), sql.Identifier(new))
    except RestorePermissionError as error:
        making = in_psql("postgres", f"ALTER ROLE {quoted(session.connection.info.user)} CREATEDB")
        hint = f"the role must own both databases, or be a member of their owner, and have CREATEDB: {making}"
        raise RestorePermissionError(error.message, hint) from error
    except RestoreError as error:
        if sqlstate_of(error) == _TOO_LONG:
            raise RestoreBusyError(error.message, error.hint) from error.__cause__
        if sqlstate_of(error) == _TAKEN:
            raise RestoreValidationError(error.message, "to clean up: residency-backup check --repair") from error
        raise


@contextlib.contextmanager
def _terminating_sessions(terminator: Maintenance, databases: list[str]) -> Iterator[None]:
    """A block in which the sessions of some databases are terminated again and again."""
    ended = threading.Event()
    failures: list[RestoreError] = []

    def work() -> None:
        try:
            while not ended.is_set():
                terminator.query(_END, databases)
                ended.wait(_END_SECONDS)
        except RestoreError as error:
            failures.append(error)

    thread = threading.Thread(target=work, name="restore-swap", daemon=True)
    thread.start()
    try:
        yield
    except RestoreBusyError as error:
        ended.set()
        thread.join()
        raise (failures or [error])[0] from error
    finally:
        ended.set()
        thread.join()


def _busy(live: str, sessions: list[str]) -> RestoreBusyError:
    users = listed(sessions, _SHOWN) or "sessions that came back as fast as they were ended"
    message = f"database {live} stays in use, so nothing was renamed: {users}"
    hint = "end them, or commit or roll back what is prepared (ROLLBACK PREPARED), and restore again"
    return RestoreBusyError(message, hint)
