"""Makes sure that rows are added to tables of the loaded database, and to nothing else.

A view may be on a shared catalog, and a foreign table belongs to another database: rows that are added to them stay if
the load fails. Only the server knows what a name refers to.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import psycopg
from psycopg.adapt import Dumper

from app.archive.inspect.cursor import NO_DUMP
from app.errors import RestoreValidationError
from app.postgres.session import RestoreSession

_FIRST_OF_USERS = 16384  # FirstNormalObjectId; a schema of the server may have been renamed
# All names are qualified: the file has set the search_path, and may have put its own names before the server's.
_WHAT = f"""
    SELECT number, relkind OPERATOR(pg_catalog.=) ANY ('{{{{r,p}}}}'), relhasrules,
        nspname OPERATOR(pg_catalog.~) '^pg_' OR c.oid::pg_catalog.int8 OPERATOR(pg_catalog.<) {_FIRST_OF_USERS},
        relkind OPERATOR(pg_catalog.=) 'f' OR EXISTS (
            SELECT FROM pg_catalog.pg_partition_tree(c.oid) t
                JOIN pg_catalog.pg_class p ON p.oid OPERATOR(pg_catalog.=) t.relid
            WHERE p.relkind OPERATOR(pg_catalog.=) 'f')
    FROM (VALUES {{}}) wanted (number, name)
        JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(wanted.name)
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) relnamespace
    ORDER BY number USING OPERATOR(pg_catalog.<)"""
_FOREIGN_DATA = "make the dump without --include-foreign-data"


class _Spelling:
    """A name as the file spells it, in its own encoding."""

    def __init__(self, name: bytes) -> None:
        self.name = name


class _SpellingDumper(Dumper):
    oid = psycopg.adapters.types["text"].oid

    def dump(self, obj: _Spelling) -> bytes:
        return obj.name


class InsertRun:
    """Consecutive INSERTs of a file. They run in one transaction, unless they are part of a larger one.

    An error in the block of this context manager rolls back the rows that are not committed yet.
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
        """Run one more INSERT. Each table's name is checked once in a run.

        Args:
            table: name, as the statement spells it.
            statement: in the file's own encoding.
            what: its name in an error message.

        Raises:
            RestoreValidationError: as `require_tables`.
            RestoreError: as `Session.run`.
        """
        if table not in self.tables:
            require_tables(self._session, [table], insert=True)
            self.tables.add(table)
        if not self._session.in_transaction:
            self._transaction.enter_context(self._session.transaction(what))
        self._session.run(statement, what)

    def end(self) -> None:
        """Commit the rows: the next statement is no INSERT.

        Raises:
            RestoreError: the server refuses it or goes away.
        """
        self.tables.clear()
        self._transaction.close()


def require_tables(session: RestoreSession, names: Sequence[bytes], *, insert: bool = False) -> None:
    """Make sure that names refer to tables of the database.

    Args:
        session: with the settings under which the rows are added.
        names: as the statements spell them, in the session's encoding.
        insert: whether the rows are added by INSERT, which rules may rewrite.

    Raises:
        RestoreValidationError: one is no table, or its rows are stored elsewhere. A missing table is not an error here.
    """
    query = _WHAT.format(", ".join(f"({number}, %t)" for number in range(len(names))))
    with session.translated("a table"), session.connection.cursor() as cursor:
        cursor.adapters.register_dumper(_Spelling, _SpellingDumper)
        rows = cursor.execute(query.encode(), [_Spelling(name) for name in names]).fetchall()
    for number, is_table, has_rules, is_system, is_foreign in rows:
        shown = names[number].decode(errors="backslashreplace")
        if is_foreign:
            raise RestoreValidationError(f"rows of {shown} would be written to another server", _FOREIGN_DATA)
        if not is_table or is_system or (insert and has_rules):
            raise RestoreValidationError(f"rows for {shown}, which is no table of the dump's", NO_DUMP)
