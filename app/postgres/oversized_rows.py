"""Rows that are too long to be dumped, and how to find one.

PostgreSQL sends a row of COPY text in one buffer of at most 1 GB. A byte of a bytea takes two characters there, and so
do some characters of a text.

Source: PostgreSQL's stringinfo.c and memutils.h (MaxAllocSize).
"""

from __future__ import annotations

import re

from app.domain.psql import in_psql

# Ten digits: just above the limit of a palloc or string buffer. Larger sizes come from damaged rows.
_TOO_LONG = re.compile(
    r"invalid memory alloc request size \d{10}\b|Cannot enlarge string buffer|string buffer exceeds maximum allowed"
)
_NAME = r'(?:"(?:[^"]|"")*"|[^\s",().])+'
_COPY = re.compile(rf"command was: COPY ({_NAME}(?:\.{_NAME})?) \(({_NAME}(?:, {_NAME})*)\) TO STDOUT;", re.IGNORECASE)
_COLUMN = re.compile(_NAME)
_WHY = "no dump can hold that row (a byte of a bytea takes two characters, and so do some characters of a text)"


def is_too_long(message: str) -> bool:
    """Whether a message of the server is about such a row."""
    return _TOO_LONG.search(message) is not None


def with_command(error: str, command: str) -> str:
    """The message of a program with its COPY statement, in the form that pg_dump uses."""
    return f"{error}\ncommand was: {command}"


def find_row_hint(database: str, output: str) -> str:
    """A hint: how to find such a row and what to do with it.

    Args:
        database: that holds the row.
        output: of the program, with the failed COPY, which names table and columns.
    """
    copy = _COPY.search(output)
    if copy is None:
        return f"{_WHY}: the server's log has the failed statement with the table's name; split the row into several"
    table, columns = copy[1], _COLUMN.findall(copy[2])
    # The stored sizes: an uncompressed value may be larger than the server can hold.
    sizes = [f"pg_column_size({column})" for column in columns]
    shown = ", ".join(f"{size} AS {column}" for size, column in zip(sizes, columns, strict=True))
    query = f"SELECT ctid, {shown} FROM {table} ORDER BY GREATEST({', '.join(sizes)}) DESC NULLS LAST LIMIT 5"
    saving = f"\\copy (SELECT * FROM {table} WHERE ctid = '(0,1)') TO row.bin (FORMAT binary)"
    return (
        f"{_WHY}; find it: {in_psql(database, query)}; save it, with its ctid for '(0,1)': "
        f"{in_psql(database, saving)}; then split it into several rows"
    )
