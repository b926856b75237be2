"""Event triggers for logins (PostgreSQL 17 and later): they may refuse a session before its first statement."""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from app.domain.psql import in_psql, quoted
from app.errors import BackupPermissionError

# No other code of users runs while a session starts. In translated messages the word is another one.
_IN_A_FUNCTION = re.compile(r"\bCONTEXT:")
_NAMES = """
    SELECT pg_catalog.quote_ident(evtname) FROM pg_catalog.pg_event_trigger
    WHERE evtevent OPERATOR(pg_catalog.=) 'login' AND evtenabled OPERATOR(pg_catalog.<>) 'D' ORDER BY 1"""


def refused_by_trigger(error: psycopg.Error, text: str) -> bool:
    """Whether a user's function refused the connection."""
    if not text.startswith("connection failed"):
        return False
    return isinstance(error, psycopg.errors.RaiseException) or _IN_A_FUNCTION.search(text) is not None


def refusal_of_trigger(database: str, conninfo: str, text: str) -> BackupPermissionError:
    """The error, with a hint what to do.

    Args:
        database: the one to connect to.
        conninfo: of the attempt. A superuser can connect without the triggers and read their names.
        text: the server's message.
    """
    given = conninfo_to_dict(conninfo)
    names = _names(conninfo, str(given.get("options") or ""))
    which = f"event trigger {', '.join(names)}" if names else "an event trigger for logins"
    role = quoted(str(given["user"])) if given.get("user") else "CURRENT_USER"
    hint = "let its function ignore this role and database; or disable it for the role, as a superuser: " + in_psql(
        "postgres", f"ALTER ROLE {role} SET event_triggers = off"
    )
    return BackupPermissionError(f"{which} of database {database} refuses the session: {text}", hint)


def _names(conninfo: str, options: str) -> list[str]:
    without_triggers = make_conninfo(conninfo, options=f"{options} -c event_triggers=off".strip())
    try:
        with psycopg.connect(without_triggers, autocommit=True) as connection:
            return [str(name) for (name,) in connection.execute(_NAMES).fetchall()]
    except psycopg.Error:
        return []  # without the right to disable them, the names stay unknown
