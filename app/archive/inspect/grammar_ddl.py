"""Judges CREATE, ALTER, DROP, COMMENT and GRANT by the kind of object; no kind belongs to the whole server."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

from app.archive.inspect import kinds
from app.archive.inspect.cursor import UNKNOWN, Cursor, NoDumpError, require
from app.archive.inspect.grammar_alter import altered, bounds
from app.archive.inspect.grammar_database import ONE_DATABASE
from app.archive.inspect.kinds import ObjectKind, kind_of
from app.archive.inspect.tokens import StringSyntax, UnreadableError, tokens
from app.archive.pg_dump import unquoted

_OWNERS = re.compile(rb"(?:ALTER|SET|RESET|COMMENT)\b", re.IGNORECASE)
_HEAD = 12  # words that contain the kind of object, with room for other words between
_KEPT = "is passed over: the database keeps the one that it has"


def is_about_owners(statement: bytes, syntax: StringSyntax) -> bool:
    """Whether a statement sets an owner, or the role that makes the next objects; or comments on an extension.

    Only the owner may comment on an extension.
    """
    if not _OWNERS.match(statement):
        return False
    try:
        words = tokens(statement, syntax)
        head = _upper(words)
        last = [*head[-4:], *(word.upper() for word in deque(words, maxlen=4))][-4:]
    except UnreadableError:
        return False
    if head[0] == b"ALTER":
        return head[1:3] == [b"DEFAULT", b"PRIVILEGES"] or last[:2] + last[3:] == [b"OWNER", b"TO", b";"]
    if head[0] == b"COMMENT":
        return head[1:3] == [b"ON", b"EXTENSION"]
    return head[1:3] == [b"SESSION", b"AUTHORIZATION"] or head[1:2] == [b"ROLE"]


def refresh(words: Iterator[bytes]) -> None:
    """Judge ``REFRESH MATERIALIZED VIEW name``."""
    require(_upper(words)[:2] == [b"MATERIALIZED", b"VIEW"])


def _upper(words: Iterator[bytes]) -> list[bytes]:
    return [word.upper() for word in islice(words, _HEAD)]


def _known(head: Sequence[bytes], known: frozenset[ObjectKind]) -> ObjectKind:
    """The kind of object that these words begin with.

    Raises:
        NoDumpError: there is none, or it belongs to the whole server.
    """
    found = kind_of(head, known)
    if found is None:
        require(not kind_of(head, kinds.OF_SERVER), "a statement for the whole server", ONE_DATABASE)
        raise NoDumpError(UNKNOWN)
    return found


def comment(words: Iterator[bytes]) -> str | None:
    """Judge ``COMMENT ON kind name IS …``; return why it is skipped."""
    head = _upper(words)
    require(head[:1] == [b"ON"])
    if head[1:2] == [b"DATABASE"]:  # of pg_dump before 11
        return f"COMMENT ON DATABASE {_KEPT}"
    _known(head[1:], kinds.COMMENTED)
    return None


def label(words: Iterator[bytes]) -> str | None:
    """Judge ``SECURITY LABEL FOR provider ON kind name IS …``; return why it is skipped."""
    head = _upper(words)
    require(head[:1] == [b"LABEL"])
    head = head[3:] if head[1:2] == [b"FOR"] else head[1:]
    require(head[:1] == [b"ON"])
    if head[1:2] == [b"DATABASE"]:
        return f"SECURITY LABEL ON DATABASE {_KEPT}"
    _known(head[1:], kinds.LABELLED)
    return None


def granted(words: Iterator[bytes]) -> None:
    """Judge what follows ON in a GRANT or REVOKE."""
    _known(_upper(words), kinds.GRANTED)


def create(words: Iterator[bytes]) -> None:
    """Judge ``CREATE kind …``, which may do nothing else at once."""
    head = list(islice(words, _HEAD))
    upper = [word.upper() for word in head]
    modifiers = next((at for at, word in enumerate(upper) if word not in kinds.MODIFIERS), len(upper))
    # A word such as DEFAULT may belong to the kind: CREATE PROCEDURAL LANGUAGE.
    kind = _known(upper[modifiers:], kinds.CREATED)
    if judge := _JUDGES.get(kind):
        judge(chain(head[modifiers + len(kind) :], words))


def _create_schema(words: Iterator[bytes]) -> None:
    """Judge ``CREATE SCHEMA``: no objects are made in the same statement."""
    rest = Cursor(words, UNKNOWN)
    if rest.maybe(b"IF"):
        rest.take(b"NOT", b"EXISTS")
    if not rest.maybe(b"AUTHORIZATION"):
        rest.name()
        if not rest.maybe(b"AUTHORIZATION"):
            rest.take(b";")
            rest.end()
            return
    rest.name()
    rest.take(b";")
    rest.end()


def _create_table(words: Iterator[bytes]) -> None:
    """Judge ``CREATE TABLE``: no rows of a query, and bounds that are literals."""
    rest = Cursor(words, UNKNOWN)
    for word in map(bytes.upper, _outside(rest.rest())):
        require(word != b"AS", "a table that is filled by a query")
        if word == b"FOR":
            bounds(rest)


def _outside(words: Iterator[bytes]) -> Iterator[bytes]:
    """The words outside of parentheses."""
    depth = 0
    for word in words:
        depth += (word == b"(") - (word == b")")
        if depth <= 0:
            yield word


def _create_extension(words: Iterator[bytes]) -> None:
    """Judge ``CREATE EXTENSION``: without a version, and without CASCADE."""
    rest = Cursor(words, UNKNOWN)
    if rest.maybe(b"IF"):
        rest.take(b"NOT", b"EXISTS")
    rest.name()
    rest.maybe(b"WITH")
    if rest.maybe(b"SCHEMA"):
        rest.name()
    rest.take(b";")
    rest.end()


def _create_view(words: Iterator[bytes]) -> None:
    """Judge ``CREATE MATERIALIZED VIEW``: without data."""
    last = [word.upper() for word in deque(words, maxlen=4)]
    require(last == [b"WITH", b"NO", b"DATA", b";"], "a materialized view that is filled at once")


def _create_subscription(words: Iterator[bytes]) -> None:
    """Judge ``CREATE SUBSCRIPTION``: it must not connect."""
    what = "a subscription that connects"
    for word in words:
        if word.upper() == b"WITH":
            options = [word.upper() for word in islice(words, 4)]
            require(options == [b"(", b"CONNECT", b"=", b"FALSE"], what)
            return
    raise NoDumpError(what)


def alter(words: Iterator[bytes]) -> None:
    """Judge ``ALTER kind …``: an action that dumps have, and no schema of the server itself."""
    spelled = list(islice(words, _HEAD))
    head = [word.upper() for word in spelled]
    kind = _known(head, kinds.ALTERED)
    if kind == (b"SCHEMA",):
        name = unquoted(b"".join(spelled[1:2]), "latin-1")
        require(not name.startswith(("pg_", 'u&"')), "a schema of the server's own that is altered")
    altered(kind, chain(spelled[len(kind) :], words))


def drop(words: Iterator[bytes]) -> str | None:
    """Judge ``DROP kind …``; return why it is skipped."""
    kind = _known(_upper(words), kinds.DROPPED)
    if kind == (b"SUBSCRIPTION",):  # of --clean; to drop one that exists would contact its publisher
        return "DROP SUBSCRIPTION is passed over: there is none yet"
    return None


_JUDGES: dict[ObjectKind, Callable[[Iterator[bytes]], None]] = {
    (b"EXTENSION",): _create_extension,
    (b"SCHEMA",): _create_schema,
    (b"TABLE",): _create_table,
    (b"FOREIGN", b"TABLE"): _create_table,
    (b"MATERIALIZED", b"VIEW"): _create_view,
    (b"SUBSCRIPTION",): _create_subscription,
}
