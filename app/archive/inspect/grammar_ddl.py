"""What makes, alters, drops, comments on or grants something: by kinds of objects, none of them the whole server's."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

from app.archive.inspect import kinds
from app.archive.inspect.cursor import UNKNOWN, Cursor, NoDumpError, require
from app.archive.inspect.grammar_alter import altered, bounds
from app.archive.inspect.kinds import ObjectKind, kind_of
from app.archive.inspect.tokens import Reading, UnreadableError, tokens
from app.archive.pg_dump import unquoted

ONE_DATABASE = "make the dump without --create, and of one database; run what concerns the whole server by hand"
_OWNERS = re.compile(rb"(?:ALTER|SET|RESET|COMMENT)\b", re.IGNORECASE)
_HEAD = 12  # words that tell a statement's kind, with room for what may stand between
_MOST_WORDS = 12_800  # that say which right on which of 1600 columns is granted
_KEPT = "is passed over: the database keeps the one that it has"


def is_about_owners(statement: bytes, reading: Reading) -> bool:
    """Whether it says who owns something, or who makes what follows; the comment on an extension is its owner's."""
    if not _OWNERS.match(statement):
        return False
    try:
        words = tokens(statement, reading)
        head = _upper(words)
        last = [*head[-4:], *(each.upper() for each in deque(words, maxlen=4))][-4:]
    except UnreadableError:
        return False
    if head[0] == b"ALTER":
        return head[1:3] == [b"DEFAULT", b"PRIVILEGES"] or last[:2] + last[3:] == [b"OWNER", b"TO", b";"]
    if head[0] == b"COMMENT":
        return head[1:3] == [b"ON", b"EXTENSION"]
    return head[1:3] == [b"SESSION", b"AUTHORIZATION"] or head[1:2] == [b"ROLE"]


def refresh(words: Iterator[bytes]) -> None:
    """``REFRESH MATERIALIZED VIEW name``."""
    require(_upper(words)[:2] == [b"MATERIALIZED", b"VIEW"])


def _upper(words: Iterator[bytes]) -> list[bytes]:
    return [each.upper() for each in islice(words, _HEAD)]


def _known(head: Sequence[bytes], known: frozenset[ObjectKind]) -> ObjectKind:
    """The kind of object that some words begin with.

    Raises:
        NoDumpError: it is none that belongs to a database.
    """
    found = kind_of(head, known)
    if found is None:
        require(not kind_of(head, kinds.OF_SERVER), "a statement for the whole server", ONE_DATABASE)
        raise NoDumpError(UNKNOWN)
    return found


def comment(words: Iterator[bytes]) -> str | None:
    """``COMMENT ON kind name IS …``; returns why one is passed over."""
    head = _upper(words)
    require(head[:1] == [b"ON"])
    if head[1:2] == [b"DATABASE"]:  # of pg_dump before 11
        return f"COMMENT ON DATABASE {_KEPT}"
    _known(head[1:], kinds.COMMENTED)
    return None


def label(words: Iterator[bytes]) -> str | None:
    """``SECURITY LABEL FOR provider ON kind name IS …``; returns why one is passed over."""
    head = _upper(words)
    require(head[:1] == [b"LABEL"])
    head = head[3:] if head[1:2] == [b"FOR"] else head[1:]
    require(head[:1] == [b"ON"])
    if head[1:2] == [b"DATABASE"]:
        return f"SECURITY LABEL ON DATABASE {_KEPT}"
    _known(head[1:], kinds.LABELLED)
    return None


def grant(words: Iterator[bytes]) -> None:
    """Rights on something; without ON it makes a role a member of another."""
    for word in islice(words, _MOST_WORDS):
        upper = word.upper()
        if upper == b"ON":
            _known(_upper(words), kinds.GRANTED)
            return
        if upper in {b"TO", b"FROM", b";"}:
            break
    raise NoDumpError("a statement for the whole server", ONE_DATABASE)


def create(words: Iterator[bytes]) -> None:
    """``CREATE kind …``, with nothing in it that is done at once to something else."""
    head = list(islice(words, _HEAD))
    upper = [each.upper() for each in head]
    manners = next((at for at, word in enumerate(upper) if word not in kinds.MANNERS), len(upper))
    # A word such as DEFAULT may belong to the kind: CREATE PROCEDURAL LANGUAGE.
    kind = _known(upper[manners:], kinds.CREATED)
    if further := _FURTHER.get(kind):
        further(chain(head[manners + len(kind) :], words))


def _create_schema(words: Iterator[bytes]) -> None:
    """Without what may be made in it at once."""
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
    """Without rows of a query, and with bounds that are literals."""
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
    """As the server has it: no version of the file's choice, and no others with it."""
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
    """A materialized one, not filled yet."""
    last = [word.upper() for word in deque(words, maxlen=4)]
    require(last == [b"WITH", b"NO", b"DATA", b";"], "a materialized view that is filled at once")


def _create_subscription(words: Iterator[bytes]) -> None:
    """One that connects to nobody."""
    what = "a subscription that connects"
    for word in words:
        if word.upper() == b"WITH":
            options = [each.upper() for each in islice(words, 4)]
            require(options == [b"(", b"CONNECT", b"=", b"FALSE"], what)
            return
    raise NoDumpError(what)


def alter(words: Iterator[bytes]) -> None:
    """``ALTER kind …``, and one of the actions that dumps have; no schema of the server's own."""
    spelled = list(islice(words, _HEAD))
    head = [each.upper() for each in spelled]
    kind = _known(head, kinds.ALTERED)
    if kind == (b"SCHEMA",):
        name = unquoted(b"".join(spelled[1:2]), "latin-1")
        require(not name.startswith(("pg_", 'u&"')), "a schema of the server's own that is altered")
    altered(kind, chain(spelled[len(kind) :], words))


def drop(words: Iterator[bytes]) -> str | None:
    """``DROP kind …``; returns why one is passed over."""
    kind = _known(_upper(words), kinds.DROPPED)
    if kind == (b"SUBSCRIPTION",):  # of --clean; if the file had made one, its publisher would be told
        return "DROP SUBSCRIPTION is passed over: there is none yet"
    return None


_FURTHER: dict[ObjectKind, Callable[[Iterator[bytes]], None]] = {
    (b"EXTENSION",): _create_extension,
    (b"SCHEMA",): _create_schema,
    (b"TABLE",): _create_table,
    (b"FOREIGN", b"TABLE"): _create_table,
    (b"MATERIALIZED", b"VIEW"): _create_view,
    (b"SUBSCRIPTION",): _create_subscription,
}
