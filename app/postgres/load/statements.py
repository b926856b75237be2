"""Runs a dump's SQL in its order, except index builds and constraints, which run in parallel.

Statements of kinds of which a dump has many, and indexes and constraints of small tables, are run in groups: one round
trip and one transaction each. If the server refuses a group, its statements run one by one.

Consecutive entries that only build indexes, or only check foreign keys, form a batch. Their order is free, and entries
whose locks conflict do not run at the same time. Comments on objects of a batch run after it. Every other entry runs
alone, in its place, so that any order that pg_dump chose stays valid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from app.archive import lexer
from app.archive.inspect.grammar import Judge
from app.archive.inspect.grammar_rows import insert_target
from app.archive.inspect.lint import check_statement
from app.archive.inspect.tokens import StringSyntax
from app.archive.pg_dump import TRANSACTION
from app.archive.scanner import Chunk
from app.errors import RestoreValidationError
from app.postgres.dispensable import remark_dropped_roles, retry_views
from app.postgres.load.entries import PARALLEL, Entry, entry_header
from app.postgres.load.large_objects import load_run
from app.postgres.load.parallel import GROUP_STATEMENTS, ParallelEntries
from app.postgres.load.rows import InsertRun
from app.postgres.session import SETTING, RestoreSession

# Types of entries that may be one transaction with others: their statements call no function of users, and what they
# make is not looked at before the group was run.
_GROUPED = {
    b"ACL",
    b"COMMENT",
    b"DEFAULT",
    b"INDEX ATTACH",
    b"SEQUENCE",
    b"SEQUENCE OWNED BY",
    b"SEQUENCE SET",
    b"TABLE",
    b"TABLE ATTACH",
}
_GROUPED_SETTING = re.compile(rb"SET default_table(?:space|_access_method) = ")


class SqlRunner:
    """Runs the SQL of an archive on the first session, and batches on all sessions.

    `on_entry` is called with the type of each entry before it runs.

    Attributes:
        small: names of small tables, as the file spells them: whoever loads their rows adds them.
    """

    def __init__(self, sessions: Sequence[RestoreSession], on_entry: Callable[[bytes], None] = lambda _: None) -> None:
        self._sessions = sessions
        self._on_entry = on_entry
        self._main = sessions[0]
        self._was_in_transaction = self._main.in_transaction
        self._name = ""
        self._entry: Entry | None = None
        self._batch: list[Entry] = []
        self._comments: list[bytes] = []
        self.small: set[bytes] = set()
        self._group: list[tuple[bytes, str]] = []
        self._type = b""
        self._judge = Judge()
        self._inserts = InsertRun(self._main)

    def run(self, chunks: Iterable[Chunk]) -> None:
        """Run some SQL, one chunk for each statement.

        Raises:
            RestoreValidationError: there is table data in it, or a statement that no dump has.
            RestoreError: the server refuses a statement, or goes away.
        """
        with self._inserts:
            for chunk in chunks:
                if chunk.header.table is not None:
                    message = f"rows of table {chunk.header.table} are among the SQL"
                    hint = "the manifest does not fit the file; to rebuild it: residency-backup sync"
                    raise RestoreValidationError(message, hint)
                if chunk.objects:
                    self._objects(chunk.data)
                else:
                    self._unit(chunk.data)
        self._flush()

    def finish(self) -> None:
        """End the load: there is no more SQL and no more data.

        Raises:
            RestoreValidationError: a transaction that the file began is still open.
        """
        retry_views(self._main)
        remark_dropped_roles(self._main)
        if self._main.in_transaction != self._was_in_transaction:
            message = "the file begins a transaction and does not end it"
            raise RestoreValidationError(message, "no dump of pg_dump has this: look at the end of the file")

    def _unit(self, unit: bytes) -> None:
        end = lexer.start_of(unit)
        if header := entry_header(unit, end):
            self._begin(*header)
        statement = unit[end:].strip()
        if not statement:
            return
        # The file was linted before; this checks the very bytes that run, under the session's current settings.
        self._judge.syntax = syntax = syntax_of(self._main)
        if check_statement(self._judge, statement, self._name or "the dump's settings"):
            return  # the statement is skipped, as the lint says
        if statement.startswith(b"\\"):
            return  # \restrict, a command of psql
        if table := insert_target(statement, syntax):
            self._insert(table, statement)
            return
        self._inserts.end()
        if TRANSACTION.match(statement):
            self._flush()
            self._entry = None
            self._main.run(statement, "a transaction")
        elif is_setting(statement):
            self._set(statement)
        elif self._entry is not None:
            self._entry.statements.append(statement)
        elif self._type == b"COMMENT" and self._batch:
            self._comments.append(statement)
        else:
            self._run(statement)

    def _set(self, statement: bytes) -> None:
        """Run a setting before the entry that it is meant for."""
        if self._group and _GROUPED_SETTING.match(statement):
            self._group.append((statement, "a setting"))
        else:
            self._run_group()
            self._main.run(statement, "a setting")

    def _run(self, statement: bytes) -> None:
        """Run a statement in its place, or with those that follow it."""
        if not (self._type in _GROUPED and self._main.runs_together):
            self._flush()
            self._main.run(statement, self._name or "the dump's settings")
            return
        if self._batch:
            self._flush()
        self._group.append((statement, self._name))
        if len(self._group) == GROUP_STATEMENTS:
            self._run_group()

    def _run_group(self) -> None:
        """Run the statements that wait to be run together."""
        group, self._group = self._group, []
        if len(group) > 1 and self._main.run_together([statement for statement, _ in group]):
            return
        for statement, name in group:
            self._main.run(statement, name)

    def _objects(self, run: bytes) -> None:
        """Run statements about large objects, which no batch waits for."""
        self._inserts.end()
        self._flush()
        self._entry = None
        load_run(self._main, run, "large objects")

    def _insert(self, table: bytes, statement: bytes) -> None:
        """Run an INSERT. Before the first one after other statements, the table's name is checked."""
        if table not in self._inserts.tables:
            self._flush()
            self._entry = None
        self._inserts.add(table, statement, self._name or "a row")

    def _begin(self, type_: bytes, name: str) -> None:
        """Begin an entry: a part of the batch, or one that runs after it."""
        self._type, self._name = type_, f"{type_.decode().lower()} {name}"
        self._entry = None
        self._inserts.end()
        if type_ not in _GROUPED:
            self._run_group()
        if type_ == b"EVENT TRIGGER":
            self._flush()  # everything before it must be done before the trigger can fire
        self._on_entry(type_)
        if type_ not in PARALLEL:
            return
        if self._batch and PARALLEL[self._batch[0].type] != PARALLEL[type_]:
            self._flush()
        self._entry = Entry(type_, self._name, self._main.state)
        self._batch.append(self._entry)

    def _flush(self) -> None:
        """Run what waits: statements to be run together, the batch, then the comments on its objects."""
        self._run_group()
        batch, self._batch = self._batch, []
        comments, self._comments = self._comments, []
        if batch:
            self._entry = None
            # Objects that an open transaction of the file created are visible to its session only.
            ParallelEntries(batch, self.small).run(self._sessions[:1] if self._main.in_transaction else self._sessions)
        for comment in comments:
            self._main.run(comment, "a comment")


def syntax_of(session: RestoreSession) -> StringSyntax:
    """The settings under which the server parses the session's next statement."""
    parameter = session.connection.info.parameter_status
    return StringSyntax(parameter("client_encoding") or "UTF8", parameter("standard_conforming_strings") != "off")


def is_setting(statement: bytes) -> bool:
    """Whether a statement only sets a setting of the session."""
    return SETTING.match(statement) is not None
