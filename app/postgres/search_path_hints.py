"""What lies behind an error of the server that its message alone does not tell."""

from __future__ import annotations

import re
import shlex

import psycopg

from app.domain.psql import in_psql

# Names that lead nowhere: function or operator, table, type, schema.
UNDEFINED = {"42883", "42P01", "42704", "3F000"}
# The server names it in the error's context, the innermost first: SQL function "f" during inlining, PL/pgSQL function
# public.f(text) line 1 at RETURN.
_FUNCTION = re.compile(r"^(?:SQL|PL/\w+) function (.+?)(?: line \d+\b.*| during .*| statement \d+)?$", re.MULTILINE)

_NAME = re.compile(r'(?:"(?:[^"]|"")*"|[^\s",])+')
_SCHEMA = re.compile(r'((?:"(?:[^"]|"")*"|[^\s".(])+)\.')


def relying_function(error: psycopg.Error) -> str | None:
    """The function that was called and could not find what it names; None if that is not what happened."""
    if error.sqlstate not in UNDEFINED:
        return None
    called = _FUNCTION.findall(error.diag.context or "")
    return called[-1] if called else None


def load_hint(function: str) -> str:
    """What to do about such a function in a load."""
    path = _likely(function)
    return (
        "a dump is loaded without a search_path: name the schemas that the function looks in, --search-path "
        f"{shlex.quote(path)}; and in the database that is backed up ALTER FUNCTION {function} SET search_path = {path}"
    )


def merge_hint(function: str, path: str, database: str) -> str:
    """What to do about one that a live database calls, in a merge: it has a search_path there."""
    wider = _likely(function, path)
    mending = in_psql(database, f"ALTER FUNCTION {function} SET search_path = {wider}")
    looked = f"it looked in {path}" if path.strip("\"' ") else "the database and the role set no search_path"
    if _schemas(wider) == _schemas(path):
        return f"{looked}, and what it names is not there: name the schema that has it too, with --search-path"
    option = f"--search-path {shlex.quote(wider)}"
    return f"{looked}: name the schemas that it is to look in, {option}; or mend it there: {mending}"


def _likely(function: str, path: str = "") -> str:
    """Where it may find what it names: where it looked, in its own schema, and in that of all."""
    schema = _SCHEMA.match(function)
    own = [schema[1]] if schema else []
    return ", ".join(dict.fromkeys([*own, *_schemas(path), "public"]))


def _schemas(path: str) -> list[str]:
    return [name for name in _NAME.findall(path) if name != '""']
