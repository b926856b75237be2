"""What is known of a snapshot that a connection keeps exported."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.archive.index import TableName


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedSnapshot:
    """A snapshot that a connection keeps exported.

    Attributes:
        id: what other connections call it.
        taken_at: the instant, by the server's clock.
        tables: every table whose rows a complete dump must carry, by the name that the dump gives them under.
        server_version: as the server says it: ``18.6``.
        encoding: of the database: ``UTF8``.
        tables_locked: those tables, and the partitioned ones above them, by their own names.
        wal_position: where no transaction that the snapshot cannot see had written before: ``0/1A2B3C4D``. None where
            that is not known: an old transaction is open, or the server is a standby.
        unlocked: whether no table is locked, so that one may be altered until pg_dump has locked it.
    """

    id: str
    taken_at: datetime
    tables: frozenset[TableName]
    tables_locked: frozenset[TableName]
    server_version: str
    encoding: str
    wal_position: str | None
    unlocked: bool = False
