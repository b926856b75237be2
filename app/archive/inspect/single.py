"""Checks that the words of a text are one statement, as the server counts them.

The lexer cuts a file into statements without knowing the settings of the session. If the server would find more than
one statement in a text, the text is refused: a string to the lexer may be a command to the server.

Source: gram.y. A body that begins with BEGIN ATOMIC is a list of statements, each with a ``;`` after it, and ends with
END. Nowhere else in a CREATE FUNCTION may ATOMIC follow BEGIN, and no statement begins with END.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from app.archive.inspect.cursor import NO_DUMP, require

TWO = "two statements that look like one"
AGAIN = (
    f"{NO_DUMP}; if it is a dump, make it again in a form that can be read in one way alone: "
    "PGOPTIONS='-c standard_conforming_strings=on' pg_dump --encoding=UTF8"
)
_ROUTINES = {b"FUNCTION", b"PROCEDURE"}
_MODIFIERS = {b"OR", b"REPLACE"}
_BODY = (b"BEGIN", b"ATOMIC")
# First words of statements in a body, and of its end.
_IN_BODIES = frozenset(b"END SELECT INSERT UPDATE DELETE MERGE VALUES WITH RETURN TABLE".split())


class SingleStatement:
    """Yields the words of a text one by one, and refuses a second statement."""

    def __init__(self, words: Iterator[bytes]) -> None:
        self._words = self._checked(words)

    def __iter__(self) -> Iterator[bytes]:
        return self._words

    def finish(self) -> None:
        """Read the remaining words.

        Raises:
            NoDumpError: there is a second statement, or the first does not end.
        """
        deque(self._words, maxlen=0)

    @staticmethod
    def _checked(words: Iterator[bytes]) -> Iterator[bytes]:
        place = _Place()
        for word in words:
            require(not place.ended, TWO, AGAIN)
            place.follow(word)
            yield word
        require(place.ended, "not a whole statement", AGAIN)


class _Place:
    """The place of the next word in a statement.

    Attributes:
        ended: whether it is after the end of the statement.
    """

    def __init__(self) -> None:
        self.ended = False
        self._depth = 0
        self._in_body = False
        self._may_have_body: bool | None = None  # None until its first words have told
        self._before = b""

    def follow(self, word: bytes) -> None:
        if word == b"(":
            self._depth += 1
        elif word == b")":
            require(self._depth, "a parenthesis that closes nothing", AGAIN)
            self._depth -= 1
        elif self._depth == 0:
            self._follow_outside(word.upper())
        self._before = word.upper()

    def _follow_outside(self, word: bytes) -> None:
        if word == b";":
            self.ended = not self._in_body
        elif self._in_body:
            if self._before in {b";", b"ATOMIC"}:
                require(word in _IN_BODIES, TWO, AGAIN)
                self._in_body = word != b"END"
        elif self._may_have_body is None:
            self._begin(word)
        elif self._may_have_body and (self._before, word) == _BODY:
            self._in_body = True

    def _begin(self, word: bytes) -> None:
        if self._before:
            self._may_have_body = None if word in _MODIFIERS else word in _ROUTINES
        elif word != b"CREATE":
            self._may_have_body = False
