"""Compares the words of two entries of a schema: the backup's and the restored database's.

A server spells some expressions differently after they were restored once. ``IN`` on a varchar becomes an array that
is cast, and is dumped as an array of casts after a restore. ``BETWEEN`` becomes an AND inside of another AND, and is
dumped as one AND. A dump may quote all identifiers. All spellings are brought to one form here. No server is asked,
because nothing of a file is given to a server only to be compared. Owners are compared if both sides name them: a dump
by ``--no-owner`` does not.

Source: PostgreSQL's parse_expr.c (transformTypeCast), gram.y (makeAndExpr, makeOrExpr); tried on 14 to 18, see
`tests/integration/replace/test_same_words.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from app.archive.pg_dump import IDENTIFIER, plainly_quoted
from app.domain.changes import OtherWords

MOST_BYTES = 1 << 20  # longer words are compared as they stand
_SHOWN_BYTES = 64 << 10
_OWNED = re.compile(IDENTIFIER + rb";\Z")
_TOKEN = re.compile(
    rb"""\s+|[eE]'[^'\\]*(?:(?:\\.|'')[^'\\]*)*'|'[^']*'|"[^"]*"|[\w$\x80-\xff]+|::|[-+*/<>=~!@#%^&|`?]+|.""", re.DOTALL
)
_REGCLASS = (b"::regclass", b'::"regclass"')  # a string before it holds a name
_DOLLAR = re.compile(rb"\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$")
_NAME = re.compile(rb"""[A-Za-z_\x80-\xff"].*""", re.DOTALL)
_CLOSING = {b"(": b")", b"[": b"]"}
_JOINING = {b"AND", b"OR"}
_MOST_DIMENSIONS = 6  # of an array
_MOST_WORDS = 12  # of a type's name


class Words:
    """The statements of one entry, taken one by one.

    Args:
        room: bytes of them that may be kept.

    Attributes:
        owner: the statement that sets the owner; None if there is none.
        kept: bytes that are kept.
    """

    def __init__(self, room: int = MOST_BYTES) -> None:
        self.owner: bytes | None = None
        self.kept = 0
        self._room = min(room, MOST_BYTES)
        self._statements: list[bytes] | None = []
        self._digest = hashlib.sha256()

    def add(self, statement: bytes) -> None:
        """Take a statement."""
        if statement.startswith(b"ALTER ") and _OWNED.match(statement.rpartition(b" OWNER TO ")[2]):
            self.owner = statement
            return
        self._digest.update(statement)
        if self._statements is None:
            return
        self.kept += len(statement) + 2
        self._statements.append(statement)
        if self.kept > self._room:
            self._statements, self.kept = None, 0

    @property
    def text(self) -> bytes | None:
        """The statements without the owner's; None if they are longer than may be kept."""
        return None if self._statements is None else b"\n\n".join(self._statements)

    @property
    def digest(self) -> bytes:
        """A hash of the statements without the owner's."""
        return self._digest.digest()

    @property
    def form(self) -> bytes:
        """A hash of the statements in one form, so that different spellings of one meaning are equal."""
        text = self.text
        return self.digest if text is None else hashlib.sha256(one_form(text)).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Words) and (self.digest, self.owner) == (other.digest, other.owner)

    def __hash__(self) -> int:
        return hash((self.digest, self.owner))


def say_the_same(one: Sequence[Words], other: Sequence[Words]) -> bool:
    """Whether the entries under one name mean the same on both sides."""
    if len(one) != len(other):
        return False
    owned = all(words.owner for words in (*one, *other))

    def words_of(entries: Sequence[Words], *, form: bool) -> list[tuple[bytes, bytes | None]]:
        if not form:
            return sorted((words.digest, words.owner if owned else b"") for words in entries)
        return sorted((words.form, plainly_quoted(words.owner or b"") if owned else b"") for words in entries)

    return any(words_of(one, form=form) == words_of(other, form=form) for form in (False, True))


def both_texts(name: object, backup: Sequence[Words], database: Sequence[Words]) -> OtherWords:
    """The texts of both sides, for people."""
    return OtherWords(object=str(name), backup=_text(backup), database=_text(database))


def _text(entries: Sequence[Words]) -> str | None:
    texts: list[bytes] = []
    for words in entries:
        if words.text is None:
            return None
        texts += filter(None, (words.text, words.owner))
    text = b"\n\n".join(texts)
    return text.decode(errors="backslashreplace") if len(text) <= _SHOWN_BYTES else None


@dataclass(slots=True)
class _Group:
    """The text between parentheses or brackets, or the whole text.

    Attributes:
        joined: AND or OR, if only one of the two joins its items.
        bare: whether its parentheses mean nothing.
        cast: whether it is an array whose elements were cast here. That is done once, because a hostile file could ask
            for many levels.
    """

    opening: bytes
    items: list[bytes | _Group] = field(default_factory=list)
    joined: bytes | None = None
    bare: bool = False
    cast: bool = False


def one_form(text: bytes) -> bytes:
    """SQL in one form for all spellings of one meaning: its tokens, with a space between them."""
    whole = _Group(b"")
    around = [whole]
    for token in _tokens(text):
        if token in _CLOSING:
            group = _Group(token)
            around[-1].items.append(group)
            around.append(group)
        elif token == _CLOSING.get(around[-1].opening):
            _normalise(around.pop())
        else:
            around[-1].items.append(token)
    while around:
        _normalise(around.pop())
    return b" ".join(_spelled(whole))


def _tokens(text: bytes) -> Iterator[bytes]:
    at = 0
    while found := _TOKEN.match(text, at):
        token, at = found[0], found.end()
        if token.startswith(b"$") and (opening := _DOLLAR.match(token)):
            end = text.find(opening[0], found.start() + len(opening[0]))
            at = end + len(opening[0]) if end >= 0 else len(text)  # without an end, the rest is one token
            yield text[found.start() : at]
        elif not token.isspace():
            yield plainly_quoted(token) if token.startswith(b'"') or text.startswith(_REGCLASS, at) else token


def _normalise(group: _Group) -> None:
    """Bring a group to one form: drop parentheses around the same AND or OR, and cast the elements of cast arrays.

    The groups in it have been brought to one form before.
    """
    group.items = list(_with_casts_inside(group.items))
    if group.opening != b"(":
        return
    joins = {item for item in group.items if isinstance(item, bytes) and item in _JOINING}
    if len(joins) != 1:
        return
    (group.joined,) = joins
    beside = [group.joined, *group.items, group.joined]
    for before, item, after in zip(beside, group.items, beside[2:], strict=False):
        if isinstance(item, _Group) and item.joined == before == after == group.joined:
            item.bare = True


def _with_casts_inside(items: list[bytes | _Group]) -> Iterator[bytes | _Group]:
    """The items, with ``(ARRAY[a, b])::T[]`` written as ``ARRAY[(a)::T, (b)::T]``."""
    at = 0
    while at < len(items):
        item = items[at]
        array = _array(item.items) if isinstance(item, _Group) and item.opening == b"(" else None
        kind = _cast_to(items, at + 1) if array else []
        if array and kind:
            yield from (b"ARRAY", _each_cast(array, kind, _MOST_DIMENSIONS))
            at += len(kind) + 3  # the array, the colons, the type and its brackets
        else:
            yield item
            at += 1


def _array(items: Sequence[bytes | _Group]) -> _Group | None:
    """The elements, if the items are ``ARRAY[…]`` and nothing else."""
    match items:
        case [b"ARRAY", _Group(opening=b"[", items=[_, *_], cast=False) as array]:
            return array
    return None


def _cast_to(items: Sequence[bytes | _Group], at: int) -> list[bytes | _Group]:
    """The words of the element type (``character varying``), if a cast to an array follows; else none."""
    if at >= len(items) or items[at] != b"::":
        return []
    kind: list[bytes | _Group] = []
    for item in items[at + 1 : at + 2 + _MOST_WORDS]:
        if isinstance(item, _Group):
            if item.opening == b"[":
                return [] if item.items else kind
            if not kind:
                return []
        elif item != b"." and (item in _JOINING or not _NAME.match(item)):
            return []
        kind.append(item)
    return []


def _each_cast(array: _Group, kind: Sequence[bytes | _Group], dimensions: int) -> _Group:
    """The array with each element cast by itself, also in nested arrays."""
    cast = _Group(b"[", cast=True)
    element: list[bytes | _Group] = []
    for item in (*array.items, b","):
        if item != b",":
            element.append(item)
            continue
        cast.items += [b","] if cast.items else []
        if dimensions > 1 and (nested := _array(element)):
            cast.items += [b"ARRAY", _each_cast(nested, kind, dimensions - 1)]
        else:
            cast.items += [_Group(b"(", element), b"::", *kind]
        element = []
    return cast


def _spelled(whole: _Group) -> Iterator[bytes]:
    """All tokens in order. A loop, not recursion, because a hostile file may nest to any depth."""
    todo: list[bytes | _Group] = [whole]
    while todo:
        item = todo.pop()
        if isinstance(item, bytes):
            yield item
            continue
        quiet = item.bare or not item.opening
        if not quiet:
            yield item.opening
            todo.append(_CLOSING[item.opening])
        todo += reversed(item.items)
