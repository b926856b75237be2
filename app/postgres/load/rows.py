"""Rows go into tables of the database that is loaded, and nowhere else.

A view may be one of a shared catalog, and a foreign table one of another database: what is added to them stays when the
load fails. What a name means, the server knows.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

import psycopg
from psycopg.adapt import Dumper

from app.archive.inspect.cursor import NO_DUMP
from app.errors import RestoreValidationError
from app.postgres.session import RestoreSession

_FIRST_OF_USERS = 16384  # a schema of the server's may have been renamed
# All is named in full: the file has set the search_path, and may have put names of its own before the server's.
_WHAT = f"""
    SELECT relkind OPERATOR(pg_catalog.=) ANY ('{{r,p}}'), relhasrules,
        nspname OPERATOR(pg_catalog.~) '^pg_' OR c.oid::pg_catalog.int8 OPERATOR(pg_catalog.<) {_FIRST_OF_USERS},
        relkind OPERATOR(pg_catalog.=) 'f' OR EXISTS (
            SELECT FROM pg_catalog.pg_partition_tree(c.oid) t
                JOIN pg_catalog.pg_class p ON p.oid OPERATOR(pg_catalog.=) t.relid
            WHERE p.relkind OPERATOR(pg_catalog.=) 'f')
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) relnamespace
    WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%t)"""
_FOREIGN_DATA = "make the dump without --include-foreign-data"


class _Spelling:
    """A name in the file's own bytes."""

    def __init__(self, name: bytes) -> None:
        self.name = name


class _SpellingDumper(Dumper):
    oid = psycopg.adapters.types["text"].oid

    def dump(self, obj: _Spelling) -> bytes:
        return obj.name


class InsertRun:
    """The INSERTs of a file that follow one another: one transaction, if they are no part of a greater one.

    An error that ends the block of this context manager rolls back what was inserted and not committed yet.
    """

    def __init__(self, session: RestoreSession) -> None:
        self.tables: set[bytes] = set()
        self._session = session
        self._transaction = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.tables.clear()
        self._transaction.__exit__(kind, error, trace)

    def add(self, table: bytes, statement: bytes, what: str) -> None:
        """Run one more; what a table's name means is looked at anew in each run of INSERTs.

        Args:
            table: as the statement spells it.
            statement: in the file's own encoding.
            what: what to call it in an error.

        Raises:
            RestoreValidationError: as `require_table`.
            RestoreError: as `Session.run`.
        """
        if table not in self.tables:
            require_table(self._session, table, insert=True)
            self.tables.add(table)
        if not self._session.in_transaction:
            self._transaction.enter_context(self._session.transaction(what))
        self._session.run(statement, what)

    def end(self) -> None:
        """Commit them: what comes next is no row.

        Raises:
            RestoreError: the server refuses it or goes away.
        """
        self.tables.clear()
        self._transaction.close()


def require_table(session: RestoreSession, name: bytes, *, insert: bool) -> None:
    """Make sure that rows may be added under a name.

    Args:
        session: in the state in which the rows are added.
        name: as the statement spells it, in the session's encoding.
        insert: whether by INSERT, which rules turn into something else.

    Raises:
        RestoreValidationError: it is no table, or rows of it end up elsewhere. That there is none, the server says.
    """
    with session.translated("a table"), session.connection.cursor() as cursor:
        cursor.adapters.register_dumper(_Spelling, _SpellingDumper)
        found = cursor.execute(_WHAT, (_Spelling(name),)).fetchone()
    if found is None:
        return
    is_table, has_rules, is_servers, is_foreign = found
    shown = name.decode(errors="backslashreplace")
    if is_foreign:
        raise RestoreValidationError(f"rows of {shown} would be written to another server", _FOREIGN_DATA)
    if not is_table or is_servers or (insert and has_rules):
        raise RestoreValidationError(f"rows for {shown}, which is no table of the dump's", NO_DUMP)
