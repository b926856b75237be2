"""Replaces the content of the live database in one transaction, for a role that may not create databases.

Until the commit, other sessions see the old content; those that want to change it wait. BEGIN and COMMIT in the file,
which pg_dump writes around large objects, are skipped. Extensions that exist already are left as they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext

import psycopg
import structlog
from psycopg import sql

from app.archive.index import TableDigest, TableName
from app.archive.inspect.content import Content, content_of
from app.archive.inspect.large_objects import LargeObjects
from app.archive.inspect.lint import lint
from app.archive.inspect.pg_attver import without_pg_attver
from app.archive.manifest import ServerFacts
from app.archive.pg_dump import IDENTIFIER, TRANSACTION, python_encoding
from app.archive.reader import Archive
from app.archive.scanner import scan
from app.errors import BackupReadError, BackupValidationError, RestoreBusyError, RestoreDataError, RestoreError
from app.postgres import server_facts
from app.postgres.database import Database
from app.postgres.digest import leaves_of_partitioned, table_digest, use_read_settings
from app.postgres.load.data import DataLoader, check_rows
from app.postgres.load.function_path import FunctionPath
from app.postgres.load.loader import reset_file_settings
from app.postgres.load.server_changes import remark_server_changes
from app.postgres.load.statements import SqlRunner
from app.postgres.load.statistics import analyze
from app.postgres.load.watched import require_no_shared_changes
from app.postgres.lock_holders import CONFLICT_WITH_ACCESS_EXCLUSIVE
from app.postgres.lock_retries import ATTEMPT_MS, lock_all, retry_for_locks
from app.postgres.maintenance import Maintenance
from app.postgres.operator_path import set_operator_path
from app.postgres.replace.empty import empty
from app.postgres.replace.proof import (
    Differences,
    comparable_tables,
    compare_schema,
    compare_tables,
    compare_values,
    count_alone,
    join_partitions,
)
from app.postgres.replace.schema_diff import live_entries, of_the_schema
from app.postgres.server_facts import DUMPED
from app.postgres.session import as_restore_errors
from app.postgres.session_settings import load_session
from app.postgres.transactions import durable_ids

log = structlog.get_logger(__name__)
_SCHEMA = re.compile(rb"CREATE SCHEMA (" + IDENTIFIER + rb")\s*;")
_EXTENSION = re.compile(rb"(?:CREATE EXTENSION(?: IF NOT EXISTS)?|COMMENT ON EXTENSION) (" + IDENTIFIER + rb")")
_LOCKS = f"""
    SELECT format('%I.%I', nspname, relname), format('LOCK TABLE ONLY %I.%I IN ACCESS EXCLUSIVE MODE', nspname, relname)
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND {DUMPED} AND pg_has_role(relowner, 'USAGE') ORDER BY 1"""
_NOT_OURS = """
    SELECT convert_to(quote_ident(extname), getdatabaseencoding()), pg_has_role(extowner, 'USAGE') FROM pg_extension"""
_QUOTED = "SELECT convert_to(quote_ident(n), getdatabaseencoding()) FROM unnest(%s::text[]) n"
_SEQUENCE = """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE c.oid = to_regclass(%s) AND relkind = 'S'"""
_OBJECTS = "SELECT oid::int8, lo_get(oid, 0, %s) FROM pg_largeobject_metadata ORDER BY oid"
_ROWS = 100  # at once, each of up to a part
_PART = "SELECT lo_get(%s, %s, %s)"
_PART_BYTES = 256 << 10


class _InPlace(Maintenance):
    """The session of the transaction. It skips statements that must not run in it.

    Attributes:
        schemas: that exist already, as SQL spells them.
        extensions: that exist already, and whether the role may comment on them.
    """

    lost_hint = "see the server's log; nothing was changed unless the commit was under way"

    def __init__(self, connection: psycopg.Connection, database: str) -> None:
        super().__init__(connection, database)
        self.schemas: set[bytes] = set()
        self.extensions: dict[bytes, bool] = {}

    def run(self, statement: bytes, what: str) -> None:
        if TRANSACTION.match(statement):
            return
        if (schema := _SCHEMA.match(statement)) and schema[1] in self.schemas:
            return
        if extension := _EXTENSION.match(statement):
            may_touch = self.extensions.get(extension[1])
            if may_touch is False:
                self.remarks.append(f"{what} is left as it is: the extension belongs to another role")
            if may_touch is False or (may_touch and statement.startswith(b"CREATE")):
                return
        super().run(statement, what)

    def other_error(self, message: str) -> RestoreError:
        return RestoreDataError(message, "nothing was changed; the message is the server's")


def replace_in_place(
    database: Database,
    archive: Archive,
    facts: ServerFacts | None,
    on_commit: Callable[[str], None],
    search_path: str | None = None,
) -> list[str]:
    """Drop the content of a database, load an archive and prove it; see `app.ports.target.Target.replace_in_place`.

    Returns:
        Remarks on what was left as it is, and on what the proof could not compare.

    Raises:
        RestoreValidationError: the file has a statement that no dump has, or an object cannot be dropped.
        RestoreDataError: the server refuses a statement or a row, or the content differs from the archive's.
        RestorePermissionError: the role lacks a right.
        RestoreBusyError: a table stayed locked.
        TargetUnavailableError: the server went away.
    """
    beside: list[str] = []
    with nullcontext() if facts is not None else remark_server_changes(database, beside):
        remarks = _replaced(database, archive, facts, on_commit, search_path)
    return remarks + beside


def _replaced(
    database: Database,
    archive: Archive,
    facts: ServerFacts | None,
    on_commit: Callable[[str], None],
    search_path: str | None,
) -> list[str]:
    lint(archive)
    with (
        _session(database) as session,
        durable_ids(database) as durable_id,
        session.transaction(f"the restore of database {database.name}"),
    ):
        retry_for_locks(session, "the emptying", CONFLICT_WITH_ACCESS_EXCLUSIVE, lambda: _clear(session))
        _load(session, archive, search_path)
        session.execute_text("the constraints", "SET CONSTRAINTS ALL IMMEDIATE")
        analyze([session])
        expected = content_of(archive)
        remarks = session.remarks + _prove(session, database.name, archive, expected, facts)
        if facts is None:
            require_no_shared_changes(session.connection, f"database {database.name}")
        session.execute_text("a setting", "SET LOCAL synchronous_commit = on")
        on_commit(durable_id(session))
    remarks += _of_schema(database, expected, ours=facts is not None)
    log.debug("restore replaced in place", database=database.name, remarks=remarks)
    return remarks


def _of_schema(database: Database, expected: Content, *, ours: bool) -> list[str]:
    """Differences of the schema, with grants. Compared after the commit: pg_dump cannot see it before."""
    differences = Differences()
    try:
        compare_schema(differences, of_the_schema(expected.entries), live_entries(database), ours=ours)
    except (RestoreError, BackupReadError, BackupValidationError) as error:
        return [f"the restore is done, but its schema was not compared: {error.message}"]
    return differences.errors + differences.remarks


@contextmanager
def _session(database: Database) -> Iterator[_InPlace]:
    with as_restore_errors(), database.connect() as connection:
        connection.prepare_threshold = None
        connection.execute(load_session().encode())
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (str(ATTEMPT_MS),))
        yield _InPlace(connection, database.name)


def _clear(session: _InPlace) -> None:
    try:
        # All locks at once: dropping one by one would keep the first locks while it waits for the next.
        lock_all(session, [(f"lock on {name}", statement) for name, statement in session.query(_LOCKS)])
        kept = empty(session)
    except RestoreBusyError as error:
        hint = "stop the sessions that use the database (see pg_stat_activity), and restore again"
        raise RestoreBusyError(error.message, hint) from error.__cause__
    session.schemas = {name for (name,) in session.query(_QUOTED, sorted(kept))}
    session.extensions = dict(session.query(_NOT_OURS))


def _load(session: _InPlace, archive: Archive, search_path: str | None) -> None:
    rows: Counter[TableName] = Counter()
    set_operator_path([session], search_path)
    path = FunctionPath(session, search_path)
    runner = SqlRunner([session], path.on_entry)
    for is_data, segments in path.along(archive):
        if is_data:
            loader = DataLoader(archive, segments, lambda _: None)
            loader.load([session])
            rows.update(loader.rows)
        else:
            runner.run(without_pg_attver(scan(archive.joined(segments))))
    runner.finish()
    reset_file_settings([session])
    path.reset()
    check_rows(rows, {table.table: table.rows for table in archive.index.tables})


def _prove(session: _InPlace, name: str, archive: Archive, expected: Content, facts: ServerFacts | None) -> list[str]:
    """Compare what the transaction sees with the archive."""
    own = server_facts.read_settings(session.connection)
    settings = own | ({"client_encoding": expected.encoding} if expected.encoding else {})
    if expected.quotes_all:
        settings["quote_all_identifiers"] = "on"
    with session.translated("the proof"):
        use_read_settings(session.connection, facts.read_settings if facts else settings)
        session.connection.execute("SET row_security = off")  # rows that a policy would hide raise an error

        def read(table: TableName) -> TableDigest | None:
            return table_digest(session.connection, table, archive.segments_of(table)[0].columns)

        found = {table.table: digest for table in archive.index.tables if (digest := read(table.table)) is not None}
        for table in set(server_facts.dumped_tables(session.connection).values()) - found.keys():
            if extra := table_digest(session.connection, table):
                found[table] = extra
        use_read_settings(session.connection, {"client_encoding": "UTF8"})
        differences = Differences()
        comparable = comparable_tables(found, expected, archive)
        if facts is None:
            join_partitions(comparable, leaves_of_partitioned(session.connection), archive, found.get)
            count_alone(differences, comparable, archive)
        compare_tables(differences, archive.index.tables, comparable, found.get, ours=facts is not None)
        sequences = _sequences(session, expected.sequences, expected.encoding)
        compare_values(differences, expected, sequences, _large_objects(session), ours=facts is not None)
    return differences.require_equal(name)


def _sequences(session: _InPlace, names: Iterable[bytes], encoding: str | None) -> dict[bytes, bytes]:
    values: dict[bytes, bytes] = {}
    for literal in names:
        spelled = literal.decode(python_encoding(encoding or "UTF8"), errors="backslashreplace")
        row = session.query(_SEQUENCE, spelled.strip("'").replace("''", "'"))
        if row:
            query = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(*row[0]))
            value, called = session.connection.execute(query).fetchall()[0]
            values[literal] = b"%d, %s" % (value, b"true" if called else b"false")
    return values


def _large_objects(session: _InPlace) -> LargeObjects:
    """The large objects of the database. Long ones are read in parts."""
    objects = LargeObjects()
    with session.connection.cursor("large_objects", binary=True) as cursor:
        cursor.itersize = _ROWS
        for oid, start in cursor.execute(_OBJECTS, (_PART_BYTES,)):
            if len(start) < _PART_BYTES:
                objects.add(oid, start.hex().encode())
                continue
            part, offset = start, 0
            objects.begin(oid)
            while part:
                objects.write(part.hex().encode())
                offset += len(part)
                part = session.query(_PART, oid, offset, _PART_BYTES)[0][0]
    return objects
