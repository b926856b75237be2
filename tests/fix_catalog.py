"""A catalog that is open, as the service opens its own at the first use; and what new catalogs of tests are made of."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import pytest
from sqlalchemy import Engine, text

from app.catalog.engine import BUSY_SECONDS, make_engine, parse_url
from app.catalog.lazy import LEASE, lazy_engine
from app.catalog.migrations import bring_to_head
from app.catalog.restore_store import SqlRestores
from app.catalog.store import SqlCatalog, lazy_catalog


@pytest.fixture(scope="session", autouse=True)
def migrated_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The migrations of a new SQLite catalog run once in a process of tests, and not once in a test.

    A new file gets the tables that they made. What is no empty SQLite file, migrates as always.
    """
    pattern = tmp_path_factory.mktemp("migrated") / "catalog.db"
    open_catalog(f"sqlite:///{pattern}")
    with closing(sqlite3.connect(pattern)) as connection:
        statements = [line for line in connection.iterdump() if line not in {"BEGIN TRANSACTION;", "COMMIT;"}]

    def bring(engine: Engine) -> None:
        if engine.dialect.name == "sqlite":
            with suppress(OSError, sqlite3.Error):  # the migrations say what is wrong
                _make_tables(Path(unquote(str(engine.url.database)).removeprefix("file:")), statements)
        bring_to_head(engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.catalog.engine.bring_to_head", bring)
        yield


@pytest.fixture(scope="module")
def every_migration_runs() -> Iterator[None]:
    """For a module that is about the migrations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.catalog.engine.bring_to_head", bring_to_head)
        yield


def _make_tables(file: Path, statements: Sequence[str]) -> None:
    if file.stat().st_size:
        return
    with closing(sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            for statement in statements:
                connection.execute(statement)
        connection.execute("COMMIT")


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
