"""The demo's database: a residency scheduler, filled with the same rows for the same seed and scale.

Rows are streamed, so that only one block of them is in memory at any scale.
"""

from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from random import Random

import psycopg

from demo.residency_events import GROWING_TABLES
from demo.residency_rows import SMALL_TABLES, Residency, Row, Table
from demo.residency_text import NULL

BLOCK_CHARACTERS = 1 << 20

# Rows are joined with these two characters and escaped as one block, which is much faster than value by value. No
# value contains them.
_FIELD_END = "\x1f"
_ROW_END = "\x1e"

# The backslash is first, because the others add backslashes.
_ESCAPES = (
    ("\\", "\\\\"),
    ("\t", "\\t"),
    ("\n", "\\n"),
    ("\r", "\\r"),
    (NULL, "\\N"),
    (_FIELD_END, "\t"),
    (_ROW_END, "\n"),
)


def fill(
    connection: psycopg.Connection,
    *,
    scale: float = 1.0,
    seed: int = 2025,
    progress: Callable[[str, int], None] | None = None,
) -> dict[str, int]:
    """Create the residency scheduler in an empty database, in one transaction.

    It is committed at the end, unless the caller had opened one already.

    Args:
        connection: to the database, whose encoding must be UTF8.
        scale: 1 makes about 200,000 rows; their number grows in proportion.
        seed: of the random choices.
        progress: called with a table's name and its rows so far, after every block.

    Returns:
        Number of rows by table, with quotes if the name needs them. Partitions are counted as their parent.
    """
    size = Residency(scale)
    counts: dict[str, int] = {}
    with connection.transaction():
        connection.execute(_script("residency_tables.sql"))
        for table in (*SMALL_TABLES, *GROWING_TABLES):
            rows = table.rows(size, Random(f"{seed} {table.name}"))
            counts[table.name] = _load(connection, table, rows, progress)
        connection.execute(_script("residency_after.sql"))
    return counts


def copy_blocks(rows: Iterable[Row]) -> Iterator[tuple[str, int]]:
    """Rows in COPY's text format, as large blocks, each with the number of its rows."""
    lines: list[str] = []
    characters = 0
    for row in rows:
        line = _FIELD_END.join(row)
        lines.append(line)
        characters += len(line)
        if characters >= BLOCK_CHARACTERS:
            yield _encoded(lines), len(lines)
            lines.clear()
            characters = 0
    if lines:
        yield _encoded(lines), len(lines)


def _load(
    connection: psycopg.Connection,
    table: Table,
    rows: Iterable[Row],
    progress: Callable[[str, int], None] | None,
) -> int:
    loaded = 0
    statement = f"COPY {table.name} ({table.columns}) FROM STDIN".encode()
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for block, count in copy_blocks(rows):
            copy.write(block)
            loaded += count
            if progress is not None:
                progress(table.name, loaded)
    return loaded


def _encoded(lines: list[str]) -> str:
    block = _ROW_END.join((*lines, ""))
    for plain, escaped in _ESCAPES:
        block = block.replace(plain, escaped)
    return block


def _script(name: str) -> bytes:
    return resources.files("demo").joinpath(name).read_bytes()
