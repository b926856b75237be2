"""A scratch database: a backup is loaded into it, and the application's own migrations bring it to the live schema.

What must be sure is that the rows which are then merged are those of the backup, changed by that command alone:

- The database has a name that nobody knew before, and the right to connect is the session's role's alone: PUBLIC, its
  owner and whoever may use the live database have none.
- A superuser needs no right. So a thread looks at the server's sessions 20 times a second, from before the first row
  is loaded until the last one is read: a session of any other role, even one that only reads, ends the restore. (It
  may miss one that is over within 50 ms. A stranger who has this service's own password cannot be told from the
  command.)
- The content was proven against the archive before the command runs. When that has ended, so are all sessions in the
  database, and its rows are read under one snapshot.

A comment on the database says what it is, because anybody's may have such a name. As long as the process lives, a
session of it holds an advisory lock in the database's name. Who finds a scratch database without that lock may drop it.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

from app.archive.manifest import ServerFacts
from app.domain.adaptation import ColumnRef, Filled, TableRef
from app.errors import RestoreBusyError, RestoreError, RestoreMigrationError
from app.ports.target import Scratch
from app.postgres.database import Database
from app.postgres.dump.source import PostgresSource
from app.postgres.maintenance import Maintenance, maintenance
from app.postgres.post_command import CommandPlace, run_on
from app.postgres.replace import databases
from app.postgres.session import as_restore_errors

_LOOK_SECONDS = 0.05
_LOCK_CLASS = 0x5C7A7C4  # of our advisory locks
_LOCK = "SELECT pg_try_advisory_lock(%s::int, %s::int)"
_HELD = """
    SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objsubid = 2 AND granted"""
_NAMES = """
    SELECT datname::text FROM pg_database
    WHERE datname ~ %s AND shobj_description(oid, 'pg_database') = %s"""
# The server shows database, role and name of every session to everybody. Its own processes have no role.
_STRANGERS = """
    SELECT DISTINCT pid, usesysid::regrole::text, application_name FROM pg_stat_activity
    WHERE datname = %s AND usesysid <> ALL (SELECT oid FROM pg_roles WHERE rolname = ANY (%s))"""
# A program of the command that left its process group would go on. The server's own processes have no role.
_END = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s AND usesysid IS NOT NULL"
_SHAPE = """
    SELECT c.oid::bigint, n.nspname, c.relname, a.attnum, a.attname
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
        AND attnum > 0 AND NOT attisdropped"""
_Columns = dict[tuple[int, int], ColumnRef]


@dataclass(frozen=True, slots=True)
class ScratchOptions:
    """How a scratch database is used.

    Attributes:
        commands: where programs run.
        jobs: number of connections that read its large tables.
        role: that loads the dump, if it is not the session's.
    """

    commands: CommandPlace
    jobs: int
    role: str | None


class PostgresScratch(Scratch):
    """See the port, and the module."""

    def __init__(self, database: Database, watch: _Watch, options: ScratchOptions) -> None:
        self.name = database.name
        self._database = database
        self._watch = watch
        self._options = options

    def migrate(self, argv: Sequence[str], setting: str) -> Filled:
        """Run a program; what it made."""
        self._watch.require_alone()
        before = self._columns()
        run_on(self._database, argv, self._options.commands, setting, RestoreMigrationError, guarded=True)
        with maintenance(self._database, self.name) as session:
            session.query(_END, self.name)
        self._watch.require_alone()
        return _made(before, self._columns())

    def source(self) -> PostgresSource:
        """Its content."""
        return PostgresSource(self._database, self._options.jobs, doubting=False)

    def require_alone(self) -> None:
        """Make sure that nobody else was in it."""
        self._watch.require_alone()

    def _columns(self) -> _Columns:
        """The columns of all tables by what they keep when they are renamed, or get another type."""
        with as_restore_errors(), self._database.connect() as connection:
            rows = connection.execute(_SHAPE).fetchall()
        return {
            (table, column): ColumnRef(TableRef(schema, name), column_name)
            for table, schema, name, column, column_name in rows
        }


def _made(before: _Columns, after: _Columns) -> Filled:
    """The columns and tables that were not there before, by their present names."""
    tables = {table for table, _ in before}
    new = {key: column for key, column in after.items() if key not in before}
    return Filled(
        columns=frozenset(column for (table, _), column in new.items() if table in tables),
        tables=frozenset(column.table for (table, _), column in new.items() if table not in tables),
    )


@contextmanager
def scratch(
    database: Database, name: str, facts: ServerFacts | None, options: ScratchOptions
) -> Iterator[PostgresScratch]:
    """A scratch database for the length of a block; see `app.ports.target.Target.scratch`."""
    with maintenance(database, database.name, name) as holder:
        if not holder.query(_LOCK, _LOCK_CLASS, _key(name))[0][0]:
            raise RestoreBusyError(f"database {name} is in use by another process", "try again")
        try:
            databases.create(database, name, facts, shut=True)
            roles = [role for role in (_role(holder), options.role) if role is not None]
            with _Watch(database, name, roles) as watch:
                yield PostgresScratch(database.named(name), watch, options)
        except BaseException:
            with suppress(RestoreError):  # the error that ended the block counts; what stays is found by `abandoned`
                databases.drop(database, name)
            raise
        databases.drop(database, name)


def abandoned(database: Database, pattern: str) -> list[str]:
    """Scratch databases whose names match a pattern and whose process is gone."""
    with maintenance(database) as session:
        held = {key for (key,) in session.query(_HELD, _LOCK_CLASS)}
        names = [name for (name,) in session.query(_NAMES, pattern, databases.SCRATCH)]
    return sorted(name for name in names if _key(name) not in held)


def _key(name: str) -> int:
    return zlib.crc32(name.encode()) >> 1  # a positive int4


def _role(session: Maintenance) -> str:
    return str(session.query("SELECT session_user::text")[0][0])


class _Watch(threading.Thread):
    """Looks for sessions of other roles in a database, for the length of a block."""

    def __init__(self, database: Database, name: str, roles: Collection[str]) -> None:
        super().__init__(name="restore-scratch-watch", daemon=True)
        self._server = database
        self._database = name
        self._roles = list(roles)
        self._over = threading.Event()
        self._looked = threading.Condition()
        self._looks = 0
        self._failure: BaseException | None = None

    def __enter__(self) -> Self:
        self.start()
        self.require_alone()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def require_alone(self) -> None:
        """Make sure that nobody else was in the database until now.

        Raises:
            RestoreBusyError: somebody was.
            RestoreError: the server did not say who was.
        """
        with self._looked:
            # The look under way may have begun before what it is to see.
            wanted = self._looks + 2
            self._looked.wait_for(lambda: self._failure is not None or self._looks >= wanted)
            if self._failure is not None:
                raise self._failure

    def run(self) -> None:
        """Look until the block ends, or somebody is found."""
        try:
            with maintenance(self._server, self._database) as session:
                while not self._over.wait(_LOOK_SECONDS):
                    self._look(session)
        except BaseException as error:  # noqa: BLE001 -- raised in the thread that asks; else that would wait for ever
            with self._looked:
                self._failure = error
                self._looked.notify_all()

    def _look(self, session: Maintenance) -> None:
        if found := session.query(_STRANGERS, self._database, self._roles):
            pid, role, program = found[0]
            who = f"session {pid} of role {role}" + (f" ({program})" if program else "")
            message = f"somebody else used the scratch database {self._database}: {who}"
            raise RestoreBusyError(message, "keep that program out of databases that it does not know; then try again")
        with self._looked:
            self._looks += 1
            self._looked.notify_all()
