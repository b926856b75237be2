"""Runs ANALYZE after a load: without statistics, the first queries on the restored database would be slow.

Autovacuum would do it too, but only a minute or more later, and not if it is switched off. The time for a table grows
with its columns: a table of 500 takes several times as long as its load. So a wide table gets coarse statistics: the
more columns, the smaller the statistics target, down to 10. That ANALYZE names the columns, and so leaves the count of
changes as it is, by which autovacuum then analyzes the table with the target that is configured.

Small tables are analyzed many at a time. A restore does not fail because of statistics.

Source: PostgreSQL documentation, "ANALYZE" and "The Autovacuum Daemon"; do_analyze_rel in analyze.c, for the count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import structlog
from psycopg import sql

from app.errors import RestoreError, TargetUnavailableError
from app.postgres.load.batches import SMALL_BYTES
from app.postgres.load.threads import run_on_all
from app.postgres.session import RestoreSession, sqlstate_of

log = structlog.get_logger(__name__)
WIDE_COLUMNS = 25  # up to here, a table gets the configured target
_WIDE_TARGETS = 2_500  # of all columns of a wide table, together
_LEAST_TARGET = 10
_GROUP_TABLES = 100
_CANCELLED = "57014"
NOT_SYSTEM = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'"
# Partitions are analyzed with the table that they belong to.
_TABLES = f"""
    SELECT n.nspname, o.relname, relkind <> 'p' AND pg_relation_size(o.oid) <= {SMALL_BYTES},
        CASE WHEN relnatts > {WIDE_COLUMNS} THEN ARRAY(
            SELECT attname::text FROM pg_attribute
            WHERE attrelid = o.oid AND attnum > 0 AND NOT attisdropped AND attgenerated <> 'v' ORDER BY attnum) END,
        current_setting('default_statistics_target')::int
    FROM pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace
    WHERE {NOT_SYSTEM} AND o.relkind IN ('r', 'm', 'p') AND NOT o.relispartition
    ORDER BY relkind = 'p' DESC, pg_relation_size(o.oid) DESC"""

_FIRST_OF_USERS = 16384  # FirstNormalObjectId
# By to_jsonb, because PostgreSQL 13 has no such column.
_CALLS_FUNCTIONS = f"""
    SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_language l ON l.oid = prolang
                   WHERE p.oid >= {_FIRST_OF_USERS} AND lanname NOT IN ('internal', 'c'))
        AND (EXISTS (SELECT FROM pg_index WHERE indexrelid >= {_FIRST_OF_USERS}
                     AND (indexprs IS NOT NULL OR indpred IS NOT NULL))
             OR EXISTS (SELECT FROM pg_statistic_ext s WHERE to_jsonb(s)->>'stxexprs' IS NOT NULL)
             OR EXISTS (SELECT FROM pg_opclass WHERE oid >= {_FIRST_OF_USERS}))"""


class _Table(NamedTuple):
    schema: str
    name: str
    small: bool
    columns: list[str] | None
    configured: int

    @property
    def target(self) -> int | None:
        """The statistics target of a wide table; None for the configured one."""
        if self.columns is None or len(self.columns) <= WIDE_COLUMNS:
            return None
        target = max(_LEAST_TARGET, _WIDE_TARGETS // len(self.columns))
        return target if target < self.configured else None

    @property
    def what(self) -> sql.Composable:
        """The table as ANALYZE takes it."""
        name = sql.Identifier(self.schema, self.name)
        if self.target is None or self.columns is None:
            return name
        return sql.SQL("{} ({})").format(name, sql.SQL(", ").join(map(sql.Identifier, self.columns)))


def analyze(sessions: Sequence[RestoreSession]) -> None:
    """Run ANALYZE on all tables and materialized views of a database.

    Raises:
        RestoreError: a session was lost, or its statement cancelled.
    """
    with sessions[0].translated("the list of tables for ANALYZE"):
        tables = [_Table(*row) for row in sessions[0].connection.execute(_TABLES.encode()).fetchall()]
    groups = _groups(tables)

    def work(session: RestoreSession, stopped: Callable[[], bool]) -> None:
        while not stopped() and (group := next(groups, None)) is not None:
            if len(group) == 1 or _refused(session, group) is not None:
                for table in group:
                    # ANALYZE evaluates an index's functions in its own way. The table then has no statistics.
                    if error := _refused(session, [table]):
                        log.warning("restore leaves a table without statistics", reason=error.message)

    run_on_all(sessions, work)


def calls_functions(session: RestoreSession) -> bool:
    """Whether ANALYZE of some table may call functions of users, which may do anything.

    Raises:
        RestoreError: the session was lost, or its statement cancelled.
    """
    with session.translated("the functions that ANALYZE may call"):
        row = session.connection.execute(_CALLS_FUNCTIONS.encode()).fetchone()
    return row is None or bool(row[0])


def _groups(tables: Sequence[_Table]) -> Iterator[Sequence[_Table]]:
    """Tables that one statement analyzes. A generator cannot be shared by threads; an iterator of a list can."""
    together = [table for table in tables if table.small and table.target is None]
    groups = [[table] for table in tables if not (table.small and table.target is None)]
    groups += [together[start : start + _GROUP_TABLES] for start in range(0, len(together), _GROUP_TABLES)]
    return iter(groups)


def _refused(session: RestoreSession, tables: Sequence[_Table]) -> RestoreError | None:
    """Analyze tables; the error if the server refuses it."""
    names = f"{tables[0].schema}.{tables[0].name}" if len(tables) == 1 else f"{len(tables)} tables"
    what, target = f"statistics of {names}", tables[0].target
    statement = sql.SQL("ANALYZE {}").format(sql.SQL(", ").join(table.what for table in tables))
    try:
        with session.savepoint(what):
            if target is not None:
                session.run(b"SET default_statistics_target = %d" % target, what)
            session.run(statement.as_bytes(session.connection), what)
    except RestoreError as error:
        if isinstance(error, TargetUnavailableError) or sqlstate_of(error) == _CANCELLED:  # another session failed
            raise
        return error
    finally:
        if target is not None and not session.connection.closed:
            session.run(b"RESET default_statistics_target", what)
    return None
