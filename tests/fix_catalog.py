"""A catalog that is open: what a test wants, where the service opens its own at the first use."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy import text

from app.catalog.engine import make_engine, parse_url
from app.catalog.lazy import LEASE, lazy_engine
from app.catalog.restore_store import SqlRestores
from app.catalog.store import SqlCatalog, lazy_catalog


def open_catalog(url: str, *, lease: timedelta = LEASE) -> SqlCatalog:
    """The catalog of that URL, made or brought up to date."""
    catalog = lazy_catalog(url, lease=lease)
    catalog.open()
    return catalog


def open_restores(url: str, *, lease: timedelta = LEASE) -> SqlRestores:
    """The record of restores in the catalog of that URL."""
    record = SqlRestores(lazy_engine(url, lease=lease))
    record.open()
    return record


def held_by(url: str, holder: str, table: str = "backup_runs") -> None:
    """Give all runs, or restores, to another holder."""
    engine = make_engine(parse_url(url))
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET holder = :holder"), {"holder": holder})
    engine.dispose()


def make_silent(url: str, since: timedelta, table: str = "backup_runs") -> None:
    """As if the holders of all runs, or restores, had given no sign of life for so long."""
    engine = make_engine(parse_url(url))
    with engine.begin() as connection:
        for row_id, holder in list(connection.execute(text(f"SELECT id, holder FROM {table}"))):
            name, _, signs = holder.partition("@")
            steady, server = (float(each) - since.total_seconds() if each else "" for each in signs.split("@"))
            values = {"id": row_id, "holder": f"{name}@{steady}@{server}"}
            connection.execute(text(f"UPDATE {table} SET holder = :holder WHERE id = :id"), values)
    engine.dispose()


def in_another_namespace(*, silent: float = 0, server: str = "") -> str:
    """A holder of this machine that cannot be looked at, with its last sign of life so many seconds ago."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot}/pid:[1]/7/123@{time.monotonic() - silent}@{server}"
