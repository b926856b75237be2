"""The limits, above all of time, that would end a session of ours, whatever role, database or server have set.

What a backup or a restore does takes as long as it takes: a transaction that reads everything, a session that waits
while another one works. Who wants to limit a run does so from outside: a task has a time limit of its own.

Source: PostgreSQL documentation, "Client Connection Defaults", "Statement Behavior".
"""

from __future__ import annotations

# Each with the first version that has it. A lock is waited for with a patience of our own, never without end.
_SINCE = {
    "statement_timeout": 0,
    "idle_in_transaction_session_timeout": 0,
    "idle_session_timeout": 140000,
    "transaction_timeout": 170000,
}
# A sort of an index build, or of a merge, takes as much as the table. Only a superuser may lift it.
FILE_LIMIT = "temp_file_limit"
_UNLIMITED_FILES = f"""
    SELECT pg_catalog.set_config('{FILE_LIMIT}', '-1', false)
    WHERE pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on'
      AND pg_catalog.current_setting('{FILE_LIMIT}') OPERATOR(pg_catalog.<>) '-1'"""
LOCK_LIMIT = "lock_timeout"
LOOK_SECONDS = 5
_SINCE_LOOKING = 140000
# It is set once the path is empty. Elsewhere than on Linux older majors refuse it.
_LOOKING = f"""
    SELECT set_config('client_connection_check_interval', '{LOOK_SECONDS}s', false)
    WHERE current_setting('client_connection_check_interval') = '0' AND version() ~ 'linux'"""


def time_limits(version: int) -> list[str]:
    """The settings of a server of that version that end what takes long, but for `LOCK_LIMIT`."""
    return [name for name, since in _SINCE.items() if version >= since]


def lifted(version: int) -> str:
    """The statements that lift them for a session, and the limit of its temporary files, where the role may do that."""
    return "; ".join([*(f"SET {name} = 0" for name in time_limits(version)), _UNLIMITED_FILES])


def looking_for_us(version: int) -> str:
    """The statement that lets the server see, while it works for a session, that its process is gone.

    A process that is signalled cancels what the server does for it; one that was killed cannot, and the statement would
    go on to its end, with its locks.
    """
    return _LOOKING if version >= _SINCE_LOOKING else ""
