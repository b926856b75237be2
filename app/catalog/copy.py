"""Copies a catalog, of SQLite or PostgreSQL, into a new SQLite file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, insert, select

from app.catalog.edge import READS
from app.catalog.engine import make_engine
from app.catalog.migrations import bring_to_head
from app.catalog.tables import metadata

_ROWS = 1000


def copy_rows(source: Engine, path: Path) -> None:
    """Write every row of a catalog, as of one instant, into a new SQLite catalog."""
    copy = make_engine(URL.create("sqlite", database=str(path)))
    try:
        bring_to_head(copy)
        with source.execution_options(**_one_instant(source)).connect() as rows, copy.begin() as new:
            for table in metadata.sorted_tables:
                found = rows.execute(select(table), execution_options={"yield_per": _ROWS})
                for part in found.mappings().partitions(_ROWS):
                    new.execute(insert(table), [dict(row) for row in part])
    finally:
        copy.dispose()


def _one_instant(source: Engine) -> dict[str, Any]:
    """Options of a connection that sees one instant; SQLite's transactions always do."""
    return {READS: True} | ({} if source.url.get_backend_name() == "sqlite" else {"isolation_level": "REPEATABLE READ"})
