"""How the columns of the backup's tables differ from the live ones: names and types, reported once for each table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.archive.index import TableName
from app.archive.inspect.column_types import same_type
from app.domain.changes import ColumnChanges, Retyped


def column_changes(
    table: TableName,
    types: Sequence[Mapping[str, str]],
    live_types: Mapping[str, str],
    only: tuple[Sequence[str], Sequence[str]],
) -> ColumnChanges:
    """Compare the columns of one table.

    Args:
        table: the live table's name.
        types: of the columns in the backup; of a partitioned table, of all parts that hold rows.
        live_types: of the live columns.
        only: columns that only the backup has, and that only the live table has.
    """
    retyped: dict[str, Retyped] = {}
    for column, backup in (pair for part in types for pair in part.items()):
        live = live_types.get(column)
        if live is not None and column not in only[0] and not same_type(backup, live):
            retyped.setdefault(column, Retyped(column=column, backup=backup, live=live))
    return ColumnChanges(
        table=str(table), only_backup=tuple(only[0]), only_live=tuple(only[1]), retyped=tuple(retyped.values())
    )
