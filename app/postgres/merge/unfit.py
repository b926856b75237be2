"""Rows with a value that the live column's type does not take: an enum's label that is gone, a text that is too long.

COPY refuses all rows of a batch for one such value. Only then are the table's rows copied again, as text, and converted
one by one by a temporary function. What does not fit is kept aside as text, in the column `UNFIT` of its row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg

from app.domain.changes import SampleKind
from app.errors import RestoreDataError
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import TEXT, image_of
from app.postgres.merge.staged import UNFIT, StagedTable
from app.postgres.quoting import literal, quoted
from app.postgres.search_path_hints import relying_function
from app.postgres.session import sqlstate_of

# A type or a domain's check refuses a value; the last three: the value (regclass, say) names no existing object.
_REFUSED = re.compile("22|23|P0001|42P01|42704|42883")
_BROKEN = {"22P04", "22P05", "22021"}  # the line or its encoding is wrong, not a value: as text it is refused too
_HANDLED = (
    "data_exception OR integrity_constraint_violation OR raise_exception"
    " OR undefined_table OR undefined_object OR undefined_function"
)
# Casts that users made: a conversion must not call them. (COPY calls input functions, which only superusers make.)
_FOREIGN_CASTS = f"""
    WITH RECURSIVE used (type) AS (
        SELECT atttypid FROM pg_attribute WHERE attrelid = {{}}::regclass AND attnum > 0 AND NOT attisdropped
        UNION SELECT typbasetype FROM used JOIN pg_type t ON t.oid = type WHERE typtype = 'd')
    SELECT EXISTS (
        SELECT FROM pg_cast c JOIN pg_proc p ON p.oid = castfunc JOIN pg_language g ON g.oid = prolang
        WHERE castsource = '{TEXT}'::regtype AND casttarget IN (SELECT type FROM used)
          AND lanname NOT IN ('internal', 'c'))"""


def is_refused_value(error: RestoreDataError) -> bool:
    """Whether COPY failed because a type does not take a value."""
    state = sqlstate_of(error) or ""
    cause = error.__cause__
    in_function = isinstance(cause, psycopg.Error) and relying_function(cause) is not None
    return bool(_REFUSED.match(state)) and state not in _BROKEN and not in_function


def convert(
    session: MergeSession, table: StagedTable, copy: Callable[[str], None], refusal: RestoreDataError
) -> StagedTable:
    """Stage a table's rows value by value.

    Args:
        session: of the table.
        table: some of whose rows COPY refused; it is emptied first.
        copy: copies the rows into the table with this name.
        refusal: the error, which is raised if nothing can be converted here.

    Raises:
        RestoreDataError: a cast that somebody else made would be called.
    """
    what = f"rows of {table.match.name}"
    with session.catalogs():
        barred = session.query(_FOREIGN_CASTS.format(literal(table.rows)), what)[0][0]
    if barred:
        raise refusal
    given = f"pg_temp.restore_text_{table.number}"
    columns = table.staged_columns
    session.execute(f"TRUNCATE {table.rows}", what)
    session.execute(f"ALTER TABLE {table.rows} ADD COLUMN {UNFIT} pg_catalog.jsonb", what)
    session.execute(f"CREATE TEMP TABLE {given} ({', '.join(f'{quoted(name)} {TEXT}' for name in columns)})", what)
    copy(given)
    converter = f"pg_temp.restore_convert_{table.number}"
    session.execute(_converter(converter, given, table), what)
    session.execute(f"INSERT INTO {table.rows} SELECT * FROM {converter}()", what)
    session.execute(f"DROP FUNCTION {converter}", what)
    session.execute(f"DROP TABLE {given}", what)
    names = f"SELECT DISTINCT pg_catalog.jsonb_object_keys({UNFIT}) FROM {table.rows} WHERE {UNFIT} IS NOT NULL"
    refused = {name for (name,) in session.query(names, what)}
    return replace(table, refused=tuple(name for name in columns if name in refused))


def refused_columns(table: StagedTable) -> Iterator[tuple[SampleKind, None, tuple[str, ...], str]]:
    """Columns that refuse a value, and the condition for rows that have such a value there."""
    for name in table.refused:
        condition = f"pg_catalog.jsonb_exists({UNFIT}, {literal(name)})"
        yield SampleKind.UNFIT, None, (name,), condition


def staged_image(table: StagedTable) -> str:
    """A row of the backup, `t`, as one text; with a value that does not fit it is equal to no live row."""
    image = image_of(table.match.compared)
    if not table.refused:
        return image
    return f"CASE WHEN t.{UNFIT} IS NULL THEN {image} ELSE pg_catalog.concat({image}, t.{UNFIT}) END"


def _converter(name: str, given: str, table: StagedTable) -> str:
    """The function that returns the rows with the types of the live table.

    A row that fits as a whole costs one subtransaction. Values are assigned, because an assignment refuses what the
    type's input function refuses: a cast would cut a text that is too long.
    """
    columns = [quoted(column) for column in table.staged_columns]
    assigned = "".join(f" taken.{column} := given.{column};" for column in columns)
    one_by_one = "".join(
        f" BEGIN taken.{quoted(column)} := given.{quoted(column)}; EXCEPTION WHEN {_HANDLED} THEN"
        f" refused := pg_catalog.jsonb_concat(refused,"
        f" pg_catalog.jsonb_build_object({literal(column)}, given.{quoted(column)})); END;"
        for column in table.staged_columns
    )
    body = (
        f"DECLARE given record; taken {table.rows}; refused pg_catalog.jsonb; BEGIN"
        f" FOR given IN SELECT * FROM {given} LOOP"
        f" BEGIN{assigned} taken.{UNFIT} := NULL; RETURN NEXT taken; CONTINUE;"
        f" EXCEPTION WHEN {_HANDLED} THEN NULL; END;"
        f" taken := NULL; refused := '{{}}';{one_by_one} taken.{UNFIT} := refused; RETURN NEXT taken;"
        " END LOOP; END"
    )
    return f"CREATE FUNCTION {name}() RETURNS SETOF {table.rows} LANGUAGE plpgsql AS {literal(body)}"
