"""Sets a search_path for functions during a load, for functions that rely on one.

A dump sets an empty search_path for its own statements; that does not change. If a path is given, the functions of
users get it as their own setting while rows are loaded, indexes built and views filled; then the setting is removed. So
it also works if the server sets its own path for an operation, as PostgreSQL 17 and later do for index builds.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from app.archive.index import Segment, SegmentKind
from app.archive.reader import Archive
from app.postgres.session import RestoreSession

_ROUTINES = """
    SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
        JOIN pg_language l ON l.oid = prolang
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND lanname NOT IN ('internal', 'c')
        AND prokind <> 'a' AND pg_has_role(proowner, 'USAGE')
        AND NOT EXISTS (SELECT FROM unnest(proconfig) setting WHERE setting LIKE 'search_path=%') ORDER BY 1"""
_MAKING = {b"FUNCTION", b"PROCEDURE"}
_EVALUATING = {b"TABLE", b"DEFAULT", b"MATERIALIZED VIEW"}
_PATHS = "SELECT setting, reset_val FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'search_path'"
_LOCAL = "SELECT pg_catalog.set_config('search_path', %s, true)"


class FunctionPath:
    """The search_path of functions during a load; does nothing if no path is given.

    Args:
        session: of the load; the first of several.
        path: schemas, as SET takes them; empty for the configured path of database and role.
    """

    def __init__(self, session: RestoreSession, path: str | None) -> None:
        self._session = session
        self._path = path
        self._new = True
        self._changed: list[str] = []

    def along(self, archive: Archive) -> Iterator[tuple[bool, list[Segment]]]:
        """The archive's runs; functions get the path after the schema before data has run."""
        for is_data, run in archive.runs():
            for before, segments in groupby(run, lambda segment: segment.kind is SegmentKind.BEFORE):
                if not before:
                    self.set()
                yield is_data, list(segments)

    def on_entry(self, type_: bytes) -> None:
        """Called before an entry runs: sets or resets the path if the entry needs that."""
        if type_ in _MAKING:
            self._new = True
        elif type_ in _EVALUATING:
            self.set()
        elif type_ == b"EVENT TRIGGER":  # the trigger would fire on ALTER FUNCTION
            self.reset()
            self._path = None

    def set(self) -> None:
        """Set the path for every function without one."""
        if self._path is None or not self._new:
            return
        self._new = False
        with self._session.transaction("the search_path of functions"):
            (previous, configured), *_ = self._query(_PATHS)
            self._execute(_LOCAL, "")
            routines = [name for (name,) in self._query(_ROUTINES)]
            self._execute(_LOCAL, self._path or configured)
            self._alter(routines, "SET search_path FROM CURRENT")
            self._changed += routines
            self._execute(_LOCAL, previous)  # in an outer transaction, our path would stay

    def reset(self) -> None:
        """Reset the path of these functions, as in the dump."""
        changed, self._changed = self._changed, []
        if changed:
            with self._session.transaction("the search_path of functions"):
                self._alter(changed, "RESET search_path")

    def _alter(self, routines: list[str], how: str) -> None:
        encoding = self._session.connection.info.encoding
        for name in routines:
            self._session.connection.execute(f"ALTER ROUTINE {name} {how}".encode(encoding), binary=True)

    def _query(self, query: str) -> list[tuple[Any, ...]]:
        return self._session.connection.execute(query.encode()).fetchall()

    def _execute(self, query: str, *params: object) -> None:
        self._session.connection.execute(query.encode(), params)
