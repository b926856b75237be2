"""The error of a restore for an error of the server, by its SQLSTATE."""

from __future__ import annotations

import re

import psycopg

from app.domain.psql import in_psql, quoted
from app.errors import (
    RestoreBusyError,
    RestoreDataError,
    RestoreError,
    RestorePermissionError,
    RestoreStorageError,
    RestoreValidationError,
)
from app.postgres.causes import file_limit_hint
from app.postgres.shared_memory import HINT as SHARED_MEMORY_HINT
from app.postgres.shared_memory import lacks_shared_memory

_ROLE = re.compile(r'role "(.*)" does not exist', re.DOTALL)
# The first match counts.
_BY_CLASS: tuple[tuple[type[psycopg.Error], type[RestoreError], str], ...] = (
    (
        psycopg.errors.InsufficientPrivilege,
        RestorePermissionError,
        "restore as the owner of the database, or as a superuser",
    ),
    (
        psycopg.errors.LockNotAvailable,
        RestoreBusyError,
        "find the session that holds the lock in pg_locks; try again when it has ended",
    ),
    (
        psycopg.errors.DeadlockDetected,
        RestoreBusyError,
        "another session and the restore waited for each other: stop whatever writes, and try again",
    ),
    (
        psycopg.errors.ObjectInUse,
        RestoreBusyError,
        "find the sessions that use it in pg_stat_activity and pg_prepared_xacts; try again when they have ended",
    ),
    (
        psycopg.errors.ReadOnlySqlTransaction,
        RestoreValidationError,
        "the server is a standby, or read-only: write the primary's host into DATABASE_URL",
    ),
    (psycopg.errors.DiskFull, RestoreStorageError, "free space on the server's disk, and try again"),
    (
        psycopg.errors.OutOfMemory,
        RestoreDataError,
        "the server has run out of memory, or of locks: see its log, and max_locks_per_transaction",
    ),
    (psycopg.errors.InsufficientResources, RestoreDataError, "the server has run out of memory or connections"),
)


def known_error(error: psycopg.Error, what: str, text: str, role: str) -> RestoreError | None:
    """The error of this service; None if the SQLSTATE tells nothing.

    Args:
        error: of the driver.
        what: name of what was being restored.
        text: the server's message, without values of rows.
        role: of the session.
    """
    message = f"{what}: {text}"
    if isinstance(error, psycopg.errors.UndefinedObject) and (missing := _ROLE.match(error.diag.message_primary or "")):
        making = in_psql("postgres", f"CREATE ROLE {quoted(missing[1])} NOLOGIN")
        return RestoreDataError(message, f"create the role first: {making}")
    if lacks_shared_memory(error):
        return RestoreStorageError(message, SHARED_MEMORY_HINT)
    if isinstance(error, psycopg.errors.ConfigurationLimitExceeded):
        return RestoreStorageError(message, file_limit_hint(role))
    return next((ours(message, hint) for kind, ours, hint in _BY_CLASS if isinstance(error, kind)), None)
