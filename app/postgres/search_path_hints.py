"""Errors of functions that rely on search_path, and hints that help."""

from __future__ import annotations

import re
import shlex

import psycopg

from app.domain.psql import in_psql

# SQLSTATEs of undefined objects: function or operator, table, type, schema.
UNDEFINED = {"42883", "42P01", "42704", "3F000"}
# The error's context names the functions, the innermost first: SQL function "f" during inlining, PL/pgSQL function
# public.f(text) line 1 at RETURN.
_FUNCTION = re.compile(r"^(?:SQL|PL/\w+) function (.+?)(?: line \d+\b.*| during .*| statement \d+)?$", re.MULTILINE)

_NAME = re.compile(r'(?:"(?:[^"]|"")*"|[^\s",])+')
_SCHEMA = re.compile(r'((?:"(?:[^"]|"")*"|[^\s".(])+)\.')


def relying_function(error: psycopg.Error) -> str | None:
    """The called function that did not find what it names; None if the error is another."""
    if error.sqlstate not in UNDEFINED:
        return None
    called = _FUNCTION.findall(error.diag.context or "")
    return called[-1] if called else None


def load_hint(function: str) -> str:
    """A hint for a load."""
    path = _likely(function)
    return (
        "a dump is loaded without a search_path: name the schemas that the function needs, --search-path "
        f"{shlex.quote(path)}; and in the database that is backed up ALTER FUNCTION {function} SET search_path = {path}"
    )


def merge_hint(function: str, path: str, database: str) -> str:
    """A hint for a merge, where the function runs under the search_path of the live database."""
    wider = _likely(function, path)
    mending = in_psql(database, f"ALTER FUNCTION {function} SET search_path = {wider}")
    searched = f"it searched {path}" if path.strip("\"' ") else "the database and the role set no search_path"
    if _schemas(wider) == _schemas(path):
        return f"{searched}, and what it names is not there: add the schema that has it, with --search-path"
    option = f"--search-path {shlex.quote(wider)}"
    return f"{searched}: name the schemas that it needs, {option}; or change the function: {mending}"


def _likely(function: str, path: str = "") -> str:
    """A search_path that may help: the function's own schema, the searched schemas, and public."""
    schema = _SCHEMA.match(function)
    own = [schema[1]] if schema else []
    return ", ".join(dict.fromkeys([*own, *_schemas(path), "public"]))


def _schemas(path: str) -> list[str]:
    return [name for name in _NAME.findall(path) if name != '""']
