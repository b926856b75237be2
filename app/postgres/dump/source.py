"""Dumps a database under one exported snapshot.

pg_dump writes the schema and all small tables, because it knows every kind of object; its output is cut into segments
while it is read. The rows of large tables are excluded from pg_dump's output. Workers read them in ranges of pages, and
each range is written as a COPY block in the place where pg_dump would have put its table.
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
from app.archive.scanner import scan
from app.archive.writer import Destination
from app.domain.doubts import Doubt
from app.domain.servers import Identity
from app.errors import BackupReadError, LockTableFullError, ServerUnavailableError
from app.ports.source import ChangedError, GaveWayError, Part, Survey
from app.postgres import event_triggers, server_facts
from app.postgres.binaries import find_binary
from app.postgres.database import FULL, Database
from app.postgres.dump.early_reads import AttemptHistory, EarlyReader, early_session, require_as_shown
from app.postgres.dump.exported_snapshot import ExportedSnapshot
from app.postgres.dump.failures import DumpFailures
from app.postgres.dump.interleave import merge_in_dump_order
from app.postgres.dump.part import DumpOfPart
from app.postgres.dump.range_reader import RangeReader, range_reader
from app.postgres.dump.ranges import LargeTable, TableRange, ranges_of
from app.postgres.dump.read_ahead import read_ahead
from app.postgres.dump.search_path.reliance import find_doubts
from app.postgres.dump.snapshot import exported_snapshot
from app.postgres.dump.survey import survey
from app.postgres.dump.undumped import undumped
from app.postgres.dump.unplannable import unplannable
from app.postgres.dump.watch import Watch
from app.postgres.dump.workers import Workers
from app.postgres.programs import ChildProcess, ProgramError, running
from app.postgres.session_settings import LOCK_LIMIT, time_limits
from app.postgres.waiting_connector import WaitingConnector

log = structlog.get_logger(__name__)
_MOMENT_SECONDS = 1
PG_DUMP_LOCK_MS = 3_000  # all tables are locked before pg_dump starts: it waits only behind sessions that wait for us


class _DumpOptions(NamedTuple):
    """Options of a dump; see `PostgresSource`."""

    jobs: int
    encoding: str | None
    doubting: bool
    part: Part | None = None


class PostgresSource:
    """A PostgreSQL database as the source of an archive: see `app.ports.source.Source`.

    Args:
        database: the one to dump.
        jobs: number of connections that read large tables.
        encoding: of the dump; None for the database's own.
        doubting: whether to look for objects that a restore of the dump could not evaluate.
    """

    def __init__(
        self, database: Database, jobs: int = 1, encoding: str | None = None, *, doubting: bool = True
    ) -> None:
        self.database = database.name
        self._database = database
        self._connector = WaitingConnector(database)
        self._options = _DumpOptions(jobs, encoding, doubting)
        self._learnt = AttemptHistory()

    @property
    def role(self) -> str:
        return self._database.role

    def facts(self) -> ServerFacts:
        return self._connector.query(server_facts.server_facts)

    def identity(self) -> Identity:
        return self._connector.query(server_facts.identity)

    def dump_program_version(self, facts: ServerFacts) -> str:
        return find_binary("pg_dump", facts.version).version

    def unreadable(self) -> list[str]:
        return self._connector.query(server_facts.unreadable)

    def doubts(self) -> Sequence[Doubt]:
        with self._connector.connect() as connection:
            return find_doubts(connection, self._database)

    def at_login(self) -> list[str]:
        return self._connector.query(event_triggers.at_login)

    def left_out(self) -> list[str]:
        return self._connector.query(server_facts.left_out)

    def undumped(self) -> list[str]:
        return self._connector.query(undumped)

    def survey(self) -> Survey:
        return self._connector.query(survey)

    @contextmanager
    def snapshot(self, part: Part | None = None) -> Iterator[_Snapshot]:
        history = self._learnt
        try:
            with (
                self._connector.connect() as connection,
                early_session(database := self._database.same_server(connection), history) as early,
                exported_snapshot(
                    connection, early, wary=history.gave_way, unlocked=history.lock_table_full
                ) as snapshot,
            ):
                described = replace(snapshot, encoding=self._options.encoding or snapshot.encoding)
                yield _Snapshot(database, connection, described, early, self._options._replace(part=part))
        except (GaveWayError, ChangedError):
            history.gave_way = True
            raise
        except LockTableFullError as error:
            if history.lock_table_full:
                raise
            # The next attempt leaves all locks to pg_dump, which then are as few as without this service.
            history.lock_table_full = True
            raise GaveWayError(error.message, error.hint) from error


class _Snapshot:
    """A snapshot that can be dumped: see `app.ports.source.Snapshot`."""

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
        self._part: DumpOfPart | None = None
        if options.part is not None:
            chosen = options.part.tables & snapshot.dumped_as.keys()
            self.tables = frozenset(snapshot.dumped_as[table] for table in chosen)
            self._part = DumpOfPart(connection, options.part)
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
        """Write everything that the snapshot shows, in the order of an archive."""
        with self._failures.explained(), ExitStack() as stack:
            large = self._large_tables()
            if self._options.doubting and self._options.part is None:
                self.doubts = find_doubts(self._connection, self._database, self._snapshot.id)
            ranges = self._ranges(large)
            count = min(self._options.jobs, len(ranges))
            stack.enter_context(self._watch)
            readers = self._readers(stack, count, [table for table in large if table.kept is None])
            if not readers:
                if any(table.kept is not None for table in large):
                    message = f"the server of database {self._database.name} has no connection left"
                    raise ServerUnavailableError(message, "try again when fewer sessions are open")
                large, ranges = [], []
            dump, text = self._pg_dump(stack, large, scarce=len(readers) < count)
            self._early.require_unchanged(self._connection)
            if self._snapshot.unlocked:
                require_as_shown(self._connection)
            self._watch.release()
            workers = self._workers = stack.enter_context(Workers(readers, ranges, archive.frame_format))
            self._write(text, dump, workers, archive)
            if remarks := dump.error_tail():
                log.warning("backup dump has remarks", pg_dump=remarks)

    def _write(self, text: Iterator[bytes], dump: ChildProcess, workers: Workers, archive: Destination) -> None:
        """Write pg_dump's output and the ranges into the archive."""
        try:
            chunks = scan(text) if self._part is None else self._part.chunks(scan(text))
            merge_in_dump_order(chunks, workers, archive)
            dump.check()
            self._connection.execute("SELECT 1")  # the session that watches was connected to the end
            if cause := self._watch.cause():
                raise cause
        except BackupReadError:
            if dump.closed_output:
                dump.check()  # the text is incomplete: pg_dump has the reason
            raise

    def _ranges(self, large: Sequence[LargeTable]) -> list[TableRange]:
        whole, version = unplannable(self._connection, large), self._connection.info.server_version
        return [part for table in large for part in ranges_of(table, version, whole=table.table in whole)]

    def _large_tables(self) -> list[LargeTable]:
        """Tables to read beside pg_dump; none if the server's lock table has no room for more locks than pg_dump's."""
        if not self._snapshot.unlocked:
            large, part = self._early.large_tables(self._connection, self._snapshot), self._options.part
            return large if part is None else [table for table in large if table.table in part.tables]
        require_as_shown(self._connection)  # it locks catalogs, which must come before pg_dump takes what is left
        return []

    def _end(self) -> None:
        """End all programs, and so the sessions with their locks."""
        if self._workers is not None:
            self._workers.fail(self._watch.death or ProgramError("the dump was ended"))
        for program in self._programs:
            program.terminate()

    def _died(self) -> ProgramError | None:
        return next((death for program in self._programs if (death := program.failure())), None)

    def _readers(self, stack: ExitStack, wanted: int, large: Sequence[LargeTable]) -> list[RangeReader]:
        """As many readers as are wanted, if the server has enough connections."""
        free = server_facts.free_connections(self._connection) - 1 if wanted else 0  # one is pg_dump's
        readers: list[RangeReader] = []
        while len(readers) < min(wanted, free):
            try:
                readers.append(stack.enter_context(self._reader(large)))
            except ProgramError as error:
                if not (readers and FULL.search(error.message)):
                    raise
                readers.pop().finish()  # pg_dump needs a connection too
                break
        if len(readers) < wanted:
            reason = "the server has no more connections: see max_connections, and the limits of role and database"
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
        """pg_dump and its output, as soon as output begins: then it has read the schema and locked everything.

        If connections are scarce, pg_dump's may be free only a moment later.
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
        without += self._part.arguments if self._part else []
        dump = stack.enter_context(running([*argv, *without], self._database.environment(os.environ)))
        self._programs.append(dump)
        return dump, stack.enter_context(read_ahead(dump))


def pg_dump_arguments(program: str, database: Database, snapshot: str, encoding: str) -> list[str]:
    """The argument list of pg_dump; it holds no secret."""
    return [
        program,
        f"--dbname={database.conninfo}",
        "--format=plain",
        "--no-password",
        f"--lock-wait-timeout={PG_DUMP_LOCK_MS}",
        f"--snapshot={snapshot}",
        f"--encoding={encoding}",
    ]
