"""Causes of a server's error that its message shows and its SQLSTATE does not.

The message comes from the driver, or from the error output of a program. It may be in the server's language, but names
of settings are not translated. DETAIL and CONTEXT are not searched: they quote rows, which may hold any text.

Source: PostgreSQL's lock.c, standby.c and stringinfo.c; documentation, "Hot Standby".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg

from app.domain.psql import in_psql, quoted
from app.errors import BackupCreationError, LockTableFullError, ServerUnavailableError, StandbyConflictError
from app.postgres.oversized_rows import find_row_hint, is_too_long
from app.postgres.server_messages import message_of, without_details
from app.postgres.session_settings import FILE_LIMIT
from app.postgres.shared_memory import HINT as SHARED_MEMORY_HINT
from app.postgres.shared_memory import lacks_shared_memory

_LOCK_TABLE = re.compile(r"max_(?:pred_)?locks_per_transaction")
_CONFLICT = re.compile(r"conflict with recovery")
_SERIALIZABLE = re.compile(r"default_transaction_isolation")
_NO_SNAPSHOT = re.compile(r"invalid snapshot identifier|snapshot \"[^\"]+\" does not exist")
_NO_SNAPSHOT_HINT = (
    "is there a load balancer before several servers? write the host of one of them into DATABASE_URL; "
    "else see the server's log, and try again"
)
_MORE_LOCKS = in_psql("postgres", "ALTER SYSTEM SET max_locks_per_transaction = 256")
LOCKS_HINT = f"raise it on the server, and restart the server: {_MORE_LOCKS} (SHOW max_locks_per_transaction)"
_WAITING = in_psql("postgres", "ALTER SYSTEM SET hot_standby_feedback = on", "SELECT pg_reload_conf()")
_CONFLICT_HINT = (
    "let the standby wait for its queries: hot_standby_feedback = on, or a higher max_standby_streaming_delay "
    f"(-1: no limit), on the standby: {_WAITING}; or back up the primary"
)
_SHOWN = 300
# The driver derives these from OperationalError, but the server does answer.
_REFUSALS = (
    psycopg.errors.ConfigurationLimitExceeded,
    psycopg.errors.DiskFull,
    psycopg.errors.IoError,
    psycopg.errors.OutOfMemory,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.QueryCanceled,
    psycopg.errors.StatementTooComplex,
)
# A program prints the server's hint on its own line, and its own statement on the last lines.
_HINT = re.compile(r"^HINT:\s*(.*)$", re.MULTILINE)
_ASKED = re.compile(
    r"^(?:pg_dump: detail: Query was|pg_dump: detail: Command was|command was): .*", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """An error of the server.

    Attributes:
        message: of the server, without texts that quote rows.
        hint: of the server.
        error: of the driver; None if a program printed the error.
        asked: all that the program printed, with its statement.
    """

    database: str
    role: str
    message: str
    hint: str
    error: psycopg.Error | None
    asked: str = ""

    @property
    def brief(self) -> str:
        """The message in one line, shortened."""
        line = " ".join(self.message.split())
        return line if len(line) <= _SHOWN else f"{line[:_SHOWN]} …"


def known_cause(
    text: str, database: str, error: psycopg.Error | None = None, *, role: str
) -> BackupCreationError | None:
    """The error for a known cause; None if the cause is not known.

    Args:
        text: the message of the server with its details.
        database: name of the database.
        error: the driver's; None if a program printed the message.
        role: of the session.
    """
    if error is not None and error.diag.message_primary:
        refusal = _Refusal(database, role, _message_of(error), error.diag.message_hint or "", error)
    else:
        message = _ASKED.sub("", without_details(text))
        hints = "\n".join(_HINT.findall(message))
        refusal = _Refusal(database, role, _HINT.sub("", message), hints, error, asked=text)
    causes = (_of_locks, _of_a_standby, _of_a_row, _of_a_snapshot, _of_the_server)
    return next((cause for meaning in causes if (cause := meaning(refusal))), None)


def file_limit_hint(role: str) -> str:
    """How to lift the limit of temporary files for a role; only a superuser may."""
    lifting = f"ALTER ROLE {quoted(role)} SET {FILE_LIMIT} = -1"
    return f"lift it for the role, as a superuser: {in_psql('postgres', lifting)}"


def _message_of(error: psycopg.Error) -> str:
    # DETAIL has the size of the buffer; no DETAIL that quotes rows starts with these words.
    detail = error.diag.message_detail or ""
    return f"{message_of(error)} {detail}" if detail.startswith("Cannot enlarge string buffer") else message_of(error)


def _of_locks(refusal: _Refusal) -> BackupCreationError | None:
    if not _LOCK_TABLE.search(refusal.hint):
        return None
    what = "the server's table of locks is full (max_locks_per_transaction)"
    return LockTableFullError(f"{what}: database {refusal.database}: {refusal.brief}", LOCKS_HINT)


def _of_a_standby(refusal: _Refusal) -> BackupCreationError | None:
    database = refusal.database
    if _CONFLICT.search(refusal.message) or isinstance(refusal.error, psycopg.errors.SerializationFailure):
        message = f"the standby cancelled the read of database {database}, to continue its recovery: {refusal.brief}"
        return StandbyConflictError(message, _CONFLICT_HINT)
    if isinstance(refusal.error, psycopg.errors.FeatureNotSupported) and _SERIALIZABLE.search(refusal.hint):
        what = f"sessions of database {database} are serializable by default, which a standby does not support"
        # A setting of the role in the database takes precedence over those of role, database and server.
        setting = f"IN DATABASE {quoted(database)} SET default_transaction_isolation = 'read committed'"
        hint = f"on the primary: {in_psql('postgres', f'ALTER ROLE {quoted(refusal.role)} {setting}')}"
        return BackupCreationError(f"{what}: {refusal.brief}", hint)
    return None


def _of_a_row(refusal: _Refusal) -> BackupCreationError | None:
    if not is_too_long(refusal.message):
        return None
    what = "a row is longer than 1 GB as text, which is the most that PostgreSQL can send"
    hint = find_row_hint(refusal.database, refusal.asked)
    return BackupCreationError(f"{what}: database {refusal.database}: {refusal.brief}", hint)


def _of_a_snapshot(refusal: _Refusal) -> BackupCreationError | None:
    if not _NO_SNAPSHOT.search(refusal.message):
        return None
    what = f"a session of the dump of database {refusal.database} does not know the snapshot of the others"
    return ServerUnavailableError(f"{what}: {refusal.brief}", _NO_SNAPSHOT_HINT)


def _of_the_server(refusal: _Refusal) -> BackupCreationError | None:
    """The error of a server that answers but refuses a statement."""
    error = refusal.error
    if error is None:
        return None
    if lacks_shared_memory(error):
        hint = SHARED_MEMORY_HINT
    elif isinstance(error, psycopg.errors.ConfigurationLimitExceeded) and FILE_LIMIT in refusal.message:
        hint = file_limit_hint(refusal.role)
    elif isinstance(error, _REFUSALS):
        hint = "the message is the server's: see its log; try again when the cause is gone"
    else:
        return None
    return ServerUnavailableError(f"the server of database {refusal.database} refuses: {refusal.brief}", hint)
