"""Judges COPY, INSERT and calls of functions.

Rows must come from the file, as literals, into a table that is not the server's own. Only functions that dumps call may
be called, with literals.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain, islice

from app.archive.inspect import kinds
from app.archive.inspect.cursor import UNKNOWN, Cursor, is_string, require
from app.archive.inspect.tokens import StringSyntax, tokens
from app.archive.pg_dump import COPY, unquoted

_INSERT = re.compile(rb"INSERT(?![\w$\x80-\xff])", re.IGNORECASE)
_END = re.compile(rb"\s*;\s*\Z")
_PLAIN_VALUE = rb"(?:-?[0-9.]+|'[^'\\]*(?:''[^'\\]*)*'|NULL|true|false|DEFAULT)"
_PLAIN_ROW = rb"\(" + _PLAIN_VALUE + rb"(?:, " + _PLAIN_VALUE + rb")*\)"
_PLAIN_NAME = rb'(?:[a-z_][a-z0-9_]{0,62}|"[^"]{1,62}")'
_PLAIN_LIST = _PLAIN_NAME + rb"(?:, " + _PLAIN_NAME + rb")*"
_PLAIN_INSERT = re.compile(
    rb'INSERT INTO (?!"?pg_)' + _PLAIN_NAME + rb"(?:\." + _PLAIN_NAME + rb")?(?: \(" + _PLAIN_LIST + rb"\))?"
    rb"(?: OVERRIDING SYSTEM VALUE)? VALUES\s{1,2}" + _PLAIN_ROW + rb"(?:,\n\t" + _PLAIN_ROW + rb")*"
    rb"\s?(?:ON CONFLICT DO NOTHING)?;\s?\Z"
)
_PLAIN_BYTES = 1 << 20  # for a longer statement the expression would need too much memory
_HOW_TO_READ = {b"client_encoding", b"standard_conforming_strings"}
_UNLINK = (
    b"SELECT PG_CATALOG . LO_UNLINK ( OID ) FROM PG_CATALOG . PG_LARGEOBJECT_METADATA WHERE OID =".split(),
    b";",
)


def is_plain_insert(statement: bytes) -> bool:
    """Whether a statement is an INSERT in the usual form, which one expression recognises: dumps may have millions."""
    return len(statement) < _PLAIN_BYTES and _PLAIN_INSERT.match(statement) is not None


def is_setting(name: bytes) -> bool:
    """Whether dumps set this setting."""
    return name.lower() in kinds.SETTINGS or name.lower().endswith(kinds.TIME_LIMIT)


def copy(statement: bytes) -> None:
    """Judge COPY by the same expression as the scanner, which must tell the rows after it from SQL."""
    found = COPY.match(statement)
    plain = found is not None and _END.match(statement, found.end())
    require(plain, "a COPY that does not take its rows, as text, from the file")
    if found is not None:
        _require_own(found[1])


def _require_own(name: bytes) -> None:
    """Refuse the server's own tables by the first part of the name: schema or table, it begins with ``pg_``."""
    require(not unquoted(name, "latin-1").startswith("pg_"), "rows for a table of the server's own")


def insert(words: Iterator[bytes]) -> None:
    """Judge ``INSERT INTO name (columns) OVERRIDING … VALUE VALUES (literals), … ON CONFLICT DO NOTHING;``."""
    rest = Cursor(words, "an INSERT that does not take its rows from the file")
    rest.take(b"INTO")
    name = rest.name()
    if rest.maybe(b"."):
        rest.name()
    if rest.maybe(b"("):
        rest.names()
    if rest.maybe(b"OVERRIDING"):
        require(rest.maybe(b"SYSTEM") or rest.maybe(b"USER"), rest.what)
        rest.take(b"VALUE")
    if rest.maybe(b"DEFAULT"):
        rest.take(b"VALUES")
    else:
        rest.take(b"VALUES")
        rest.row()
        while rest.maybe(b","):
            rest.row()
    if rest.maybe(b"ON"):
        rest.take(b"CONFLICT", b"DO", b"NOTHING")
    rest.take(b";")
    rest.end()
    _require_own(name)


def insert_target(statement: bytes, syntax: StringSyntax) -> bytes | None:
    """The table of an INSERT, as the statement spells it; None for any other statement.

    Raises:
        UnreadableError: as `tokens`.
    """
    if not _INSERT.match(statement):
        return None
    _, _, name, dot, *rest = islice(chain(tokens(statement, syntax), [b""] * 5), 5)
    return b".".join((name, *rest)) if dot == b"." else name


def call(words: Iterator[bytes]) -> None:
    """Judge ``SELECT function(…);``: a function that dumps call, with literals."""
    head = list(islice(words, 20))
    upper = [b"SELECT", *(word.upper() for word in head)]
    unlink, end = _UNLINK
    if upper[: len(unlink)] == unlink:
        require(len(upper) == len(unlink) + 2 and is_string(upper[-2]) and upper[-1] == end)
        return
    rest = Cursor(chain(head, words), UNKNOWN)
    if rest.maybe(b"*"):
        rest.take(b"FROM")
    if rest.maybe(b"PG_CATALOG"):
        rest.take(b".")
    function = rest.next().lower()
    require(function in kinds.FUNCTIONS or kinds.STATISTICS.fullmatch(function))
    rest.take(b"(")
    arguments = rest.literals()
    rest.take(b";")
    rest.end()
    if function == b"set_config":
        name = (arguments or [b""])[0].strip(b"'").lower()
        require(is_setting(name) and name not in _HOW_TO_READ)
