"""Functions that rely on search_path, in a load: what to say of them, and the way around.

A dump sets an empty search_path, so that its own words mean one thing only; that stays so. Given a path, the functions
of users have it as a setting of their own while rows are loaded, indexes built and views filled, and are then put back
as the dump has them. So it works also where the server sets a path of its own, as it does from PostgreSQL 17 on when it
builds an index.
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
    """The search_path that functions have during a load; does nothing if none is given.

    Args:
        session: the load's, or the first of several.
        path: schemas, as SET takes them; an empty one stands for those of database and role.
    """

    def __init__(self, session: RestoreSession, path: str | None) -> None:
        self._session = session
        self._path = path
        self._new = True
        self._changed: list[str] = []

    def along(self, archive: Archive) -> Iterator[tuple[bool, list[Segment]]]:
        """The archive's runs; functions have the path once the schema before the data was run."""
        for is_data, run in archive.runs():
            for before, segments in groupby(run, lambda segment: segment.kind is SegmentKind.BEFORE):
                if not before:
                    self.set()
                yield is_data, list(segments)

    def on_entry(self, type_: bytes) -> None:
        """An entry of the dump is about to be run: functions that were made before get the path, or lose it again."""
        if type_ in _MAKING:
            self._new = True
        elif type_ in _EVALUATING:
            self.set()
        elif type_ == b"EVENT TRIGGER":  # it would see what is done to functions
            self.reset()
            self._path = None

    def set(self) -> None:
        """Give it to every function that has none."""
        if self._path is None or not self._new:
            return
        self._new = False
        with self._session.transaction("the search_path of functions"):
            (was, own), *_ = self._ask(_PATHS)
            self._tell(_LOCAL, "")
            found = [name for (name,) in self._ask(_ROUTINES)]
            self._tell(_LOCAL, self._path or own)
            self._alter(found, "SET search_path FROM CURRENT")
            self._changed += found
            self._tell(_LOCAL, was)  # in a transaction that goes on ours would stay

    def reset(self) -> None:
        """Make them what they are in the dump."""
        changed, self._changed = self._changed, []
        if changed:
            with self._session.transaction("the search_path of functions"):
                self._alter(changed, "RESET search_path")

    def _alter(self, routines: list[str], how: str) -> None:
        encoding = self._session.connection.info.encoding
        for name in routines:
            self._session.connection.execute(f"ALTER ROUTINE {name} {how}".encode(encoding), binary=True)

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        return self._session.connection.execute(query.encode()).fetchall()

    def _tell(self, query: str, *params: object) -> None:
        self._session.connection.execute(query.encode(), params)
