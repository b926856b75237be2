"""What a restore could not evaluate, because its functions find what they name by the search_path alone.

A dump is loaded under an empty search_path, and so are checks, generated columns and indexes evaluated, domains
checked and materialized views filled. Each expression that calls a function of users is tried under that, and so is
each function that something is compared by: on some rows of its table. Nothing is written, and what a function does is
undone; see `relying_try` for whose rights it runs with.
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
# Somebody may wait for what the snapshot has locked.
BESIDE_SECONDS = 2.0
ALONE_SECONDS = 10.0
_SHOWN = 10
_ROWS = 3  # of those that have values in most of the columns
_LOOKED_AT = 1000
_PAGES = 32  # spread over the table
_PLACES = 1024  # on all of them
_LINES = 292  # that a page can have at most
_SCHEMAS = "SELECT pg_catalog.current_schemas(false)::pg_catalog.text[]"
_SHOWN_PATH = "SELECT coalesce(string_agg(quote_ident(s), ', '), 'public') FROM unnest(%s::text[]) s"


@dataclass(frozen=True, slots=True)
class _Object:
    """What calls functions that may look a name up; `own` are those of users."""

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
        """What evaluates it, on many rows and on few; all of its names are qualified."""
        if self.kind == "materialized view":
            return (f"SELECT * FROM ({self.says.rstrip(';')}) filled LIMIT 1",)
        table = f"ONLY {quoted(*self.table)}"
        few = f"SELECT {self.says} FROM {table} WHERE ctid {SAME} ANY (ARRAY({self._full(table)}))"
        return f"{few} OR ctid {SAME} ANY ('{{{','.join(self._places())}}}'::pg_catalog.tid[])", few

    def _full(self, table: str) -> str:
        """Of the first rows some that have most values: a function that is STRICT is not called with NULL."""
        columns = ", ".join(map(quoted, self.columns))
        looked_at = f"SELECT ctid{columns and ', '}{columns} FROM {table} LIMIT {_LOOKED_AT}"
        full = f"ORDER BY pg_catalog.num_nulls({columns})" if columns else ""
        return f"SELECT ctid FROM ({looked_at}) looked_at {full} LIMIT {_ROWS}"

    def _places(self) -> Iterator[str]:
        """Places all over the table, of rows and of none: it is not read for them."""
        pages = sorted({self.pages * part // _PAGES for part in range(_PAGES)} | {max(self.pages - 1, 0)})
        for page in pages:
            for line in range(1, min(_LINES, _PLACES // len(pages)) + 1):
                yield f'"({page},{line})"'


def find_doubts(connection: psycopg.Connection, database: Database, snapshot: str | None = None) -> tuple[Doubt, ...]:
    """Look for what relies on search_path, and try it; what cannot be tried now is no reason not to go on.

    Args:
        connection: asks the catalogs, and is left as it was.
        database: the same; a connection of its own tries, if there is anything to try.
        snapshot: what the server calls an exported one, which shows the rows to try it on.

    Raises:
        psycopg.OperationalError: the connection was lost.
    """
    sure: list[Doubt] = []
    try:
        found = _look(connection, database.name, sure)
        if not found:
            return tuple(sure)
        roles = Roles.of(connection, {owner for each in found for owner in each.owners})
        path = _own_path(connection)
        with database.connect() as trying:
            seconds = BESIDE_SECONDS if snapshot else ALONE_SECONDS
            tried = _tried(start_trials(trying, roles, snapshot), found, time.monotonic() + seconds)
            return (*sure, *(_doubt_of(database.name, path, *each) for each in tried))
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
    """What is to be tried; what is sure without is added to the list."""
    with connection.transaction(force_rollback=True):  # which takes the setting back, also within a transaction
        connection.execute("SET LOCAL search_path = ''")
        sure += scattered(connection, database)
        sure += unwritable(connection, partial(_own_path, connection))
        if not _one(connection, ANY):
            return []
        query = QUERY.replace(VALUE, f"value_{secrets.token_hex(16)}")
        return list(_distinct(connection.execute(query.encode()).fetchall()))


def _distinct(rows: Iterable[tuple[Any, ...]]) -> Iterator[_Object]:
    """Of what all partitions of a table have alike, that of the largest."""
    seen: dict[tuple[Any, ...], TableName] = {}
    for kind, name, says, schema, relation, columns, functions, owners, root, pages, own in rows:
        table = TableName(schema, relation)
        if says and seen.setdefault((root, kind, says, tuple(functions)), table) == table:
            lists = tuple(columns or ()), tuple(functions), tuple(owners)
            yield _Object(kind, name, says, table, *lists, pages, tuple(own))


def _tried(trying: Trials, found: Iterable[_Object], deadline: float) -> Iterator[tuple[_Object, Outcome]]:
    left: list[str] = []
    for each in found:
        name = f"{each.kind} {each.name}"
        if time.monotonic() > deadline:
            left.append(name)
        outcome = trying.outcome(each.statements, each.owners) if not left else UNTRIED
        if outcome.said is not None:
            yield each, outcome
    if left:
        log.warning("backup had no time to try all functions", left=left[:_SHOWN], of=len(left))


def _doubt_of(database: str, path: str, tried: _Object, outcome: Outcome) -> Doubt:
    name, said, lasting = f"{tried.kind} {tried.name}", outcome.said or "", outcome.lasting
    table = quoted(*tried.table)
    if said == BROKEN and tried.kind == "column":
        said = "a value of it names an index, which is made when the rows are loaded"
        mending = in_psql(database, f"ALTER TABLE {table} ALTER {quoted(*tried.columns[:1])} TYPE text")
        return Doubt(name, (), said, True, path, mending)  # noqa: FBT003 -- no path makes the index
    if said == BROKEN and (lasting or not outcome.told):
        said = "a row breaks it today, or does in a database of another name: a restore does not load that"
        mending = "mend the row, or the constraint"
        if tried.kind == "check":
            constraint = tried.name.rpartition(" of ")[0]
            mending = in_psql(database, f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")
        mending = mending if outcome.told else f"{with_path(path)}; if that does not help, {mending}"
        return Doubt(name, tried.functions, said, lasting, path, mending)
    if tried.own:
        return Doubt(name, tried.own, said, lasting, path)
    mending = "look at what it names" if lasting else with_path(path)
    return Doubt(name, tried.functions, f"a restore has no search_path: {said}", lasting, path, mending)


def _one(connection: psycopg.Connection, query: str, *params: object) -> Any:
    row = connection.execute(query.encode(), params or None).fetchone()
    return row[0] if row else None
