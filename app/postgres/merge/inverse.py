"""The inverse of a merge: a plain SQL script that restores the rows it changed, unless they were changed again.

For each table the script has the rows as they are after the merge (``new``) and as they were before (``old``), with all
columns. It deletes those of `new` and inserts those of `old`. This service can run it, or an operator::

    psql -X -1 -v ON_ERROR_STOP=1 -d DATABASE -f SCRIPT
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from app.archive.index import TableName
from app.domain.changes import TableChanges
from app.postgres.merge.apply import locks, trigger_switches, update_steps, updated_columns
from app.postgres.merge.groups import Groups, Part, statement_of
from app.postgres.merge.large_rows import Rows, copy_out, encoding_of, with_values_beside
from app.postgres.merge.schema import ForeignKey
from app.postgres.merge.sequences import SequenceAdvance, position_statements
from app.postgres.merge.sql import ALIKE, APPLIED, equal, image_of, row_of, same_place
from app.postgres.merge.staged import StagedTable
from app.postgres.quoting import SAME, literal, quoted

_TAG = "$residency_backup$"
_STEP = "residency_backup_step"  # of the merge's updates: see app.postgres.merge.unique
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
        """All columns that can be set."""
        return self.staged.match.live.settable

    @property
    def new(self) -> str:
        return f"pg_temp.undo_new_{self.staged.number}"

    @property
    def old(self) -> str:
        return f"pg_temp.undo_old_{self.staged.number}"


class Inverse:
    """Writes the script: one part before the merge, with the old rows, and the rest after it."""

    def __init__(self, groups: Groups, planned: Sequence[TableChanges], out: BinaryIO) -> None:
        self._groups = groups
        self._session = groups.session
        self._out = out
        self._tables = [
            _Table(staged_table, plan)
            for staged_table, plan in zip(groups.staged, planned, strict=True)
            if plan.changed
        ]
        self._set: dict[_Table, Sequence[str]] = {}
        columns = {staged_table.staged.match.name: set(staged_table.columns) for staged_table in self._tables}
        # Foreign keys to generated columns are left to the server: the script has no values of these.
        self._keys = [
            key
            for key in groups.live.foreign_keys
            if key.parent in columns and set(key.referenced) <= columns[key.parent]
        ]

    def before(self) -> None:
        """Write the rows that the merge will change or delete."""
        # Expressions of the tables are evaluated under the settings of the merge.
        zone = f"SELECT pg_catalog.set_config('TimeZone', {literal(self._session.zone)}, false);\n"
        self._write(_HEAD + zone + _set_path(self._session.path))
        # Nobody may change rows between the script's checks and its changes.
        tables = {table.staged.match.name: table.staged.match.live.sql for table in self._tables}
        self._statements([statement for _, statement in locks(tables, [key.child for key in self._keys])])
        beside = with_values_beside(self._session, self._groups.live) if self._tables else set[TableName]()
        for table in self._tables:
            live = table.staged.match.live.rows
            self._set[table] = (
                _settable(table, updated_columns(self._session, table.staged)) if table.plan.updated else ()
            )
            rows = Rows(
                table.staged.match.live,
                table.columns,
                f"{live} l JOIN {table.staged.plan} p ON {same_place('l', 'p')}",
                f"p.blocked IS NULL AND p.action {SAME} ANY (ARRAY['u', 'd'])",
                ["p.step"],
            )
            self._rows(table.old, rows, beside, _STEP)

    def after(self) -> None:
        """Write the changed and added rows, and the statements that restore the old ones."""
        self._new_rows()
        self._statements(
            [_expect(table, table.new, "rows of %s were changed since the merge") for table in self._tables]
        )
        by_name = {table.staged.match.name: table for table in self._tables}
        self._statements([_unreferred(key, by_name[key.parent], by_name.get(key.root)) for key in self._keys])
        pairs = [pair for table in self._tables for pair in trigger_switches(table.staged.match.live, self._set[table])]
        self._statements([*(off for off, _ in pairs), "SET CONSTRAINTS ALL DEFERRED"])
        self._changes()
        self._statements(["SET CONSTRAINTS ALL IMMEDIATE", *(on for _, on in pairs)])
        self._statements([_expect(table, table.old, "rows of %s did not come back") for table in self._tables])

    def _new_rows(self) -> None:
        beside = with_values_beside(self._session, self._groups.live) if self._tables else set[TableName]()
        for table in self._tables:
            match = table.staged.match
            changed = APPLIED
            source = f"{table.staged.plan} p JOIN {table.staged.rows} s ON s.ctid {SAME} p.s"
            if match.key:
                source += f" JOIN {match.live.rows} l ON {match.same('s', 'l')}"
            else:
                # Without a key, rows of the merge are known by this transaction's id.
                source = f"{match.live.rows} l"
                changed = f"l.xmin {SAME} pg_catalog.pg_current_xact_id()::pg_catalog.xid"
            self._rows(table.new, Rows(match.live, table.columns, source, changed), beside)

    def _changes(self) -> None:
        parts = [
            part
            for table in self._tables
            for part in _undo(table, update_steps(self._session, table.staged), self._set[table])
        ]
        self._statements([statement_of(group) for group in self._groups.of(parts)])

    def sequences(self, moved: Sequence[SequenceAdvance]) -> None:
        """Write statements that advance sequences again that went back: the restored rows have used their values."""
        self._write(_set_path(""))
        self._statements([_forward(advance) for advance in moved if advance.backwards])

    def _rows(self, name: str, rows: Rows, beside: Collection[TableName], *more: str) -> None:
        columns = _listed(rows.columns, "", *more)
        shape = _listed(rows.columns, "", *(f"0 AS {column}" for column in more))
        self._statements([f"CREATE TEMP TABLE {name} AS SELECT {shape} FROM {rows.live.sql} WITH NO DATA"])
        encoding = encoding_of(self._session)
        how = "" if encoding == "UTF8" else f" (ENCODING '{encoding}')"
        self._write(f"COPY {name} {f'({columns})' if columns else ''} FROM stdin{how};\n")
        copy_out(self._session, rows, self._out, beside)
        self._write("\\.\n")

    def _statements(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self._write(f"{statement};\n")

    def _write(self, text: str) -> None:
        self._out.write(text.encode())


def _set_path(path: str) -> str:
    return f"SELECT pg_catalog.set_config('search_path', {literal(path)}, false);\n"


def _forward(advance: SequenceAdvance) -> str:
    order = "<" if advance.increment > 0 else ">"
    is_behind = (
        f"last_value::numeric + {advance.increment} * is_called::int {order} {advance.was.coming(advance.increment)}"
    )
    restart, place = position_statements(advance.sequence, advance.was)
    perform = place.replace("SELECT", "PERFORM", 1)
    found = f"SELECT FROM {advance.sequence} WHERE {is_behind}"
    return f"DO {_TAG} BEGIN\nIF EXISTS ({found}) THEN {restart}; {perform}; END IF;\nEND {_TAG}"


def _listed(columns: Sequence[str], alias: str, *more: str) -> str:
    return ", ".join([*(f"{alias}{quoted(name)}" for name in columns), *more])


def _settable(table: _Table, updated: Sequence[str]) -> Sequence[str]:
    """All columns, without the key's if the merge does not set them."""
    key = table.staged.match.key_columns
    return [name for name in table.columns if name in updated or name not in key]


def _expect(table: _Table, rows: str, complaint: str) -> str:
    """A statement that fails unless all of some rows are in the live table, with equal images."""
    match = table.staged.match
    live = match.live.rows
    if match.key:
        same = match.same("r", "l")
        equal_rows = f"{row_of('r', table.columns)} {ALIKE} {row_of('l', table.columns)}"
        missing = f"SELECT FROM {rows} r WHERE NOT EXISTS (SELECT FROM {live} l WHERE {same} AND {equal_rows})"
    else:
        image = image_of(table.columns)
        live_counts = f"SELECT {image} AS image, pg_catalog.count(*) AS n FROM {live} t GROUP BY 1"
        expected_counts = f"SELECT {image} AS image, pg_catalog.count(*) AS n FROM {rows} t GROUP BY 1"
        missing = f"SELECT FROM ({expected_counts}) r LEFT JOIN ({live_counts}) l ON r.image {SAME} l.image"
        missing += " WHERE r.n OPERATOR(pg_catalog.>) coalesce(l.n, 0)"
    message = literal(complaint.replace("%s", str(match.name).replace("%", "%%")))
    return f"DO {_TAG} BEGIN\nIF EXISTS ({missing}) THEN RAISE EXCEPTION {message}; END IF;\nEND {_TAG}"


def _unreferred(key: ForeignKey, parent: _Table, child: _Table | None) -> str:
    """A statement that fails if a row that stays refers to a deleted one, because a cascade would delete it."""
    same = key.same("n", "c")
    stays = f"SELECT FROM {parent.old} o WHERE {equal('o', key.referenced, 'n', key.referenced, key.among)}"
    found = f"SELECT FROM {quoted(*key.child)} c JOIN {parent.new} n ON {same} WHERE NOT EXISTS ({stays})"
    if child is not None:
        found += f" AND NOT EXISTS (SELECT FROM {child.new} m WHERE {_same_row(child, 'm', 'c')})"
    message = literal(f"rows of {key.child} refer to rows that the merge has brought".replace("%", "%%"))
    return f"DO {_TAG} BEGIN\nIF EXISTS ({found}) THEN RAISE EXCEPTION {message}; END IF;\nEND {_TAG}"


def _same_row(table: _Table, one: str, other: str) -> str:
    match = table.staged.match
    return (
        match.same(one, other) if match.key else f"{row_of(one, table.columns)} {ALIKE} {row_of(other, table.columns)}"
    )


def _undo(table: _Table, steps: Sequence[int], changed: Sequence[str]) -> Iterator[Part]:
    """The statements that restore a table's rows: deletes, updates in reverse order, inserts."""
    match, number, live = table.staged.match, table.staged.number, table.staged.match.live.sql
    columns = _listed(table.columns, "")
    listed = f"({columns}) OVERRIDING SYSTEM VALUE" if columns else ""
    insert = f"INSERT INTO {quoted(*match.name)} {listed} SELECT {_listed(table.columns, 'o.')} FROM {table.old} o"
    if not match.key:
        for at, target in enumerate(match.live.targets) if table.plan.inserted else ():
            yield Part(f"d{number}_{at}", _delete_copies(table, target), match.name, "d")
        if table.plan.deleted:
            yield Part(f"i{number}", insert, match.name, "i")
        return
    pair, gone = match.same("n", "o"), match.same("l", "n")
    if table.plan.inserted:
        added = f"NOT EXISTS (SELECT FROM {table.old} o WHERE {pair})"
        delete = f"DELETE FROM {live} l USING {table.new} n WHERE {gone} AND {added}"
        yield Part(f"d{number}", delete, match.name, "d")
    values = ", ".join(f"{quoted(name)} = o.{quoted(name)}" for name in changed)
    update = f"UPDATE {live} l SET {values} FROM {table.old} o JOIN {table.new} n ON {pair} WHERE {gone}"
    for step in reversed(steps) if values else ():
        yield Part(f"u{number}_{step}", f"{update} AND o.{_STEP} {SAME} {step}", match.name, "u", changed)
    if table.plan.deleted:
        deleted = f"NOT EXISTS (SELECT FROM {table.new} n WHERE {pair})"
        yield Part(f"i{number}", f"{insert} WHERE {deleted}", match.name, "i")


def _delete_copies(table: _Table, target: str) -> str:
    """A statement that deletes, of equal rows, as many as were added, from one of the table's partitions."""
    live, image = table.staged.match.live.rows, image_of(table.columns)
    number = f"pg_catalog.row_number() OVER (PARTITION BY {image}) AS k"
    numbered = f"SELECT t.ctid AS id, t.tableoid AS part, {image} AS image, {number}"
    counted = f"SELECT {image} AS image, pg_catalog.count(*) AS n FROM {table.new} t GROUP BY 1"
    found = f"({numbered} FROM {live} t) t JOIN ({counted}) n ON t.image {SAME} n.image"
    here = f"l.ctid {SAME} t.id AND l.tableoid {SAME} t.part"
    return f"DELETE FROM {target} l USING {found} WHERE t.k OPERATOR(pg_catalog.<=) n.n AND {here}"
