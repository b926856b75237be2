"""Copies a catalog, wherever it is kept, into an SQLite file that stands by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import URL, insert, select

from app.catalog.edge import translated
from app.catalog.engine import make_engine, parse_url, place_of
from app.catalog.migrations import bring_to_head
from app.catalog.store import READS
from app.catalog.tables import metadata

_ROWS = 1000


def copy_catalog(url: str, path: Path) -> None:
    """Write every row, as of one instant, into a new SQLite catalog.

    Raises:
        CatalogError: the catalog cannot be read, or the copy not be written.
    """
    source_url = parse_url(url)
    with translated("the catalog cannot be copied", place_of(source_url)):
        source, copy = make_engine(source_url), make_engine(URL.create("sqlite", database=str(path)))
        try:
            bring_to_head(source)
            bring_to_head(copy)
            with source.execution_options(**_one_instant(source_url)).connect() as rows, copy.begin() as new:
                for table in metadata.sorted_tables:
                    found = rows.execute(select(table), execution_options={"yield_per": _ROWS})
                    for part in found.mappings().partitions(_ROWS):
                        new.execute(insert(table), [dict(row) for row in part])
        finally:
            source.dispose()
            copy.dispose()


def _one_instant(url: URL) -> dict[str, Any]:
    """SQLite's transactions show one instant by nature."""
    return {READS: True} | ({} if url.get_backend_name() == "sqlite" else {"isolation_level": "REPEATABLE READ"})
