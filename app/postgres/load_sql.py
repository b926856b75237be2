"""Runs a dump's SQL: in its order, but for index builds and constraints, which run beside one another.

Consecutive entries that only build indexes, or only check foreign keys, are a batch: their order is free, and those
that would wait for each other's locks are kept apart. Comments on what a batch makes wait for its end. Every other
entry runs alone, where it stands, so that any order that pg_dump chose stays valid.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from app.archive import lexer
from app.archive.lint import problem_of
from app.archive.scanner import Piece
from app.errors import RestoreError, RestoreValidationError
from app.postgres.load_entries import PARALLEL, Entry, Locks, header_of
from app.postgres.load_session import Session, is_setting, sqlstate_of
from app.postgres.load_together import together

_DEADLOCK = "40P01"
_RESTRICT = (b"\\restrict ", b"\\unrestrict ")


class SqlRunner:
    """Runs the SQL of an archive on the first of some sessions, batches on all of them."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self._sessions = sessions
        self._main = sessions[0]
        self._name = ""
        self._entry: Entry | None = None
        self._batch: list[Entry] = []
        self._comments: list[bytes] = []
        self._type = b""

    def run(self, pieces: Iterable[Piece]) -> None:
        """Run some SQL, a piece a statement.

        Raises:
            RestoreValidationError: there is data or a command among it.
            RestoreError: the server refuses a statement, or goes away.
        """
        before = self._main.connection.info.transaction_status
        for piece in pieces:
            if piece.head.table is not None:
                message = f"rows of table {piece.head.table} stand among the SQL"
                raise RestoreValidationError(message, "the manifest does not fit the file: run 'residency-backup sync'")
            self._unit(piece.data)
        self._flush()
        if self._main.connection.info.transaction_status != before:
            message = "a transaction that the file begins spans table data"
            raise RestoreValidationError(message, "make the dump without --single-transaction")

    def _unit(self, unit: bytes) -> None:
        start = lexer.statement_start(unit + b"\n ", 0)
        end = len(unit) if start == lexer.UNFINISHED else start
        if header := header_of(unit, end):
            self._begin(*header)
        statement = unit[end:].strip()
        if not statement or statement.startswith(_RESTRICT):
            return
        if problem := problem_of(statement):  # again: a manifest may cut the text elsewhere than the lint saw it cut
            raise RestoreValidationError(f"{self._name or 'the SQL'}: {problem[0]}", problem[1])
        if is_setting(statement):
            self._main.run(statement, "a setting")  # stands in front of the entry that it is meant for
        elif self._entry is not None:
            self._entry.statements.append(statement)
        elif self._type == b"COMMENT" and self._batch:
            self._comments.append(statement)
        else:
            self._flush()
            self._main.run(statement, self._name or "the dump's settings")

    def _begin(self, type_: bytes, name: str) -> None:
        """A new entry: of the batch, after it, or none of its business."""
        self._type, self._name = type_, f"{type_.decode().lower()} {name}"
        self._entry = None
        if type_ not in PARALLEL:
            return
        if self._batch and PARALLEL[self._batch[0].type] != PARALLEL[type_]:
            self._flush()
        self._entry = Entry(type_, self._name, self._main.state)
        self._batch.append(self._entry)

    def _flush(self) -> None:
        """Run the batch, and then the comments on what it made."""
        batch, self._batch = self._batch, []
        comments, self._comments = self._comments, []
        if batch:
            self._entry = None
            _Batch(batch).run(self._sessions)
        for comment in comments:
            self._main.run(comment, "a comment")


class _Batch:
    """Entries whose order is free."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._free = [(each, locks) for each in entries if (locks := each.locks) is not None]
        self._alone = [each for each in entries if each.locks is None]
        self._running: list[Locks] = []
        self._changed = threading.Condition()

    def run(self, sessions: Sequence[Session]) -> None:
        """Run all of them.

        Raises:
            RestoreError: the first that failed.
        """
        if len(self._free) > 1:
            together(sessions[: len(self._free)], self._work)
        else:
            self._alone = [each for each, _ in self._free] + self._alone
        for entry in self._alone:
            _run(sessions[0], entry)

    def _work(self, session: Session, stopped: Callable[[], bool]) -> None:
        while (taken := self._take(stopped)) is not None:
            entry, locks = taken
            try:
                _run(session, entry)
            except RestoreError as error:
                if sqlstate_of(error) != _DEADLOCK:
                    raise
                self._alone.append(entry)
            finally:
                with self._changed:
                    self._running.remove(locks)
                    self._changed.notify_all()

    def _take(self, stopped: Callable[[], bool]) -> tuple[Entry, Locks] | None:
        """The next entry that waits for none that runs."""
        with self._changed:
            while self._free and not stopped():
                for number, (_, locks) in enumerate(self._free):
                    if not any(locks.bars(each) for each in self._running):
                        self._running.append(locks)
                        return self._free.pop(number)
                self._changed.wait(1)
        return None


def _run(session: Session, entry: Entry) -> None:
    session.follow(entry.state)
    while entry.statements:  # what ran stays done, should a deadlock bring the rest here again
        session.run(entry.statements[0], entry.name)
        del entry.statements[0]
