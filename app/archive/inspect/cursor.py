"""Takes the words of one statement in turn, and refuses words that no dump has in that place."""

from __future__ import annotations

import re
from collections.abc import Iterator

NO_DUMP = "look at the file before you load anything from it: no dump of pg_dump has this"
UNKNOWN = "a statement that no dump has"
NAME = re.compile(rb'["A-Za-z_\x80-\xff]')
_MOST_COLUMNS = 1600  # of a table, and more than the arguments of a function
_WORDS = {b"TRUE", b"FALSE", b"NULL"}
_SIGNS = {b"-", b"+"}


class NoDumpError(ValueError):
    """A statement that no dump has.

    Attributes:
        what: names the statement in a phrase.
        hint: what to do.
    """

    def __init__(self, what: str, hint: str = NO_DUMP) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


def require(condition: object, what: str = UNKNOWN, hint: str = NO_DUMP) -> None:
    """Raise NoDumpError, with a phrase for the statement and a hint, unless the condition is true."""
    if not condition:
        raise NoDumpError(what, hint)


def is_string(word: bytes) -> bool:
    """Whether a word is a string in quotes, of letters or bits."""
    return word.endswith(b"'") and word[:1] in b"'EeBbXx" and len(word) > 1


class Cursor:
    """Takes a statement's words one by one; `what` names the statement if a word is not the expected one."""

    def __init__(self, words: Iterator[bytes], what: str) -> None:
        self._words = words
        self._ahead: bytes | None = None
        self.what = what

    def next(self) -> bytes:
        """The next word."""
        word, self._ahead = self._peek(), None
        return word

    def _peek(self) -> bytes:
        if self._ahead is None:
            self._ahead = next(self._words, b"")
        return self._ahead

    def maybe(self, keyword: bytes) -> bool:
        """Take the next word if it is this keyword; return whether it was."""
        if self._peek().upper() != keyword:
            return False
        self._ahead = None
        return True

    def take(self, *keywords: bytes) -> None:
        """Require these keywords as the next words."""
        for keyword in keywords:
            require(self.maybe(keyword), self.what)

    def name(self) -> bytes:
        """Require a name as the next word, and return it."""
        word = self.next()
        require(NAME.match(word) and not word[1:3].startswith(b'&"'), self.what)
        return word

    def names(self) -> None:
        """Require names, up to the closing parenthesis."""
        self.name()
        for _ in range(_MOST_COLUMNS):
            if self.maybe(b")"):
                return
            self.take(b",")
            self.name()
        raise NoDumpError(self.what)

    def row(self) -> None:
        """Require a row of literals in parentheses."""
        self.take(b"(")
        self.literals(b"DEFAULT")

    def literals(self, *more: bytes, most: int = _MOST_COLUMNS) -> list[bytes]:
        """Require literals, or `more` keywords, up to the closing parenthesis, and return them; there may be none."""
        if self.maybe(b")"):
            return []
        found = [self._literal(more)]
        while not self.maybe(b")"):
            self.take(b",")
            found.append(self._literal(more))
            require(len(found) <= most, self.what)
        return found

    def _literal(self, more: tuple[bytes, ...]) -> bytes:
        word = self.next()
        if word in _SIGNS:
            word = self.next()
            require(word[:1].isdigit(), self.what)
        upper = word.upper()
        require(word[:1].isdigit() or is_string(word) or upper in _WORDS or upper in more, self.what)
        if self.maybe(b":"):
            self.take(b":")
            while NAME.match(self._peek()) or self._peek() in {b".", b"[", b"]"}:
                self.next()
        return word

    def rest(self) -> Iterator[bytes]:
        """The remaining words one by one. Other methods may take words in between."""
        while word := self.next():
            yield word

    def end(self) -> None:
        """Require the end of the statement."""
        require(not self._peek(), self.what)
