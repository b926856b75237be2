"""What lies behind an error of the server that its message alone does not tell."""

from __future__ import annotations

import re

import psycopg

from app.domain.replication import in_psql

# Names that lead nowhere: function or operator, table, type, schema.
UNDEFINED = {"42883", "42P01", "42704", "3F000"}
# The server names it in the error's context, the innermost first: SQL function "f" during inlining, PL/pgSQL function
# public.f(text) line 1 at RETURN.
_FUNCTION = re.compile(r"^(?:SQL|PL/\w+) function (.+?)(?: line \d+\b.*| during .*| statement \d+)?$", re.MULTILINE)


def relying_function(error: psycopg.Error) -> str | None:
    """The function that was called and could not find what it names; None if that is not what happened."""
    if error.sqlstate not in UNDEFINED:
        return None
    called = _FUNCTION.findall(error.diag.context or "")
    return called[-1] if called else None


def way_around(function: str) -> str:
    """What to do about such a function in a load."""
    return (
        "a dump is loaded without a search_path: name the schemas that the function looks in, --search-path public; "
        f"and in the database that is backed up ALTER FUNCTION {function} SET search_path = public"
    )


def way_around_in_live(function: str, path: str, database: str) -> str:
    """What to do about one that a live database calls, in a merge: it has a search_path there."""
    mending = in_psql(database, f"ALTER FUNCTION {function} SET search_path = public")
    looked = f"it looked in {path}" if path.strip("\"' ") else "the database and the role set no search_path"
    return f"{looked}: name the schemas that it is to look in, --search-path public; or mend it there: {mending}"
