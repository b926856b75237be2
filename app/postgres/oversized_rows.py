"""A row that is too long to be sent, and how it is found.

PostgreSQL sends a row of COPY text in one buffer, which takes a gigabyte. A bytea takes two letters a byte there, and
some letters of a text two.

Source: PostgreSQL's stringinfo.c and memutils.h (MaxAllocSize).
"""

from __future__ import annotations

import re

from app.domain.psql import in_psql

# As much as a palloc or a string buffer takes; far larger sizes are of damaged rows.
_TOO_LONG = re.compile(
    r"invalid memory alloc request size \d{10}\b|Cannot enlarge string buffer|string buffer exceeds maximum allowed"
)
_NAME = r'(?:"(?:[^"]|"")*"|[^\s",().])+'
_COPY = re.compile(rf"command was: COPY ({_NAME}(?:\.{_NAME})?) \(({_NAME}(?:, {_NAME})*)\) TO STDOUT;", re.IGNORECASE)
_COLUMN = re.compile(_NAME)
_WHY = "no dump can hold that row (a bytea takes two letters a byte, some letters of a text two)"


def is_too_long(message: str) -> bool:
    """Whether a server's message is about such a row."""
    return _TOO_LONG.search(message) is not None


def with_command(error: str, command: str) -> str:
    """What a program said, with the COPY that it was told to do, as pg_dump tells that."""
    return f"{error}\ncommand was: {command}"


def find_row_hint(database: str, said: str) -> str:
    """What to do about it.

    Args:
        database: which one has it.
        said: by the program, with the COPY that failed: it names the table and its columns.
    """
    copy = _COPY.search(said)
    if copy is None:
        return f"{_WHY}: the server's log has the statement that failed, and so its table; cut it into several rows"
    table, columns = copy[1], _COLUMN.findall(copy[2])
    # As they are stored: what a value is when it is unpacked may be more than the server can hold.
    sizes = [f"pg_column_size({column})" for column in columns]
    shown = ", ".join(f"{size} AS {column}" for size, column in zip(sizes, columns, strict=True))
    looking = f"SELECT ctid, {shown} FROM {table} ORDER BY GREATEST({', '.join(sizes)}) DESC NULLS LAST LIMIT 5"
    keeping = f"\\copy (SELECT * FROM {table} WHERE ctid = '(0,1)') TO row.bin (FORMAT binary)"
    return (
        f"{_WHY}; find it: {in_psql(database, looking)}; keep it elsewhere, with its ctid for '(0,1)': "
        f"{in_psql(database, keeping)}; then cut it into several rows"
    )
