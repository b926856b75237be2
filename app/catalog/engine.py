"""Opens a catalog: its database, its connections, and its migrations.

Every transaction has a connection of its own. A catalog is asked a few times a minute, so that costs little, and no
connection goes stale by a fork or by a restart of the server.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import stat
import time
from pathlib import Path
from shlex import quote as quote_word
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url

from app.catalog.edge import READS
from app.catalog.migrations import bring_to_head
from app.catalog.no_room import error_of_disk
from app.errors import CatalogError, SettingsError
from app.urls import ENCODED, require_port

BUSY_SECONDS = 15
POSTGRESQL = {"postgresql", "postgresql+psycopg", "postgres"}
_BESIDE = ("-journal", "-wal", "-shm")
_PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
SQLITE = {"sqlite", "sqlite+pysqlite"}


def parse_url(text: str) -> URL:
    """The URL of a catalog, with the driver that this program uses.

    Raises:
        SettingsError: it names no SQLite file and no PostgreSQL database. The message does not repeat it: it may hold
            a password.
    """
    hint = "write sqlite:////folder/catalog.db or postgresql://user:password@host/database"
    try:
        url = make_url(text.strip())
        require_port("" if url.port is None else str(url.port))
    except Exception:  # noqa: BLE001 -- ArgumentError, or ValueError from a port that is none
        raise SettingsError(f"the catalog's URL cannot be read; {ENCODED}", hint) from None
    if url.drivername in POSTGRESQL:
        if text.count("@") > 1:  # the rest of the password would be taken for the host's name
            raise SettingsError("an @ in the user's name or password of the catalog's URL is written %40", hint)
        return url.set(drivername="postgresql+psycopg")
    if url.drivername in SQLITE and not url.host and url.database and url.database != ":memory:":
        return URL.create("sqlite", database=str(Path(url.database).absolute()))
    raise SettingsError("the catalog's URL names neither a SQLite file nor a PostgreSQL database", hint)


def place_of(url: URL) -> str:
    """A catalog's place for messages, without a password."""
    if _is_sqlite(url):
        return str(url.database)
    return f"the database {url.database or ''} on {url.host or url.query.get('host') or 'localhost'}"


def make_engine(url: URL) -> Engine:
    """The engine of a catalog; nothing connects yet, but an SQLite file is made.

    Raises:
        CatalogError: the file cannot be made.
    """
    if not _is_sqlite(url):
        return _postgresql_engine(url)
    path = Path(str(url.database))
    _make_file(path)
    _require_files(path)
    return _sqlite_engine(path)


# An engine holds no connection, but statements that are compiled once. Compiling is most of the cost of a query, so a
# process that serves several runs keeps its engine.
@functools.lru_cache(maxsize=8)
def _postgresql_engine(url: URL) -> Engine:
    patience: dict[str, Any] = {"connect_timeout": 10, "tcp_user_timeout": BUSY_SECONDS * 1000}
    arguments = {name: value for name, value in patience.items() if name not in url.query}
    # Prepared statements would not outlive their connection, and poolers between us and the server mix them up.
    engine = _engine(url, arguments | {"prepare_threshold": None})
    event.listen(engine, "begin", _begin_postgresql)
    return engine


@functools.lru_cache(maxsize=8)
def _sqlite_engine(path: Path) -> Engine:
    # mode=rw: a file that was removed meanwhile is an error, not a new and empty catalog.
    file = URL.create("sqlite", database=f"file:{quote(str(path))}", query={"mode": "rw", "uri": "true"})
    engine = _engine(file, {"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _engine(url: URL, arguments: dict[str, Any]) -> Engine:
    return create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=arguments)


def ready_engine(url: URL) -> Engine:
    """The engine of a catalog that is made, or brought up to date."""
    engine = make_engine(url)
    try:
        bring_to_head(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make_file(path: Path) -> None:
    """Make an empty file that only this user may read, if it does not exist.

    A file that exists is not opened: closing it would drop the locks that SQLite holds for this process.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except FileNotFoundError:
        raise CatalogError(
            f"the folder of the catalog is missing: {path.parent}",
            f"mount its disk, or make it: mkdir -p {quote_word(str(path.parent))}",
        ) from None
    except OSError as error:
        message = f"the catalog {path} cannot be made: {error.strerror or error}"
        if of_disk := error_of_disk(message, str(path), error):
            raise of_disk from error
        raise CatalogError(
            message,
            f"let this user (uid {os.geteuid()}) write in {path.parent}, or name another place in BACKUP_CATALOG_URL",
        ) from error


def _require_files(path: Path) -> None:
    """Refuse a pipe: SQLite would wait for its writer without end, and no signal would reach it.

    Raises:
        CatalogError: one of the files is no regular file.
    """
    for file in (path, *(path.with_name(path.name + suffix) for suffix in _BESIDE)):
        try:
            regular = stat.S_ISREG(file.stat().st_mode)
        except OSError:
            continue  # it does not exist, or SQLite reports the error better
        if not regular:
            raise CatalogError(
                f"{file} is no file", f"see who put it there, then remove it: rm -d {quote_word(str(file))}"
            )


def _begin_postgresql(connection: Connection) -> None:
    # A process may be stopped in the middle of its transaction: do not wait for it for ever.
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'")


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # None: the driver begins no transactions by itself, so DDL too is part of ours.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA foreign_keys = ON")
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Let readers and a writer work at the same time. If the file system cannot do that, they wait for each other."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            # Another process changes the mode right now; SQLite itself does not wait for that.
            if error.sqlite_errorcode not in _PASSING or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # SQLite refuses a transaction that reads first and then writes, if another one wrote meanwhile; it does not wait.
    # So a transaction that may write asks for the lock at its beginning, and waits there.
    reads = connection.get_execution_options().get(READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
