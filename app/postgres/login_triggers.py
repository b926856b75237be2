"""Event triggers for logins, which PostgreSQL 17 brought: they may refuse a session before it can say anything."""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from app.domain.psql import in_psql, quoted
from app.errors import BackupPermissionError

# Nothing else of the users' runs while a session begins. The word is another one where messages are translated.
_IN_A_FUNCTION = re.compile(r"\bCONTEXT:")
_NAMES = """
    SELECT pg_catalog.quote_ident(evtname) FROM pg_catalog.pg_event_trigger
    WHERE evtevent OPERATOR(pg_catalog.=) 'login' AND evtenabled OPERATOR(pg_catalog.<>) 'D' ORDER BY 1"""


def refused_by_trigger(error: psycopg.Error, text: str) -> bool:
    """Whether it was a user's function that ended the attempt to connect."""
    if not text.startswith("connection failed"):
        return False
    return isinstance(error, psycopg.errors.RaiseException) or _IN_A_FUNCTION.search(text) is not None


def refusal_of_trigger(database: str, conninfo: str, text: str) -> BackupPermissionError:
    """What to say of it, and to do about it.

    Args:
        database: that was to be connected to.
        conninfo: as it was to be; a superuser gets past the triggers, and can read their names.
        text: the server's.
    """
    given = conninfo_to_dict(conninfo)
    names = _names(conninfo, str(given.get("options") or ""))
    which = f"event trigger {', '.join(names)}" if names else "an event trigger for logins"
    role = quoted(str(given["user"])) if given.get("user") else "CURRENT_USER"
    hint = (
        "let its function pass over this role and database; or keep it from firing for the role, as a superuser: "
        + in_psql("postgres", f"ALTER ROLE {role} SET event_triggers = off")
    )
    return BackupPermissionError(f"{which} of database {database} refuses the session: {text}", hint)


def _names(conninfo: str, options: str) -> list[str]:
    past = make_conninfo(conninfo, options=f"{options} -c event_triggers=off".strip())
    try:
        with psycopg.connect(past, autocommit=True) as connection:
            return [str(name) for (name,) in connection.execute(_NAMES).fetchall()]
    except psycopg.Error:
        return []  # whoever may not set it learns no more than the message says
