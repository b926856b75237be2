"""Sequences of tables and columns that have another name now: their positions go to the live column's own sequence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from app.archive.index import SegmentKind, TableName
from app.archive.pg_dump import IDENTIFIER, NAME, QUALIFIED, python_encoding, string_value, unquoted
from app.archive.reader import Archive
from app.postgres.merge.match import TableMatch
from app.postgres.merge.session import MergeSession
from app.postgres.merge.table_names import encoding_of, statements
from app.postgres.quoting import literal, quoted

_NAMES = {b"name": IDENTIFIER, b"qualified": QUALIFIED}
# Groups: the sequence, its table, its column; and for identities and defaults table, column, sequence.
_OWNED = re.compile(rb"ALTER SEQUENCE (%(qualified)s)\s+OWNED BY (%(qualified)s)\.(%(name)s);" % _NAMES, re.IGNORECASE)
_IDENTITY = re.compile(
    rb"ALTER TABLE (?:ONLY )?(%(qualified)s)\s+ALTER COLUMN (%(name)s)\s+ADD GENERATED [^(]*\(\s*"
    rb"SEQUENCE NAME (%(qualified)s)" % _NAMES,
    re.IGNORECASE,
)
_DEFAULT = re.compile(
    rb"ALTER TABLE (?:ONLY )?(%(qualified)s)\s+ALTER COLUMN (%(name)s)\s+"
    rb"SET DEFAULT nextval\((E?'(?:[^']|'')+')::regclass\)" % _NAMES,
    re.IGNORECASE,
)
# Its own (serial, identity) before one that its default names.
_SEQUENCE_OF = """
    SELECT s.seqrelid::bigint FROM pg_attribute a
        JOIN pg_depend d ON d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass AND refobjid = a.attrelid
            AND refobjsubid = a.attnum AND d.classid = 'pg_class'::regclass
        JOIN pg_sequence s ON s.seqrelid = d.objid
    WHERE a.attrelid = {table}::regclass AND a.attname = {column}
    UNION ALL
    SELECT s.seqrelid::bigint FROM pg_attribute a
        JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
        JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
        JOIN pg_sequence s ON d.refclassid = 'pg_class'::regclass AND s.seqrelid = d.refobjid
    WHERE a.attrelid = {table}::regclass AND a.attname = {column} LIMIT 1"""


def followed_sequences(
    session: MergeSession, archive: Archive, matches: Sequence[TableMatch], tops: Mapping[TableName, TableName]
) -> dict[str, int]:
    """The oids of live sequences, by the backup's names as SQL, for columns that have another name now.

    Args:
        session: under an empty search_path.
        archive: of the sequences.
        matches: tables of the merge.
        tops: by table of the backup, the partitioned table that it belongs to, or itself.
    """
    places = {(table, old): (match.name, new) for match in matches for table, old, new in _renamed(match, tops)}
    followed: dict[str, int] = {}
    for sequence, table, column in _owned(archive) if places else ():
        if place := places.get((table, column)):
            query = _SEQUENCE_OF.format(table=literal(quoted(*place[0])), column=literal(place[1]))
            for (oid,) in session.query(query, f"sequences of {place[0]}"):
                followed[sequence] = oid
    return followed


def _renamed(match: TableMatch, tops: Mapping[TableName, TableName]) -> Iterator[tuple[TableName, str, str]]:
    """Tables and columns of the backup with another name now, with the live column."""
    tables = {tops.get(segment.table, segment.table) for segment in match.sources if segment.table is not None}
    for table in tables:
        yield from ((table, old, new) for old, new in match.takes.items() if (table, old) != (match.name, new))


def _owned(archive: Archive) -> Iterator[tuple[str, TableName, str]]:
    """Sequences as SQL names them, with the table and column that draw from them."""
    encoding = python_encoding(encoding_of(archive))
    for statement in statements(archive, SegmentKind.BEFORE):
        if owned := _OWNED.match(statement):
            sequence, table, column = owned.groups()
        elif identity := _IDENTITY.match(statement):
            table, column, sequence = identity.groups()
        elif default := _DEFAULT.match(statement):
            table, column = default[1], default[2]
            sequence = string_value(default[3], encoding).encode(encoding, errors="replace")
        else:
            continue
        *schema, name = (unquoted(part, encoding) for part in NAME.findall(table))
        yield sequence.decode(encoding, errors="replace"), TableName("".join(schema), name), unquoted(column, encoding)
