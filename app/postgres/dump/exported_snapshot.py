"""Facts of an exported snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from app.archive.index import TableName


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedSnapshot:
    """A snapshot that a connection keeps exported.

    Attributes:
        id: by which other connections use it.
        taken_at: when it was taken, by the server's clock.
        tables: every table whose rows a complete dump must hold, by the name under which it holds them.
        server_version: ``18.6``.
        encoding: of the dump: ``UTF8``.
        dumped_as: the name under which a dump holds a table's rows, by its own name.
        tables_locked: those tables and the partitioned ones above them, by their own names.
        wal_position: LSN, ``0/1A2B3C4D``. Transactions that the snapshot does not see wrote nothing before it. None if
            it is unknown: an old transaction is open, or the server is a standby.
        unlocked: whether no table is locked, so that tables may be altered until pg_dump has locked them.
    """

    id: str
    taken_at: datetime
    tables: frozenset[TableName]
    dumped_as: Mapping[TableName, TableName]
    tables_locked: frozenset[TableName]
    server_version: str
    encoding: str
    wal_position: str | None
    unlocked: bool = False
