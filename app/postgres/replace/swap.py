"""Puts a database in the place of another: two renames in one transaction.

The live database is never closed by ALLOW_CONNECTIONS, which a crash would leave closed. ALTER DATABASE … RENAME holds
its lock while it waits, up to 5 s, for other sessions to leave, and who connects queues behind it; so it is given less
time, and a second connection ends the sessions meanwhile. Whoever dies, the server's transaction is done or it is not.

Source: RenameDatabase and CountOtherDBBackends in PostgreSQL's dbcommands.c and procarray.c.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import structlog
from psycopg import sql

from app.domain.psql import in_psql, quoted
from app.errors import RestoreBusyError, RestoreError, RestorePermissionError, RestoreValidationError
from app.postgres.database import Database
from app.postgres.maintenance import Maintenance, maintenance
from app.postgres.session import sqlstate_of

log = structlog.get_logger(__name__)
GIVE_UP_SECONDS = 30.0
LOCK_WAIT_MS = 2_000  # of each of the two renames; who connects queues behind them
_MORE_MS = 400
_PAUSE_SECONDS = 0.5
_END_SECONDS = 0.02
_SHOWN = 5
_TAKEN = "42P04"
_TOO_LONG = "57014"
_MAY_END = """(current_setting('is_superuser') = 'on' OR NOT rolsuper
          AND (pg_has_role(usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE')))"""
# Whom this role may not end: then nobody is ended before they have left.
_STAYS = f"""
    SELECT CASE WHEN pid IS NULL THEN 'prepared transaction ' || gid ELSE format('pid %%s of user %%s', pid, usename)
                || coalesce(' (' || nullif(application_name, '') || ')', '') END
    FROM (SELECT pid, NULL AS gid, usename, application_name FROM pg_stat_activity a JOIN pg_roles r ON r.oid = usesysid
          WHERE datname = ANY (%s) AND pid <> pg_backend_pid() AND NOT {_MAY_END}
          UNION ALL SELECT NULL, gid, owner, NULL FROM pg_prepared_xacts WHERE database = ANY (%s)) stays
    ORDER BY 1"""
_THERE = """
    SELECT format('pid %%s of user %%s', pid, coalesce(usename, backend_type, '-'))
           || coalesce(' (' || nullif(application_name, '') || ')', '')
    FROM pg_stat_activity WHERE datname = ANY (%s) AND pid <> pg_backend_pid() ORDER BY pid"""
# What has no user is the server's own, which RENAME ends itself.
_END = f"""
    SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity JOIN pg_roles r ON r.oid = usesysid
    WHERE datname = ANY (%s) AND pid <> pg_backend_pid() AND {_MAY_END}"""
# Who holds a lock on the databases themselves, from wherever.
_HOLD = """
    SELECT format('pid %%s of user %%s', a.pid, coalesce(usename, backend_type, '-'))
           || coalesce(' (' || nullif(application_name, '') || ')', '') || ', which holds a lock on it'
    FROM pg_locks l JOIN pg_database d ON d.oid = objid JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE locktype = 'object' AND classid = 'pg_database'::regclass AND granted AND d.datname = ANY (%s)
          AND a.pid <> pg_backend_pid() ORDER BY a.pid"""
# A DROP DATABASE that was interrupted leaves -2: nobody can connect to that any more.
_NAMES = "SELECT datname, datconnlimit = -2 FROM pg_database WHERE datname = ANY (%s)"


def swap(database: Database, new: str, live: str, old: str) -> float:
    """Rename `live` to `old` and `new` to `live`; see `app.ports.target.Target.swap`.

    Raises:
        RestoreBusyError: a session or a prepared transaction did not go away; names them. Nothing was renamed.
        RestorePermissionError: the role may not rename the databases.
        RestoreValidationError: `new` is not there, or `old` is.
        TargetUnavailableError: the server went away. Which databases stand says whether the swap was done.
    """
    beside = (new, live, old)
    with maintenance(database, *beside) as session, maintenance(database, *beside) as ender:
        renames = _renames(session, new, live, old)
        databases = [name for name, _ in renames]
        closed = 0.0
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            stays = [what for (what,) in session.query(_STAYS, databases, databases)]
            if not stays:
                begun = time.monotonic()
                try:
                    with _terminating_sessions(ender, databases):
                        _rename(session, renames)
                    closed += time.monotonic() - begun
                    break
                except RestoreBusyError as error:
                    log.debug("restore finds the database in use", database=live, reason=error.message)
                closed += time.monotonic() - begun
            if time.monotonic() > deadline:
                there = stays or [what for query in (_THERE, _HOLD) for (what,) in session.query(query, databases)]
                raise _busy(live, there)
            time.sleep(_PAUSE_SECONDS)
    log.debug("restore swapped databases", database=live, new=new, old=old, seconds=round(closed, 3))
    return round(closed, 3)


def _renames(session: Maintenance, new: str, live: str, old: str) -> list[tuple[str, str]]:
    """What to rename to what; the live database may be missing."""
    there = {str(name): bool(invalid) for name, invalid in session.query(_NAMES, [new, live, old])}
    if new not in there:
        raise RestoreValidationError(f"there is no database {new} to put in the place of {live}", "restore again")
    if there[new]:
        message = f"database {new} is what an interrupted DROP DATABASE left, so it is not put in the place of {live}"
        raise RestoreValidationError(message, in_psql("postgres", f"DROP DATABASE {quoted(new)}"))
    if live not in there:
        return [(new, live)]
    if old in there:
        message = f"there is a database {old} already, which is to be the name of what {live} is now"
        raise RestoreValidationError(message, "run 'residency-backup check --repair'")
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
            raise RestoreValidationError(error.message, "run 'residency-backup check --repair'") from error
        raise


@contextlib.contextmanager
def _terminating_sessions(ender: Maintenance, databases: list[str]) -> Iterator[None]:
    """End the sessions of some databases again and again, for the length of a block."""
    over = threading.Event()
    failures: list[RestoreError] = []

    def work() -> None:
        try:
            while not over.is_set():
                ender.query(_END, databases)
                over.wait(_END_SECONDS)
        except RestoreError as error:
            failures.append(error)

    thread = threading.Thread(target=work, name="restore-swap", daemon=True)
    thread.start()
    try:
        yield
    except RestoreBusyError as error:
        over.set()
        thread.join()
        raise (failures or [error])[0] from error
    finally:
        over.set()
        thread.join()


def _busy(live: str, stays: list[str]) -> RestoreBusyError:
    more = f" and {len(stays) - _SHOWN} more" if len(stays) > _SHOWN else ""
    who = ", ".join(stays[:_SHOWN]) + more or "sessions that came back as fast as they were ended"
    message = f"database {live} stays in use, so nothing was renamed: {who}"
    hint = "end them, or commit or roll back what is prepared (ROLLBACK PREPARED), and restore again"
    return RestoreBusyError(message, hint)
