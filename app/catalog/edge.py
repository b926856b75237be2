"""Turns SQLAlchemy's errors into ours."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from app.catalog.no_room import PRIMARY, error_of_disk
from app.errors import CatalogError, CorruptCatalogError

# An execution option of connections that only read; the engine then takes no lock that writers queue for.
READS = "catalog_reads"


@contextmanager
def translated(doing: str, place: str) -> Iterator[None]:
    """Turn the errors of a block into CatalogError.

    Only the driver's message is kept: SQLAlchemy adds the statement and its parameters.

    Args:
        doing: what is not done if the block fails: ``the run cannot be begun``.
        place: the catalog, without a password.

    Raises:
        CatalogStorageError: its disk is full.
        CatalogReadOnlyError: its disk or server takes no changes.
        CatalogError: it cannot be reached, read or written, or holds a value that this program does not know.
    """
    try:
        yield
    except (SQLAlchemyError, ValueError) as error:
        if _is_corrupt(error):
            raise CorruptCatalogError(
                f"{doing}: {place} is corrupt: {_driver_message(error)}",
                "stop the worker, then rebuild the catalog from the files: "
                f"mv {place} {place}.corrupt; rm -f {place}-wal {place}-shm; residency-backup sync",
            ) from error
        cause = getattr(error, "orig", None)
        if of_disk := error_of_disk(f"{doing}: {' '.join(_driver_message(error).split())}", place, cause):
            raise of_disk from error
        raise CatalogError(
            f"{doing}: {' '.join(_driver_message(error).split())}",
            f"check that {place} is there, reachable and, for uid {os.geteuid()}, writable; then try again",
        ) from error


def _is_corrupt(error: Exception) -> bool:
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return code is not None and code & PRIMARY in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _driver_message(error: Exception) -> str:
    """The driver's message. Of PostgreSQL only the first line: the others quote the statement and values."""
    if isinstance(error, ValueError):
        return str(error)
    cause = getattr(error, "orig", None)
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    return str(primary or cause or type(error).__name__)
