"""Finds objects that a restore could not evaluate, because their functions find what they name by search_path.

A dump is loaded under an empty search_path: checks, generated columns, indexes, domains and materialized views are
evaluated under it. So each expression that calls a function of users, and each function that values are compared by, is
tried under an empty search_path on some rows of its table. Every trial is rolled back; see `trials` for the rights that
it runs with.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
import structlog

from app.archive.index import TableName
from app.domain.doubts import Doubt
from app.domain.psql import in_psql
from app.errors import BackupError
from app.postgres.configured_path import under_configured_path
from app.postgres.database import Database
from app.postgres.dump.search_path.compared_types import VALUE
from app.postgres.dump.search_path.query import ANY, QUERY
from app.postgres.dump.search_path.trials import BROKEN, UNTRIED, Outcome, Roles, Trials, start_trials
from app.postgres.dump.search_path.unqualifiable import scattered, unwritable, with_path
from app.postgres.quoting import SAME, quoted
from app.postgres.server_messages import message_of

log = structlog.get_logger(__name__)
# While a snapshot is held, other sessions may wait for its locks.
BESIDE_SECONDS = 2.0
ALONE_SECONDS = 10.0
_SHOWN = 10
_ROWS = 3  # with values in most columns
_LOOKED_AT = 1000
_PAGES = 32  # spread over the table
_PLACES = 1024  # on all of them
_LINES = 292  # that a page can have at most
_SCHEMAS = "SELECT pg_catalog.current_schemas(false)::pg_catalog.text[]"
_SHOWN_PATH = "SELECT coalesce(string_agg(quote_ident(s), ', '), 'public') FROM unnest(%s::text[]) s"


@dataclass(frozen=True, slots=True)
class _Object:
    """An object that calls functions which may look up names; `own` are those of users."""

    kind: str
    name: str
    says: str
    table: TableName
    columns: tuple[str, ...]
    functions: tuple[str, ...]
    owners: tuple[str, ...]
    pages: int
    own: tuple[str, ...]

    @property
    def statements(self) -> tuple[str, ...]:
        """Statements that evaluate it, on many rows and on few. All their names are qualified."""
        if self.kind == "materialized view":
            return (f"SELECT * FROM ({self.says.rstrip(';')}) filled LIMIT 1",)
        table = f"ONLY {quoted(*self.table)}"
        few = f"SELECT {self.says} FROM {table} WHERE ctid {SAME} ANY (ARRAY({self._full(table)}))"
        return f"{few} OR ctid {SAME} ANY ('{{{','.join(self._places())}}}'::pg_catalog.tid[])", few

    def _full(self, table: str) -> str:
        """The ctids of rows with most values among the first ones: a STRICT function is not called with NULL."""
        columns = ", ".join(map(quoted, self.columns))
        looked_at = f"SELECT ctid{columns and ', '}{columns} FROM {table} LIMIT {_LOOKED_AT}"
        full = f"ORDER BY pg_catalog.num_nulls({columns})" if columns else ""
        return f"SELECT ctid FROM ({looked_at}) looked_at {full} LIMIT {_ROWS}"

    def _places(self) -> Iterator[str]:
        """Ctids spread over the table, of existing rows or not: reading the table to find rows would take too long."""
        pages = sorted({self.pages * part // _PAGES for part in range(_PAGES)} | {max(self.pages - 1, 0)})
        for page in pages:
            for line in range(1, min(_LINES, _PLACES // len(pages)) + 1):
                yield f'"({page},{line})"'


def find_doubts(connection: psycopg.Connection, database: Database, snapshot: str | None = None) -> tuple[Doubt, ...]:
    """Find and try objects that may rely on search_path. If it fails, a warning is logged.

    Args:
        connection: queries the catalogs; its state is unchanged afterwards.
        database: the same; trials run on another connection.
        snapshot: id of an exported snapshot that shows the rows to try; None for the present.

    Raises:
        psycopg.OperationalError: the connection was lost.
    """
    sure: list[Doubt] = []
    try:
        objects = _look(connection, database.name, sure)
        if not objects:
            return tuple(sure)
        roles = Roles.of(connection, {owner for found in objects for owner in found.owners})
        path = _own_path(connection)
        with database.connect() as trying:
            seconds = BESIDE_SECONDS if snapshot else ALONE_SECONDS
            outcomes = _tried(start_trials(trying, roles, snapshot), objects, time.monotonic() + seconds)
            return (*sure, *(_doubt_of(database.name, path, found, outcome) for found, outcome in outcomes))
    except (psycopg.Error, BackupError) as error:
        if connection.closed:
            raise
        reason = error.message if isinstance(error, BackupError) else message_of(error)
        log.warning("backup does not know whether functions rely on search_path", reason=reason)
        return tuple(sure)


def _own_path(connection: psycopg.Connection) -> str:
    with under_configured_path(connection):
        schemas = _one(connection, _SCHEMAS)
    return str(_one(connection, _SHOWN_PATH, schemas))


def _look(connection: psycopg.Connection, database: str, sure: list[Doubt]) -> list[_Object]:
    """The objects to try. Doubts that are sure without a trial are added to `sure`."""
    with connection.transaction(force_rollback=True):  # resets the setting, also within a transaction
        connection.execute("SET LOCAL search_path = ''")
        sure += scattered(connection, database)
        sure += unwritable(connection, partial(_own_path, connection))
        if not _one(connection, ANY):
            return []
        query = QUERY.replace(VALUE, f"value_{secrets.token_hex(16)}")
        return list(_distinct(connection.execute(query.encode()).fetchall()))


def _distinct(rows: Iterable[tuple[Any, ...]]) -> Iterator[_Object]:
    """Objects without copies: of those that all partitions of a table have, the largest partition's."""
    seen: dict[tuple[Any, ...], TableName] = {}
    for kind, name, says, schema, relation, columns, functions, owners, root, pages, own in rows:
        table = TableName(schema, relation)
        if says and seen.setdefault((root, kind, says, tuple(functions)), table) == table:
            lists = tuple(columns or ()), tuple(functions), tuple(owners)
            yield _Object(kind, name, says, table, *lists, pages, tuple(own))


def _tried(trying: Trials, objects: Iterable[_Object], deadline: float) -> Iterator[tuple[_Object, Outcome]]:
    untried: list[str] = []
    for tried_object in objects:
        name = f"{tried_object.kind} {tried_object.name}"
        if time.monotonic() > deadline:
            untried.append(name)
        outcome = trying.outcome(tried_object.statements, tried_object.owners) if not untried else UNTRIED
        if outcome.error is not None:
            yield tried_object, outcome
    if untried:
        log.warning("backup had no time to try all functions", untried=untried[:_SHOWN], of=len(untried))


def _doubt_of(database: str, path: str, tried: _Object, outcome: Outcome) -> Doubt:
    name, message, lasting = f"{tried.kind} {tried.name}", outcome.error or "", outcome.lasting
    table = quoted(*tried.table)
    if message == BROKEN and tried.kind == "column":
        reason = "a value in it names an index, which a restore creates after the rows are loaded"
        mending = in_psql(database, f"ALTER TABLE {table} ALTER {quoted(*tried.columns[:1])} TYPE text")
        return Doubt(name, (), reason, True, path, mending)  # noqa: FBT003 -- no path creates the index
    if message == BROKEN and (lasting or not outcome.lasting_known):
        reason = "a row violates it, today or in a database of another name: a restore cannot load that row"
        mending = "change the row, or the constraint"
        if tried.kind == "check":
            constraint = tried.name.rpartition(" of ")[0]
            mending = in_psql(database, f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
        mending = mending if outcome.lasting_known else f"{with_path(path)}; if that does not help, {mending}"
        return Doubt(name, tried.functions, reason, lasting, path, mending)
    if tried.own:
        return Doubt(name, tried.own, message, lasting, path)
    mending = "look at what it names" if lasting else with_path(path)
    return Doubt(name, tried.functions, f"a restore has no search_path: {message}", lasting, path, mending)


def _one(connection: psycopg.Connection, query: str, *params: object) -> Any:
    row = connection.execute(query.encode(), params or None).fetchone()
    return row[0] if row else None
