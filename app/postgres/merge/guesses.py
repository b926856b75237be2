"""Guesses about what does not fit: how tables and columns may be called now, and what new columns may get.

They are for hints alone: nothing is done by them.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeVar

from app.archive.index import TableName
from app.archive.inspect.column_types import column_types, same_type
from app.archive.reader import Archive
from app.postgres.merge.match import MatchResult, TableMatch
from app.postgres.merge.misfits import Column, Guesses, Misfits
from app.postgres.merge.schema import LiveSchema
from app.postgres.merge.session import MergeSession
from app.postgres.quoting import literal, quoted

Name = TypeVar("Name", str, TableName)
_ALIKE = 0.6  # of the columns of two tables, or of the letters of two names
# Category of the column's type, its name, its first label (of an enum), and the table and column it refers to.
_TYPES = """
    SELECT a.attname, t.typcategory, format_type(t.oid, NULL),
           (SELECT enumlabel FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder LIMIT 1),
           (SELECT ARRAY[confrelid::regclass::text, quote_ident(f.attname)] FROM pg_constraint c
                JOIN pg_attribute f ON f.attrelid = confrelid AND f.attnum = confkey[1]
            WHERE c.contype = 'f' AND c.conrelid = a.attrelid AND c.conkey = ARRAY[a.attnum] LIMIT 1)
    FROM pg_attribute a JOIN pg_type n ON n.oid = a.atttypid
        JOIN pg_type t ON t.oid = CASE WHEN n.typtype = 'd' THEN n.typbasetype ELSE n.oid END
    WHERE a.attrelid = {}::regclass AND a.attname = ANY (ARRAY[{}]::name[])"""
_BY_CATEGORY = {"B": "false", "N": "0", "S": "''", "D": "now()", "T": "interval '0'", "A": "'{}'", "R": "'empty'"}
_BY_TYPE = {"uuid": "gen_random_uuid()", "json": "'{}'", "jsonb": "'{}'", "inet": "'0.0.0.0'", "cidr": "'0.0.0.0/32'"}


def guesses_about(
    misfits: Misfits, session: MergeSession, archive: Archive, live: LiveSchema, matches: MatchResult
) -> Guesses:
    """Guess.

    Args:
        misfits: what does not fit.
        session: of the merge.
        archive: the backup.
        live: the live schema.
        matches: what fits.
    """
    return Guesses(
        tables=_tables(misfits, archive, live, matches),
        columns=_columns(misfits, archive, matches),
        values={
            (table, name): value
            for table, names in misfits.unfilled.items()
            for name, value in _values(session, table, names)
        },
    )


def _tables(misfits: Misfits, archive: Archive, live: LiveSchema, matches: MatchResult) -> dict[TableName, TableName]:
    """For each missing table, a similar live table that takes no rows of the backup."""
    of_tools = {version.name for version in matches.versions}
    free = live.tables.keys() - set(matches.names.live.values()) - of_tools - matches.names.left_out
    columns: dict[TableName, set[str]] = {}
    for segment in archive.index.segments:
        if segment.table is not None:
            columns.setdefault(matches.names.tops.get(segment.table, segment.table), set()).update(
                segment.columns or ()
            )
    scores = {
        table: {name: _table_score(table, columns.get(table, set()), name, live) for name in free}
        for table in misfits.tables
    }
    return _paired(scores)


def _table_score(table: TableName, columns: Collection[str], name: TableName, live: LiveSchema) -> float:
    live_columns = live.tables[name].columns.keys()
    common = len(live_columns & set(columns)) / max(len(live_columns | set(columns)), 1)
    return common + _similarity(table.name, name.name) if common >= _ALIKE else 0


def _columns(misfits: Misfits, archive: Archive, matches: MatchResult) -> dict[Column, str]:
    """For each lost column, a live column of its type that the backup lacks: one of a similar name, or the only one."""
    renamed: dict[Column, str] = {}
    types = column_types(archive) if misfits.lost else {}
    for match in matches.tables:
        lost = [name for table, name in misfits.lost if table == match.name]
        parts = [types[segment.table] for segment in match.sources if segment.table in types]
        of_lost = {match.takes.get(name, name): kind for part in parts for name, kind in part.items()}
        scores = {old: {new: _column_score(match, old, new, of_lost.get(old)) for new in match.extra} for old in lost}
        renamed |= {(match.name, old): new for old, new in _paired(scores).items()}
    return renamed


def _column_score(match: TableMatch, old: str, new: str, old_type: str | None) -> float:
    if old_type is not None and not same_type(old_type, match.live.columns[new].type):
        return 0
    score = _similarity(old, new)
    alone = old_type is not None and len(match.extra) == len(match.lost) == 1
    return score if score >= _ALIKE or alone else 0


def _similarity(one: str, other: str) -> float:
    """How alike two names are, from 0 to 1; a name within the other is much alike."""
    if one in other or other in one:
        return 0.9
    return difflib.SequenceMatcher(None, one, other).ratio()


def _paired(scores: Mapping[Name, Mapping[Name, float]]) -> dict[Name, Name]:
    """The best pairs with a score, each name once; none if two are as good."""
    pairs: dict[Name, Name] = {}
    found = ((score, old, new) for old, of_old in scores.items() for new, score in of_old.items() if score)
    by_score = sorted(found, reverse=True)
    for at, (score, old, new) in enumerate(by_score):
        rival = any(score == other and old == name for other, name, _ in (by_score[:at] + by_score[at + 1 :]))
        if old not in pairs and new not in pairs.values() and not rival:
            pairs[old] = new
    return pairs


def _values(session: MergeSession, table: TableName, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """A value for each new column: one that its type takes, or the first row of the table that it refers to."""
    with session.catalogs():
        of_table = literal(quoted(*table)), ", ".join(map(literal, names))
        rows = session.query(_TYPES.format(*of_table), f"columns of {table}")
    for name, category, type_name, label, parent in rows:
        if parent is not None:
            referred, column = parent
            yield name, f"(SELECT {column} FROM {referred} ORDER BY 1 LIMIT 1)"
        elif label is not None:
            yield name, literal(label)
        else:
            yield name, _BY_TYPE.get(type_name) or _BY_CATEGORY.get(category, "''")
