"""What a server's refusal means where its words tell more than its code, from the driver or from a program's errors.

Messages may be in the server's own language; the names of settings in them are not translated.

Source: PostgreSQL's lock.c and standby.c; documentation, "Hot Standby".
"""

from __future__ import annotations

import re

import psycopg

from app.domain.replication import in_psql, quoted
from app.errors import BackupCreationError, LockTableFullError, ServerUnavailableError, StandbyConflictError
from app.postgres.limits import FILE_LIMIT
from app.postgres.said import message_of
from app.postgres.shared_memory import HINT as SHARED_MEMORY_HINT
from app.postgres.shared_memory import lacks_shared_memory

_LOCK_TABLE = re.compile(r"max_(?:pred_)?locks_per_transaction")
_CONFLICT = re.compile(r"conflict with recovery")
# The server's name for it is not translated.
FILES_HINT = f"lift it for the role: {in_psql('postgres', f'ALTER ROLE … SET {FILE_LIMIT} = -1')}"
_NO_SNAPSHOT = re.compile(r"invalid snapshot identifier|snapshot \"[^\"]+\" does not exist")
_NO_SNAPSHOT_HINT = (
    "does a load balancer stand before several servers? write the host of one of them into DATABASE_URL; "
    "else see the server's log, and try again"
)
_MORE_LOCKS = in_psql("postgres", "ALTER SYSTEM SET max_locks_per_transaction = 256")
LOCKS_HINT = f"raise it on the server, and restart that: {_MORE_LOCKS} (SHOW max_locks_per_transaction says what it is)"
_CONFLICT_HINT = (
    "let the standby wait for its readers: hot_standby_feedback = on, or a higher max_standby_streaming_delay "
    f"(-1: without end), on the standby: {in_psql('postgres', 'ALTER SYSTEM SET hot_standby_feedback = on')}, then "
    "SELECT pg_reload_conf(); or back the primary up"
)
# The server's name for the setting is not translated.
_SERIALIZABLE = re.compile(r"default_transaction_isolation")
# As much as a palloc or a string buffer takes; far larger sizes are of damaged rows.
_TOO_LONG = re.compile(
    r"invalid memory alloc request size \d{10}\b|Cannot enlarge string buffer|string buffer exceeds maximum allowed"
)
_TOO_LONG_HINT = (
    "no dump can hold that row (a bytea takes two letters a byte, some letters of a text two); find it: "
    'SELECT ctid, octet_length(column) FROM table ORDER BY 2 DESC LIMIT 5; keep its value elsewhere: psql -c "\\copy '
    "(SELECT column FROM table WHERE ctid = '(0,1)') TO value.bin (FORMAT binary)\"; then cut it into several rows"
)
_SHOWN = 300
# The driver counts them among what is wrong with the connection, but the server does answer.
_REFUSALS = (
    psycopg.errors.ConfigurationLimitExceeded,
    psycopg.errors.DiskFull,
    psycopg.errors.IoError,
    psycopg.errors.OutOfMemory,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.QueryCanceled,
    psycopg.errors.StatementTooComplex,
)


def known_cause(
    said: str, database: str, error: psycopg.Error | None = None, *, role: str
) -> BackupCreationError | None:
    """What a refusal means; None where nothing special is known of it.

    Args:
        said: the server's words.
        database: which one was asked.
        error: of the driver, if it is one of the driver's.
        role: whose session it was.
    """
    whole = said
    said = _brief((error and message_of(error)) or said)  # the rest may quote rows
    if _LOCK_TABLE.search(whole):
        message = f"the server's table of locks is full (max_locks_per_transaction): database {database}: {said}"
        return LockTableFullError(message, LOCKS_HINT)
    if _TOO_LONG.search(whole):
        message = f"a row is longer than the 1 GB of text that PostgreSQL can send: database {database}: {said}"
        return BackupCreationError(message, _TOO_LONG_HINT)
    if _NO_SNAPSHOT.search(whole):
        message = f"a session of the dump of database {database} did not find the snapshot of the others: {said}"
        return ServerUnavailableError(message, _NO_SNAPSHOT_HINT)
    if error is not None and (hint := _refused(error, whole)):
        return ServerUnavailableError(f"the server of database {database} refuses: {said}", hint)
    if _CONFLICT.search(whole) or isinstance(error, psycopg.errors.SerializationFailure):
        message = f"the standby ended what was read of database {database}, to go on with its recovery: {said}"
        return StandbyConflictError(message, _CONFLICT_HINT)
    return _not_serializable(said, database, error, role)


def _not_serializable(said: str, database: str, error: psycopg.Error | None, role: str) -> BackupCreationError | None:
    """What it means that a standby has no serializable sessions, if that is what it says."""
    hint = error.diag.message_hint if isinstance(error, psycopg.errors.FeatureNotSupported) else None
    if not _SERIALIZABLE.search(hint or ""):
        return None
    # For the role in the database: that counts more than what any of them, or the server, has set.
    setting = f"IN DATABASE {quoted(database)} SET default_transaction_isolation = 'read committed'"
    return BackupCreationError(
        f"sessions of database {database} are serializable by default, and on a standby none can be: {said}",
        f"on the primary: {in_psql('postgres', f'ALTER ROLE {quoted(role)} {setting}')}",
    )


def _refused(error: psycopg.Error, whole: str) -> str | None:
    """What to do about a server that answers, and refuses; None if it does not."""
    if lacks_shared_memory(error):
        return SHARED_MEMORY_HINT
    if isinstance(error, psycopg.errors.ConfigurationLimitExceeded) and FILE_LIMIT in whole:
        return FILES_HINT
    if isinstance(error, _REFUSALS):
        return "the message is the server's: see its log; try again when the cause has passed"
    return None


def _brief(said: str) -> str:
    """In one line, and without the query of thousands of names that pg_dump adds."""
    line = " ".join(said.partition("pg_dump: detail: Query was")[0].split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]} …"
