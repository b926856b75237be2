"""Dumps a database under one exported snapshot.

pg_dump writes the schema and all that is small, for it knows every kind of object; its text is cut into segments as it
streams past. The data of large tables is kept out of its hands: a crew reads it by ranges of pages, and each range goes
into the archive where pg_dump would have put its table, as a COPY block of its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import psycopg
import structlog

from app.archive.manifest import ServerFacts
from app.archive.writer import Destination
from app.domain.doubts import Doubt
from app.domain.servers import Identity
from app.errors import BackupReadError, LockTableFullError, ServerUnavailableError
from app.ports.source import ChangedError, GaveWayError
from app.postgres import event_triggers
from app.postgres import server_facts as questions
from app.postgres.binaries import find_binary
from app.postgres.database import FULL, Database
from app.postgres.dump.dump_order import merge_in_dump_order
from app.postgres.dump.early_reads import AttemptHistory, EarlyReader, early_session, require_as_shown
from app.postgres.dump.exported_snapshot import ExportedSnapshot
from app.postgres.dump.failures import DumpFailures
from app.postgres.dump.range_reader import RangeReader, range_reader
from app.postgres.dump.ranges import LargeTable, ranges_of
from app.postgres.dump.read_ahead import read_ahead
from app.postgres.dump.search_path.reliance import find_doubts
from app.postgres.dump.snapshot import exported_snapshot
from app.postgres.dump.undumped import undumped
from app.postgres.dump.unplannable import unplannable
from app.postgres.dump.watch import Watch
from app.postgres.dump.workers import Workers
from app.postgres.programs import ChildProcess, ProgramError, running
from app.postgres.session_settings import LOCK_LIMIT, time_limits
from app.postgres.waiting_connector import WaitingConnector

log = structlog.get_logger(__name__)
_MOMENT_SECONDS = 1
PG_DUMP_LOCK_MS = 3_000  # all is locked before it begins: it waits only behind who waits for us


class _DumpOptions(NamedTuple):
    """How a database is dumped; see `PostgresSource`."""

    jobs: int
    encoding: str | None
    doubting: bool


class PostgresSource:
    """A PostgreSQL database as the source of an archive: see `app.ports.source.Source`.

    Args:
        database: which one.
        jobs: how many connections read large tables at once.
        encoding: of the dump; None for the database's own.
        doubting: whether to look for what a restore of the dump could not evaluate.
    """

    def __init__(
        self, database: Database, jobs: int = 1, encoding: str | None = None, *, doubting: bool = True
    ) -> None:
        self.database = database.name
        self._database = database
        self._arrival = WaitingConnector(database)
        self._options = _DumpOptions(jobs, encoding, doubting)
        self._learnt = AttemptHistory()

    @property
    def role(self) -> str:
        """Who asks."""
        return self._database.role

    def facts(self) -> ServerFacts:
        """What the server and the database are."""
        return self._arrival.query(questions.server_facts)

    def identity(self) -> Identity:
        """Which server and database it is."""
        return self._arrival.query(questions.identity)

    def dump_program_version(self, facts: ServerFacts) -> str:
        """Version of the pg_dump that fits the server."""
        return find_binary("pg_dump", facts.version).version

    def unreadable(self) -> list[str]:
        """What the role may not read, each with the reason."""
        return self._arrival.query(questions.unreadable)

    def doubts(self) -> Sequence[Doubt]:
        """What a restore of a dump of now could not evaluate."""
        with self._arrival.connect() as connection:
            return find_doubts(connection, self._database)

    def at_login(self) -> list[str]:
        """What of the users' runs when a session begins, in words."""
        return self._arrival.query(event_triggers.at_login)

    def left_out(self) -> list[str]:
        """Tables and sequences of which this server, a standby, has no content."""
        return self._arrival.query(questions.left_out)

    def undumped(self) -> list[str]:
        """What of the users' no dump carries, a sentence each."""
        return self._arrival.query(undumped)

    @contextmanager
    def snapshot(self) -> Iterator[_Snapshot]:
        """Hold an instant of the database open for the length of a block."""
        history = self._learnt
        try:
            with (
                self._arrival.connect() as connection,
                early_session(there := self._database.beside(connection), history) as early,
                exported_snapshot(
                    connection, early, wary=history.gave_way, unlocked=history.lock_table_full
                ) as snapshot,
            ):
                shown = replace(snapshot, encoding=self._options.encoding or snapshot.encoding)
                yield _Snapshot(there, connection, shown, early, self._options)
        except (GaveWayError, ChangedError):
            history.gave_way = True
            raise
        except LockTableFullError as error:
            if history.lock_table_full:
                raise
            history.lock_table_full = True  # then pg_dump alone locks the tables, as it does without this service
            raise GaveWayError(error.message, error.hint) from error


class _Snapshot:
    """A snapshot and how to dump it: see `app.ports.source.Snapshot`."""

    def __init__(
        self,
        database: Database,
        connection: psycopg.Connection,
        snapshot: ExportedSnapshot,
        early: EarlyReader,
        options: _DumpOptions,
    ) -> None:
        self.taken_at = snapshot.taken_at
        self.tables = snapshot.tables
        self.wal_position = snapshot.wal_position
        self.doubts: Sequence[Doubt] = ()
        self._database = database
        self._connection = connection
        self._snapshot = snapshot
        self._options = options
        self._early = early
        self._programs: list[ChildProcess] = []
        self._workers: Workers | None = None
        self._watch = Watch(connection, snapshot.taken_at, self._end, self._died)
        self._failures = DumpFailures(database.name, connection, self._watch, early.history, snapshot.tables_locked)

    def dump_into(self, archive: Destination) -> None:
        """Write everything that the snapshot shows, in the archive's order."""
        with self._failures.explained(), ExitStack() as stack:
            large = self._large_tables()
            if self._options.doubting:
                self.doubts = find_doubts(self._connection, self._database, self._snapshot.id)
            whole, version = unplannable(self._connection, large), self._connection.info.server_version
            ranges = [part for table in large for part in ranges_of(table, version, whole=table.table in whole)]
            wanted = min(self._options.jobs, len(ranges))
            stack.enter_context(self._watch)
            readers = self._readers(stack, wanted, [table for table in large if table.kept is None])
            if not readers:
                if any(table.kept is not None for table in large):
                    message = f"the server of database {self._database.name} has no connection left"
                    raise ServerUnavailableError(message, "try again when fewer sessions are open")
                large, ranges = [], []
            dump, text = self._pg_dump(stack, large, scarce=len(readers) < wanted)
            self._early.require_unchanged(self._connection)
            if self._snapshot.unlocked:
                require_as_shown(self._connection)
            self._watch.release()
            workers = self._workers = stack.enter_context(Workers(readers, ranges, archive.frame_format))
            try:
                merge_in_dump_order(text, workers, archive)
                dump.check()
                self._connection.execute("SELECT 1")  # who watches was there to the end
                if cause := self._watch.cause():
                    raise cause
            except BackupReadError:
                if dump.closed_output:
                    dump.check()  # the text broke off: pg_dump knows why
                raise
            if said := dump.error_tail():
                log.warning("backup dump has remarks", pg_dump=said)

    def _large_tables(self) -> list[LargeTable]:
        """What is read beside pg_dump: nothing, if there is no room for more locks than its own."""
        if not self._snapshot.unlocked:
            return self._early.large_tables(self._connection, self._snapshot)
        require_as_shown(self._connection)  # what it locks in the catalogs is locked before pg_dump takes what is left
        return []

    def _end(self) -> None:
        """End the programs; the locks of their sessions go with them."""
        if self._workers is not None:
            self._workers.fail(self._watch.death or ProgramError("the dump was ended"))
        for program in self._programs:
            program.terminate()

    def _died(self) -> ProgramError | None:
        return next((death for program in self._programs if (death := program.failure())), None)

    def _readers(self, stack: ExitStack, wanted: int, large: Sequence[LargeTable]) -> list[RangeReader]:
        """As many as are wanted and the server has connections for."""
        free = questions.free_connections(self._connection) - 1 if wanted else 0  # one is pg_dump's
        readers: list[RangeReader] = []
        while len(readers) < min(wanted, free):
            try:
                readers.append(stack.enter_context(self._reader(large)))
            except ProgramError as error:
                if not (readers and FULL.search(error.message)):
                    raise
                readers.pop().finish()  # pg_dump would be refused too
                break
        if len(readers) < wanted:
            reason = "the server has no more to give: see max_connections, and the limits of role and database"
            log.warning("backup uses fewer connections than wanted", used=len(readers), wanted=wanted, reason=reason)
        return readers

    @contextmanager
    def _reader(self, large: Sequence[LargeTable]) -> Iterator[RangeReader]:
        psql = find_binary("psql", self._snapshot.server_version).path
        with range_reader(psql, self._database.conninfo, self._database.environment(os.environ)) as reader:
            self._programs.append(reader.program)
            limits = [*time_limits(self._connection.info.server_version), LOCK_LIMIT]
            reader.begin(self._snapshot.encoding, self._snapshot.id, limits, large)
            self._watch.pids.append(reader.pid)
            yield reader

    def _pg_dump(
        self, stack: ExitStack, large: Sequence[LargeTable], *, scarce: bool
    ) -> tuple[ChildProcess, Iterator[bytes]]:
        """pg_dump and its output, once it has begun that: then it has read the schema, and locked all.

        Where connections are scarce, its own may be free only in a moment.
        """
        dump, text = self._started(stack, large)
        first = next(text, None)
        if first is None and scarce:
            try:
                dump.check()
            except ProgramError as error:
                if not FULL.search(error.message):
                    raise
            self._programs.remove(dump)
            time.sleep(_MOMENT_SECONDS)
            dump, text = self._started(stack, large)
        return dump, chain([first] if first else [], text)

    def _started(self, stack: ExitStack, large: Sequence[LargeTable]) -> tuple[ChildProcess, Iterator[bytes]]:
        program = find_binary("pg_dump", self._snapshot.server_version)
        argv = pg_dump_arguments(program.path, self._database, self._snapshot.id, self._snapshot.encoding)
        log.debug("backup dump begins", command=argv, large_tables=len(large), jobs=self._options.jobs)
        without = [b"--exclude-table-data=" + table.pattern for table in large]
        dump = stack.enter_context(running([*argv, *without], self._database.environment(os.environ)))
        self._programs.append(dump)
        return dump, stack.enter_context(read_ahead(dump))


def pg_dump_arguments(program: str, database: Database, snapshot: str, encoding: str) -> list[str]:
    """The argument list of a dump; it holds no secret."""
    return [
        program,
        f"--dbname={database.conninfo}",
        "--format=plain",
        "--no-password",
        f"--lock-wait-timeout={PG_DUMP_LOCK_MS}",
        f"--snapshot={snapshot}",
        f"--encoding={encoding}",
    ]
