"""Columns whose values are for new rows alone: those of `--fill`, and those that a migration has filled.

Once a plan says which rows are new, these get the values of `--fill`. Rows that will be updated get the live row's
values, so that every constraint is checked on the row as it will be. A change of a staged row moves it, so the plan
follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from tempfile import SpooledTemporaryFile

from app.errors import RestoreDataError, RestoreValidationError
from app.postgres.merge.guarded import Expression, Place, evaluate
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import same_place
from app.postgres.merge.staged import StagedTable
from app.postgres.merge.where import BLOCK, IN_MEMORY
from app.postgres.quoting import SAME, literal, quoted

_HINT = "--fill takes an SQL expression over the row's columns: --fill \"public.people.phone=''\""
_TYPES = """
    SELECT attname, format_type(atttypid, -1) FROM pg_attribute
    WHERE attrelid = {}::regclass AND attname = ANY (ARRAY[{}]::name[])"""


def settle(session: MergeSession, table: StagedTable) -> None:
    """Give the planned rows their values in these columns, in the transaction of the plan.

    Raises:
        RestoreValidationError: an expression is none, or fails for a row, or its value does not fit.
        RestoreError: as the session's methods raise it.
    """
    match = table.match
    if match.fills:
        _fill(session, table)
    if match.new_rows_only and match.key:
        names = sorted(match.new_rows_only)
        listed = ", ".join(f"l.{quoted(name)}" for name in names)
        kept = f"SELECT p.s AS place, {listed} FROM {table.plan} p JOIN {match.live.rows} l"
        source = f"{kept} ON {same_place('l', 'p')} WHERE p.action {SAME} 'u'"
        session.execute(_moved(table, names, source), f"plan for {match.name}")


def notes_on_fills(table: StagedTable, inserted: int) -> Iterator[str]:
    """Notes on the values that new rows get."""
    for name, sql in sorted(table.match.fills.items()):
        rows = {0: "no new row gets", 1: "1 new row gets"}.get(inserted, f"{inserted} new rows get")
        yield f"column {table.match.name}.{name}: {rows} the value of `{sql}` (--fill)"


def _fill(session: MergeSession, table: StagedTable) -> None:
    """Evaluate the expressions for all new rows, then store the values: no expression sees another's value."""
    match, names = table.match, sorted(table.match.fills)
    with session.catalogs():
        of_table = literal(quoted(*match.name)), ", ".join(map(literal, names))
        types = dict(session.query(_TYPES.format(*of_table), f"columns of {match.name}"))
    values = [f"pg_temp.restore_values_{number}" for number in range(len(names))]
    for name, place in zip(names, values, strict=True):
        _evaluate(session, table, name, types[name], place)
    listed = ", ".join(f"v{number}.{quoted(name)}" for number, name in enumerate(names))
    joined = "".join(
        f" JOIN {place} v{number} ON v{number}.place {SAME} v0.place" for number, place in enumerate(values) if number
    )
    session.execute(_moved(table, names, f"SELECT v0.place, {listed} FROM {values[0]} v0{joined}"), "new values")
    for place in values:
        session.execute(f"DROP TABLE {place}", "new values")


def _evaluate(session: MergeSession, table: StagedTable, name: str, type_name: str, place: str) -> None:
    """Put the values of one expression, with the places of their rows, into a temporary table."""
    match, sql = table.match, table.match.fills[name]
    what = f"the value of {match.name}.{name}"
    rows = f"FROM {table.rows} AS t"
    # Only one expression has a place in CAST: in parentheses alone, several would be a row.
    within = Place("SELECT t.ctid, (SELECT CAST(", f"\n AS {type_name})) {rows}")
    expression = Expression(sql, what, Place("SELECT ", f"\n{rows}"), within, "a value", _HINT)
    new = f"SELECT FROM {table.plan} p WHERE p.s {SAME} t.ctid AND p.action {SAME} 'i'"
    shape = f"SELECT ctid AS place, {quoted(name)} FROM {table.rows} WITH NO DATA"
    session.execute(f"CREATE TEMP TABLE {place} AS {shape}", what)
    with SpooledTemporaryFile(IN_MEMORY) as values:
        evaluate(session, expression, f"{within.head}{sql}{within.tail} WHERE EXISTS ({new})", values.write)
        values.seek(0)
        try:
            session.copy(f"COPY {place} FROM STDIN".encode(), iter(lambda: values.read(BLOCK), b""), what)
        except RestoreDataError as error:
            raise RestoreValidationError(error.message, _HINT) from error


def _moved(table: StagedTable, names: Sequence[str], source: str) -> str:
    """The statement that stores values in staged rows, and notes in the plan where these are then.

    Args:
        table: of the rows.
        names: of the columns.
        source: a query of each row's ``place``, and of the columns by their names.
    """
    values = ", ".join(f"{quoted(name)} = o.{quoted(name)}" for name in names)
    stored = f"UPDATE {table.rows} r SET {values} FROM ({source}) o WHERE r.ctid {SAME} o.place"
    return (
        f"WITH moved AS ({stored} RETURNING o.place AS was, r.ctid AS now)"
        f" UPDATE {table.plan} p SET s = m.now FROM moved m WHERE p.s {SAME} m.was"
    )
