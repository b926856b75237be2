"""The inverse of a merge: a plain SQL script that puts back what it changed, and refuses where that changed since.

For each table it brings the rows as they are after the merge (``new``) and as they were before (``old``), both whole.
Undone means: those of `new` out, those of `old` in. The script can be run by this service, or by hand::

    psql -X -1 -v ON_ERROR_STOP=1 -d DATABASE -f SCRIPT
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from app.domain.changes import TableChanges
from app.postgres.merge.apply import locks, trigger_switches, update_steps, updated_columns
from app.postgres.merge.schema import ForeignKey
from app.postgres.merge.sequences import SequenceAdvance, position_statements
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import ALIKE, APPLIED, equal, image_of, row_of, same_place
from app.postgres.merge.stage import StagedTable
from app.postgres.quoting import SAME, literal, quoted

_TAG = "$residency_backup$"
_STEP = "residency_backup_step"  # of the merge's updates: see merge_unique
_HEAD = """\
-- Undoes one merge. By hand, all or nothing: psql -X -1 -v ON_ERROR_STOP=1 -d DATABASE -f THIS_FILE
SET transaction_read_only = off;
SET client_encoding = 'UTF8';
SET DateStyle = ISO;
SET IntervalStyle = postgres;
SET extra_float_digits = 3;
SET xmloption = content;
SET row_security = off;
SET array_nulls = on;
SELECT pg_catalog.set_config(name, 'origin', false) FROM pg_catalog.pg_settings
    WHERE name OPERATOR(pg_catalog.=) 'session_replication_role' AND setting OPERATOR(pg_catalog.<>) 'origin';
"""


@dataclass(frozen=True, slots=True, eq=False)
class _Table:
    """One table of the script."""

    staged: StagedTable
    plan: TableChanges

    @property
    def columns(self) -> Sequence[str]:
        """Rows are kept whole."""
        return self.staged.match.live.settable

    @property
    def new(self) -> str:
        return f"pg_temp.undo_new_{self.staged.number}"

    @property
    def old(self) -> str:
        return f"pg_temp.undo_old_{self.staged.number}"


class Inverse:
    """Writes the script, in two parts: what there was, before the merge, and the rest after it."""

    def __init__(
        self,
        session: MergeSession,
        staged: Sequence[StagedTable],
        planned: Sequence[TableChanges],
        out: BinaryIO,
        referring: Sequence[ForeignKey],
    ) -> None:
        self._session = session
        self._out = out
        self._tables = [_Table(each, plan) for each, plan in zip(staged, planned, strict=True) if plan.changed]
        self._set: dict[_Table, Sequence[str]] = {}
        columns = {each.staged.match.name: set(each.columns) for each in self._tables}
        # Who refers to a generated column is the server's to look after: its values are not kept.
        self._keys = [key for key in referring if set(key.referenced) <= columns.get(key.parent, set())]

    def before(self) -> None:
        """Write the rows that the merge will change or delete."""
        # What belongs to the tables is evaluated as it was in the merge.
        zone = f"SELECT pg_catalog.set_config('TimeZone', {literal(self._session.zone)}, false);\n"
        self._write(_HEAD + zone + _set_path(self._session.path))
        # Between its look at the rows and its change of them nobody may come.
        tables = {each.staged.match.name: each.staged.match.live.sql for each in self._tables}
        self._statements([statement for _, statement in locks(tables, [key.child for key in self._keys])])
        for each in self._tables:
            live = each.staged.match.live.rows
            self._set[each] = _settable(each, updated_columns(self._session, each.staged)) if each.plan.updated else ()
            self._rows(
                each,
                each.old,
                f"SELECT {_listed(each.columns, 'l.', 'p.step')} FROM {live} l JOIN {each.staged.plan} p"
                f" ON {same_place('l', 'p')} WHERE p.blocked IS NULL AND p.action {SAME} ANY (ARRAY['u', 'd'])",
                _STEP,
            )

    def after(self) -> None:
        """Write the rows that the merge has made of them or added, and the statements that put all back."""
        for each in self._tables:
            match = each.staged.match
            changed = APPLIED
            source = f"{each.staged.plan} p JOIN {each.staged.rows} s ON s.ctid {SAME} p.s"
            if match.key:
                same = match.same("s", "l")
                query = f"SELECT {_listed(each.columns, 'l.')} FROM {source} JOIN {match.live.rows} l ON {same}"
            else:
                # Without a key only this transaction's mark tells what it has made.
                query = f"SELECT {_listed(each.columns, 'l.')} FROM {match.live.rows} l"
                changed = f"l.xmin {SAME} pg_catalog.pg_current_xact_id()::pg_catalog.xid"
            self._rows(each, each.new, f"{query} WHERE {changed}")
        self._statements([_expect(each, each.new, "rows of %s were changed since the merge") for each in self._tables])
        by_name = {each.staged.match.name: each for each in self._tables}
        self._statements([_unreferred(key, by_name[key.parent], by_name.get(key.root)) for key in self._keys])
        pairs = [pair for each in self._tables for pair in trigger_switches(each.staged.match.live, self._set[each])]
        self._statements([*(off for off, _ in pairs), "SET CONSTRAINTS ALL DEFERRED"])
        parts = [
            part
            for each in self._tables
            for part in _undo(each, update_steps(self._session, each.staged), self._set[each])
        ]
        listed = ",\n".join(f"{name} AS ({statement} RETURNING 1)" for name, statement in parts)
        # Asked for in this order, they are done in it: what goes makes room for what comes.
        counts = ", ".join(f"(SELECT pg_catalog.count(*) FROM {name})" for name, _ in parts)
        self._statements([f"WITH {listed}\nSELECT ARRAY[{counts}]"] if parts else [])
        self._statements(["SET CONSTRAINTS ALL IMMEDIATE", *(on for _, on in pairs)])
        self._statements([_expect(each, each.old, "rows of %s did not come back") for each in self._tables])

    def sequences(self, moved: Sequence[SequenceAdvance]) -> None:
        """Write what brings forward again a sequence that went back: the rows that come back have drawn from it."""
        self._write(_set_path(""))
        self._statements([_forward(advance) for advance in moved if advance.backwards])

    def _rows(self, each: _Table, name: str, query: str, *more: str) -> None:
        columns = _listed(each.columns, "", *more)
        shape = _listed(each.columns, "", *(f"0 AS {column}" for column in more))
        live = each.staged.match.live.sql
        self._statements([f"CREATE TEMP TABLE {name} AS SELECT {shape} FROM {live} WITH NO DATA"])
        # Where the server knows no encoding a value may be of any bytes, which none of its conversions lets through.
        bare = self._session.connection.info.parameter_status("server_encoding") == "SQL_ASCII"
        how = " (ENCODING 'SQL_ASCII')" if bare else ""
        self._write(f"COPY {name} {f'({columns})' if columns else ''} FROM stdin{how};\n")
        copy = f"COPY ({query}) TO STDOUT{how}".encode()
        with (
            self._session.translated("the inverse of the merge"),
            self._session.connection.cursor() as cursor,
            cursor.copy(copy) as rows,
        ):
            for block in rows:
                self._out.write(block)
        self._write("\\.\n")

    def _statements(self, statements: Sequence[str]) -> None:
        for each in statements:
            self._write(f"{each};\n")

    def _write(self, text: str) -> None:
        self._out.write(text.encode())


def _set_path(path: str) -> str:
    return f"SELECT pg_catalog.set_config('search_path', {literal(path)}, false);\n"


def _forward(advance: SequenceAdvance) -> str:
    order = "<" if advance.increment > 0 else ">"
    behind = (
        f"last_value::numeric + {advance.increment} * is_called::int {order} {advance.was.coming(advance.increment)}"
    )
    restart, place = position_statements(advance.sequence, advance.was)
    perform = place.replace("SELECT", "PERFORM", 1)
    found = f"SELECT FROM {advance.sequence} WHERE {behind}"
    return f"DO {_TAG} BEGIN\nIF EXISTS ({found}) THEN {restart}; {perform}; END IF;\nEND {_TAG}"


def _listed(columns: Sequence[str], alias: str, *more: str) -> str:
    return ", ".join([*(f"{alias}{quoted(name)}" for name in columns), *more])


def _settable(each: _Table, updated: Sequence[str]) -> Sequence[str]:
    """All columns, but the key's where the merge does not touch it."""
    key = each.staged.match.key_columns
    return [name for name in each.columns if name in updated or name not in key]


def _expect(each: _Table, rows: str, complaint: str) -> str:
    """A check that all of some rows stand in the live table exactly so."""
    match = each.staged.match
    live = match.live.rows
    if match.key:
        same = match.same("r", "l")
        equal_rows = f"{row_of('r', each.columns)} {ALIKE} {row_of('l', each.columns)}"
        missing = f"SELECT FROM {rows} r WHERE NOT EXISTS (SELECT FROM {live} l WHERE {same} AND {equal_rows})"
    else:
        image = image_of(each.columns)
        there = f"SELECT {image} AS image, pg_catalog.count(*) AS n FROM {live} t GROUP BY 1"
        wanted = f"SELECT {image} AS image, pg_catalog.count(*) AS n FROM {rows} t GROUP BY 1"
        missing = f"SELECT FROM ({wanted}) r LEFT JOIN ({there}) l ON r.image {SAME} l.image"
        missing += " WHERE r.n OPERATOR(pg_catalog.>) coalesce(l.n, 0)"
    said = literal(complaint.replace("%s", str(match.name).replace("%", "%%")))
    return f"DO {_TAG} BEGIN\nIF EXISTS ({missing}) THEN RAISE EXCEPTION {said}; END IF;\nEND {_TAG}"


def _unreferred(key: ForeignKey, parent: _Table, child: _Table | None) -> str:
    """A check that no row refers to one that goes, but those that go with it: a cascade would take them along."""
    same = key.same("n", "c")
    stays = f"SELECT FROM {parent.old} o WHERE {equal('o', key.referenced, 'n', key.referenced, key.among)}"
    found = f"SELECT FROM {quoted(*key.child)} c JOIN {parent.new} n ON {same} WHERE NOT EXISTS ({stays})"
    if child is not None:
        found += f" AND NOT EXISTS (SELECT FROM {child.new} m WHERE {_same_row(child, 'm', 'c')})"
    said = literal(f"rows of {key.child} refer to rows that the merge has brought".replace("%", "%%"))
    return f"DO {_TAG} BEGIN\nIF EXISTS ({found}) THEN RAISE EXCEPTION {said}; END IF;\nEND {_TAG}"


def _same_row(each: _Table, one: str, other: str) -> str:
    match = each.staged.match
    return match.same(one, other) if match.key else f"{row_of(one, each.columns)} {ALIKE} {row_of(other, each.columns)}"


def _undo(each: _Table, steps: Sequence[int], changed: Sequence[str]) -> list[tuple[str, str]]:
    """What puts a table's rows back, by name: deletes, updates, the last wave first, and inserts."""
    match, number, live = each.staged.match, each.staged.number, each.staged.match.live.sql
    columns = _listed(each.columns, "")
    listed = f"({columns}) OVERRIDING SYSTEM VALUE" if columns else ""
    insert = f"INSERT INTO {quoted(*match.name)} {listed} SELECT {_listed(each.columns, 'o.')} FROM {each.old} o"
    if not match.key:
        deletes = [(f"d{number}_{at}", _delete_copies(each, it)) for at, it in enumerate(match.live.targets)]
        return [*deletes, (f"i{number}", insert)]
    pair, gone = match.same("n", "o"), match.same("l", "n")
    added = f"NOT EXISTS (SELECT FROM {each.old} o WHERE {pair})"
    parts = [(f"d{number}", f"DELETE FROM {live} l USING {each.new} n WHERE {gone} AND {added}")]
    if values := ", ".join(f"{quoted(name)} = o.{quoted(name)}" for name in changed):
        update = f"UPDATE {live} l SET {values} FROM {each.old} o JOIN {each.new} n ON {pair} WHERE {gone}"
        parts += [(f"u{number}_{step}", f"{update} AND o.{_STEP} {SAME} {step}") for step in reversed(steps)]
    deleted = f"NOT EXISTS (SELECT FROM {each.new} n WHERE {pair})"
    return [*parts, (f"i{number}", f"{insert} WHERE {deleted}")]


def _delete_copies(each: _Table, target: str) -> str:
    """Of rows that are alike as many as were added, from one of the places where they stand."""
    live, image = each.staged.match.live.rows, image_of(each.columns)
    number = f"pg_catalog.row_number() OVER (PARTITION BY {image}) AS k"
    numbered = f"SELECT t.ctid AS id, t.tableoid AS part, {image} AS image, {number}"
    counted = f"SELECT {image} AS image, pg_catalog.count(*) AS n FROM {each.new} t GROUP BY 1"
    found = f"({numbered} FROM {live} t) t JOIN ({counted}) n ON t.image {SAME} n.image"
    here = f"l.ctid {SAME} t.id AND l.tableoid {SAME} t.part"
    return f"DELETE FROM {target} l USING {found} WHERE t.k OPERATOR(pg_catalog.<=) n.n AND {here}"
