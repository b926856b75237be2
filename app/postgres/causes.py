"""What a server's refusal means where its words tell more than its code, from the driver or from a program's errors.

Messages may be in the server's own language; the names of settings in them are not translated. What quotes rows, DETAIL
and CONTEXT, is no reason for anything: a row may hold the words of any refusal.

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
    "does a load balancer stand before several servers? write the host of one of them into DATABASE_URL; "
    "else see the server's log, and try again"
)
_MORE_LOCKS = in_psql("postgres", "ALTER SYSTEM SET max_locks_per_transaction = 256")
LOCKS_HINT = f"raise it on the server, and restart that: {_MORE_LOCKS} (SHOW max_locks_per_transaction says what it is)"
_WAITING = in_psql("postgres", "ALTER SYSTEM SET hot_standby_feedback = on", "SELECT pg_reload_conf()")
_CONFLICT_HINT = (
    "let the standby wait for its readers: hot_standby_feedback = on, or a higher max_standby_streaming_delay "
    f"(-1: without end), on the standby: {_WAITING}; or back the primary up"
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
# A program writes the server's hint on a line of its own, and what it asked for on the last ones.
_HINT = re.compile(r"^HINT:\s*(.*)$", re.MULTILINE)
_ASKED = re.compile(
    r"^(?:pg_dump: detail: Query was|pg_dump: detail: Command was|command was): .*", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What a server said, to whom.

    Attributes:
        message: its message, with nothing that quotes rows.
        hint: its hint.
        error: of the driver; None if a program was told.
        asked: all that a program said, with what it asked for.
    """

    database: str
    role: str
    message: str
    hint: str
    error: psycopg.Error | None
    asked: str = ""

    @property
    def brief(self) -> str:
        """The message in one line, of no great length."""
        line = " ".join(self.message.split())
        return line if len(line) <= _SHOWN else f"{line[:_SHOWN]} …"


def known_cause(
    said: str, database: str, error: psycopg.Error | None = None, *, role: str
) -> BackupCreationError | None:
    """What a refusal means; None where nothing special is known of it.

    Args:
        said: the server's words, with all that it said beside its message.
        database: which one was asked.
        error: of the driver, if it is one of the driver's.
        role: whose session it was.
    """
    if error is not None and error.diag.message_primary:
        refusal = _Refusal(database, role, _message_of(error), error.diag.message_hint or "", error)
    else:
        told = _ASKED.sub("", without_details(said))
        hints = "\n".join(_HINT.findall(told))
        refusal = _Refusal(database, role, _HINT.sub("", told), hints, error, asked=said)
    causes = (_of_locks, _of_a_standby, _of_a_row, _of_a_snapshot, _of_the_server)
    return next((cause for meaning in causes if (cause := meaning(refusal))), None)


def file_limit_hint(role: str) -> str:
    """How a role is freed from the limit of temporary files, which only a superuser may lift."""
    lifting = f"ALTER ROLE {quoted(role)} SET {FILE_LIMIT} = -1"
    return f"lift it for the role, as a superuser: {in_psql('postgres', lifting)}"


def _message_of(error: psycopg.Error) -> str:
    # How long a buffer became stands in DETAIL; no row begins with those words there.
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
        message = f"the standby ended what was read of database {database}, to go on with its recovery: {refusal.brief}"
        return StandbyConflictError(message, _CONFLICT_HINT)
    if isinstance(refusal.error, psycopg.errors.FeatureNotSupported) and _SERIALIZABLE.search(refusal.hint):
        what = f"sessions of database {database} are serializable by default, and on a standby none can be"
        # Of the role in the database: that counts more than what either of them, or the server, has set.
        setting = f"IN DATABASE {quoted(database)} SET default_transaction_isolation = 'read committed'"
        hint = f"on the primary: {in_psql('postgres', f'ALTER ROLE {quoted(refusal.role)} {setting}')}"
        return BackupCreationError(f"{what}: {refusal.brief}", hint)
    return None


def _of_a_row(refusal: _Refusal) -> BackupCreationError | None:
    if not is_too_long(refusal.message):
        return None
    what = "a row is longer than the 1 GB of text that PostgreSQL can send"
    hint = find_row_hint(refusal.database, refusal.asked)
    return BackupCreationError(f"{what}: database {refusal.database}: {refusal.brief}", hint)


def _of_a_snapshot(refusal: _Refusal) -> BackupCreationError | None:
    if not _NO_SNAPSHOT.search(refusal.message):
        return None
    what = f"a session of the dump of database {refusal.database} did not find the snapshot of the others"
    return ServerUnavailableError(f"{what}: {refusal.brief}", _NO_SNAPSHOT_HINT)


def _of_the_server(refusal: _Refusal) -> BackupCreationError | None:
    """A server that answers, and refuses."""
    error = refusal.error
    if error is None:
        return None
    if lacks_shared_memory(error):
        hint = SHARED_MEMORY_HINT
    elif isinstance(error, psycopg.errors.ConfigurationLimitExceeded) and FILE_LIMIT in refusal.message:
        hint = file_limit_hint(refusal.role)
    elif isinstance(error, _REFUSALS):
        hint = "the message is the server's: see its log; try again when the cause has passed"
    else:
        return None
    return ServerUnavailableError(f"the server of database {refusal.database} refuses: {refusal.brief}", hint)
