"""A catalog that is opened by its first use, and the transactions of the records that are kept in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import URL, Connection, Engine

from app.catalog import signs
from app.catalog.copy import copy_rows
from app.catalog.edge import READS, translated
from app.catalog.engine import parse_url, place_of, ready_engine

# How long a holder that cannot be looked at (another machine, another container) may give no sign of life.
LEASE = timedelta(seconds=90)


class LazyEngine:
    """The engine of a catalog, made when it is first needed.

    Args:
        connect: makes the engine of a catalog that is ready for use; called again if it failed.
        url: where the catalog is.
        lease: how long a holder that cannot be looked at may give no sign of life.
    """

    def __init__(self, connect: Callable[[], Engine], url: URL, *, lease: timedelta) -> None:
        self._connect = connect
        self._engine: Engine | None = None
        self._opening = threading.Lock()
        self.url = url
        self.place = place_of(url)
        self.lease = lease

    @property
    def is_file(self) -> bool:
        """Whether the catalog is an SQLite file."""
        return self.url.get_backend_name() == "sqlite"

    def is_below(self, folder: Path) -> bool:
        """Whether the catalog is a file in a folder."""
        return self.is_file and Path(str(self.url.database)).is_relative_to(folder)

    def ready(self) -> Engine:
        """The engine; makes the catalog, or brings it up to date, at the first call."""
        with self._opening:
            if self._engine is None:
                self._engine = self._connect()
            return self._engine

    def close(self) -> None:
        """Give up the engine; the next use makes another."""
        with self._opening:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None


class Store:
    """A record in a catalog: each of its methods is one transaction."""

    def __init__(self, engine: LazyEngine) -> None:
        self._engine = engine

    def open(self) -> None:
        """Connect, and make the catalog or bring it up to date. Does nothing if that was done already.

        Raises:
            CatalogError: it cannot be reached, read or written, or a newer version of this program made it.
        """
        with translated("the catalog cannot be opened", self._engine.place):
            self._engine.ready()

    def close(self) -> None:
        """Give up what the catalog holds; the next use opens it again."""
        self._engine.close()

    def is_below(self, folder: Path) -> bool:
        return self._engine.is_below(folder)

    def copy(self, path: Path) -> None:
        with translated("the catalog cannot be copied", self._engine.place):
            copy_rows(self._engine.ready(), path)

    @contextmanager
    def _writing(self, failure: str) -> Iterator[Connection]:
        """A transaction; `failure` says what is not done if it fails."""
        with translated(failure, self._engine.place), self._engine.ready().begin() as connection:
            yield connection

    @contextmanager
    def _reading(self, failure: str) -> Iterator[Connection]:
        """A transaction that only reads: one view of everything, and no writer waits for it."""
        with (
            translated(failure, self._engine.place),
            self._engine.ready().execution_options(**{READS: True}).begin() as connection,
        ):
            yield connection

    def _disbelieve(self, now: datetime) -> None:
        """Put signs of life from the future back, in a transaction of its own: the caller's may be rolled back."""
        with self._reading("signs of life cannot be read") as connection:
            ahead = signs.any_ahead(connection, signs.moment(connection, now))
        if ahead:
            with self._writing("a sign of life from the future cannot be put back") as connection:
                signs.disbelieve(connection, signs.moment(connection, now), self._engine.lease)


def lazy_engine(url: str, *, lease: timedelta = LEASE, prepare: Callable[[], None] = lambda: None) -> LazyEngine:
    """The engine of the catalog at that URL. Every method of a record may then raise what opening raises.

    Args:
        url: of a SQLite file or a PostgreSQL database.
        lease: how long a holder that cannot be looked at may give no sign of life.
        prepare: called before the catalog is opened.

    Raises:
        SettingsError: the URL names no SQLite file and no PostgreSQL database.
    """
    parsed = parse_url(url)

    def connect() -> Engine:
        prepare()
        return ready_engine(parsed)

    return LazyEngine(connect, parsed, lease=lease)
