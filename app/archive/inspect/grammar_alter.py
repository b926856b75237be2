"""Judges ALTER: only actions that dumps have are allowed.

Many actions evaluate expressions of the statement at once: ``ALTER COLUMN … TYPE … USING f()``, ``ADD COLUMN … DEFAULT
f()``. pg_dump writes none of them, and never two actions in one statement. The server also evaluates the bounds of a
partition, so they must be literals.

Source: pg_dump.c and pg_backup_archiver.c of PostgreSQL 9.1 to 18.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import chain

from app.archive.inspect.cursor import Cursor, require
from app.archive.inspect.kinds import ObjectKind

_WHAT = "an ALTER that no dump has"
_BOUND = "a partition whose bounds are no literals"
_MOST_BOUNDS = 1_000_000
_DEPENDS = [b"DEPENDS", b"ON", b"EXTENSION"]
_DEPTH = {b"(": 1, b"[": 1, b")": -1, b"]": -1}
_ROW_SECURITY, _TRIGGERS = {b"ROW"}, {b"TRIGGER", b"RULE"}
# Words that may follow the first word of an action: on a column, and on a table or an object like one.
_OF_COLUMNS = {
    b"SET": {b"DEFAULT", b"NOT", b"STATISTICS", b"STORAGE", b"COMPRESSION", b"("},
    b"DROP": {b"DEFAULT"},
    b"ADD": {b"GENERATED"},
    b"OPTIONS": {b"("},
}
_OF_TABLES = {
    b"ADD": {b"CONSTRAINT"},
    b"CLUSTER": {b"ON"},
    b"DEPENDS": {b"ON"},
    b"DISABLE": _ROW_SECURITY | _TRIGGERS,
    b"DROP": {b"CONSTRAINT"},
    b"ENABLE": _ROW_SECURITY | _TRIGGERS | {b"ALWAYS", b"REPLICA"},
    b"FORCE": _ROW_SECURITY,
    b"NO": {b"FORCE"},
    b"OWNER": {b"TO"},
    b"REPLICA": {b"IDENTITY"},
    b"SET": {b"ACCESS"},
}
_TYPED = {b"INHERIT", b"OF"}
_TABLES: frozenset[ObjectKind] = frozenset(
    {(b"TABLE",), (b"FOREIGN", b"TABLE"), (b"VIEW",), (b"MATERIALIZED", b"VIEW"), (b"INDEX",)}
)
# On other objects. Besides, each of them may get an owner, or depend on an extension.
_OF_OTHERS: dict[ObjectKind, dict[bytes, set[bytes]]] = {
    (b"DOMAIN",): {b"ADD": {b"CONSTRAINT"}, b"DROP": {b"CONSTRAINT"}},
    (b"EVENT", b"TRIGGER"): {b"DISABLE": {b";"}, b"ENABLE": {b"ALWAYS", b"REPLICA", b";"}},
    (b"PUBLICATION",): {b"ADD": {b"TABLE", b"TABLES"}},
    (b"SEQUENCE",): {b"OWNED": {b"BY"}, b"SET": {b"LOGGED", b"UNLOGGED"}},
    (b"STATISTICS",): {b"SET": {b"STATISTICS"}},
    (b"TEXT", b"SEARCH", b"CONFIGURATION"): {b"ADD": {b"MAPPING"}},
    (b"TYPE",): {b"ADD": {b"VALUE"}},
}


def altered(kind: ObjectKind, words: Iterator[bytes]) -> None:
    """Judge the words after ``ALTER kind``.

    Raises:
        NoDumpError: no dump has this action.
    """
    rest = Cursor(words, _WHAT)
    if kind in _TABLES:
        _of_table(rest)
    elif kind == (b"DEFAULT", b"PRIVILEGES"):
        require(any(word.upper() in {b"GRANT", b"REVOKE"} for word in rest.rest()), _WHAT)
    elif kind in _OF_OTHERS:
        _name(rest)
        _of_other(rest, _OF_OTHERS[kind])
    elif kind == (b"OPERATOR", b"FAMILY"):
        _name(rest)
        rest.take(b"USING")
        rest.name()
        _of_other(rest, {b"ADD": {b"OPERATOR", b"FUNCTION"}})
    else:
        _owned(rest.rest())


def _name(rest: Cursor) -> None:
    rest.name()
    while rest.maybe(b"."):
        rest.name()


def _of_other(rest: Cursor, known: dict[bytes, set[bytes]]) -> None:
    first = rest.next().upper()
    if first in known:
        require(rest.next().upper() in known[first], _WHAT)
    else:
        _owned(chain([first], rest.rest()))


def _owned(words: Iterator[bytes]) -> None:
    """Require ``OWNER TO`` or ``DEPENDS ON EXTENSION`` as the only action, after names and arguments."""
    last = [word.upper() for word in deque(words, maxlen=5)]
    require(last[-1:] == [b";"] and (last[-4:-2] == [b"OWNER", b"TO"] or last[:3] == _DEPENDS), _WHAT)


def _of_table(rest: Cursor) -> None:
    if rest.maybe(b"IF"):
        rest.take(b"EXISTS")
    rest.maybe(b"ONLY")
    _name(rest)
    first = rest.next().upper()
    if first == b"ATTACH":
        _attach(rest)
        return
    if first == b"ALTER":
        rest.take(b"COLUMN")
        rest.next()  # of an index its number
        first, known = rest.next().upper(), _OF_COLUMNS
    elif first in _TYPED:
        _name(rest)
        known = {first: {b";"}}
    else:
        known = _OF_TABLES
    require(first in known, _WHAT)
    second = rest.next()
    require(second.upper() in known[first], _WHAT)
    _require_one_action(chain([second], rest.rest()))


def _require_one_action(words: Iterator[bytes]) -> None:
    depth = 0
    for word in words:
        depth += _DEPTH.get(word, 0)
        require(depth > 0 or word != b",", _WHAT)


def _attach(rest: Cursor) -> None:
    """Judge ``ATTACH PARTITION name``: of a table with its bounds, or of an index."""
    rest.take(b"PARTITION")
    _name(rest)
    if rest.maybe(b"FOR"):
        bounds(rest)
    else:
        rest.maybe(b"DEFAULT")
    rest.take(b";")
    rest.end()


def bounds(rest: Cursor) -> None:
    """Require the bounds of a partition, after ``FOR``: ``VALUES FROM (…) TO (…)``, ``IN (…)``, ``WITH (…)``."""
    rest.take(b"VALUES")
    if rest.maybe(b"WITH"):
        rest.take(b"(", b"MODULUS")
        rest.next()
        rest.take(b",", b"REMAINDER")
        rest.next()
        rest.take(b")")
        return
    what, rest.what = rest.what, _BOUND
    if rest.maybe(b"IN"):
        _bound(rest)
    else:
        rest.take(b"FROM")
        _bound(rest)
        rest.take(b"TO")
        _bound(rest)
    rest.what = what


def _bound(rest: Cursor) -> None:
    rest.take(b"(")
    rest.literals(b"MINVALUE", b"MAXVALUE", most=_MOST_BOUNDS)
