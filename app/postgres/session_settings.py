"""Settings of the sessions that this service opens, for each kind of session.

Role, database and server may have set anything. No time limit ends a session of ours: a dump reads for as long as it
takes, and one session of a load waits while another works. A task has a time limit of its own.

Source: PostgreSQL documentation, "Client Connection Defaults", "Statement Behavior".
"""

from __future__ import annotations

from collections.abc import Mapping

# Time limits with the first version that has them. `LOCK_LIMIT` is not lifted: no session waits for a lock without end.
_SINCE = {
    "statement_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "idle_session_timeout": 140000,
    "transaction_timeout": 170000,
}
# The sort of an index build or a merge takes as much space as the table. Only a superuser may lift this limit.
FILE_LIMIT = "temp_file_limit"
_UNLIMITED_FILES = f"""
    SELECT pg_catalog.set_config('{FILE_LIMIT}', '-1', false)
    WHERE pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on'
      AND pg_catalog.current_setting('{FILE_LIMIT}') OPERATOR(pg_catalog.<>) '-1'"""
LOCK_LIMIT = "lock_timeout"
LOCK_SECONDS = 60  # of a single query, which holds nobody up while it waits
LOCK_WAIT_MS = 60_000  # of a dump, a merge or a replace in place: for all locks together, over all attempts
# The server checks this often whether a client still exists while it works for it.
_CHECK_SECONDS = 5
_SINCE_CHECKS = 140000
# Run after the search_path is set to empty. Elsewhere than on Linux, older majors refuse the setting.
_CLIENT_CHECK = f"""
    SELECT set_config('client_connection_check_interval', '{_CHECK_SECONDS}s', false)
    WHERE current_setting('client_connection_check_interval') = '0' AND version() ~ 'linux'"""

# How pg_dump reads rows (setup_connection in pg_dump.c; PGTZ sets the time zone): what digests are computed under.
PG_DUMP_READS = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "extra_float_digits": "3",
    "TimeZone": "UTC",
    "search_path": "",  # values of type regclass and similar then show their schema
}
# For sessions that read rows of a dump beside pg_dump. Rows that a policy would hide raise an error.
READ_ROWS = {**PG_DUMP_READS, "row_security": "off"}

# For every session: forms that the driver can parse.
# `read committed`: each statement sees what was committed before it began. With any other default, a statement that
# waited for a lock would not see what others wrote meanwhile. A transaction that must see one instant sets its level.
# Without array_nulls, NULL in an array's text is read as a string. See `configured_path` for the search_path.
_EVERY_SESSION = (
    "SET search_path = ''; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET row_security = on; "
    "SET default_transaction_isolation = 'read committed'; "
    # Some texts of the server are parsed, in English. Only a superuser may set the language of messages.
    "SELECT set_config('lc_messages', 'C', false) WHERE current_setting('is_superuser') = 'on'; "
    f"SET array_nulls = on; SET {LOCK_LIMIT} = '{LOCK_SECONDS}s'"
)
# For sessions that create, drop and rename databases. A commit that was reported must survive a crash of the server.
MAINTENANCE = """
    SELECT set_config('lock_timeout', '0', false), set_config('default_transaction_read_only', 'off', false),
           set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') = 'off' THEN 'local'
                                            ELSE current_setting('synchronous_commit') END, false)"""
_LOAD_MEMORY_MB = 512  # for the index builds of all sessions of a load together
_LEAST_MEMORY_MB = 64  # for each
MERGE = (
    "SET default_transaction_read_only = off",
    "SET temp_buffers = '64MB'",
    "SET work_mem = '128MB'",
    "SET default_statistics_target = 10",  # joins by key need row counts only; 100 reads ten times as many pages
    "SET extra_float_digits = 3",
    "SET xmloption = content",
    "SET row_security = off",  # rows that a policy would hide raise an error
    "SET enable_parallel_hash = off",  # it needs the server's shared memory, which is small in a container
    "SET synchronous_commit = on",  # a merge that was reported must survive a crash of the server
)


def time_limits(version: int) -> list[str]:
    """The settings of a server of that version that end long statements and sessions, except `LOCK_LIMIT`."""
    return [name for name, since in _SINCE.items() if version >= since]


def every_session(version: int) -> str:
    """The statements that each new session of a server of that version runs first.

    The server is told to check that the client exists while it works: a process that was killed cannot cancel its
    statement, which would run to its end and keep its locks.
    """
    lifted = [*(f"SET {name} = 0" for name in time_limits(version)), _UNLIMITED_FILES]
    checks = [_CLIENT_CHECK] if version >= _SINCE_CHECKS else []
    return "; ".join([*lifted, _EVERY_SESSION, *checks])


def load_session(jobs: int = 1) -> str:
    """The statements of a session that loads an archive.

    A crash of the server during a load costs the load and no data, so commits need not wait for the disk. The database
    may have been made read-only for the time of the restore.

    Args:
        jobs: number of such sessions.
    """
    memory = max(_LEAST_MEMORY_MB, _LOAD_MEMORY_MB // jobs)
    return (
        f"SET synchronous_commit = off; SET lock_timeout = 0; SET maintenance_work_mem = '{memory}MB';"
        "SET default_transaction_read_only = off"
    )


def set_statements(settings: Mapping[str, str]) -> str:
    """SET statements, one a line, for settings whose values need no escaping."""
    return "\n".join(f"SET {name} = '{value}';" for name, value in settings.items())
