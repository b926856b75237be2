"""Splits one SQL statement into words as the server reads them: without comments, a string or name as one word.

Statements are judged by these words, because a comment may be between any two words, and a quote may hide what looks
like a keyword. A statement that can be read in two ways is in no dump, and is refused here.

Source: PostgreSQL's scan.l; mbutils.c and wchar.c for the encodings whose characters may end in an ASCII byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from app.archive import lexer

NAME_BYTES = 1000  # the server cuts names off at 63, unless it was built with longer names
_TOKEN = re.compile(
    rb"""
    (?P<space> [ \t\r\n\f\v]+ | --[^\r\n]* | (?P<comment> /\* ) )
    | (?P<name> (?: [Uu]& )? " )
    | (?P<string> (?P<escapes> [Ee] )? (?P<other> [BbXx] | [Uu]& )? ' )
    | (?P<dollar> \$ (?: [A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]* )? \$ )
    | (?P<word> [A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]* )
    | (?P<number> [0-9] [0-9A-Za-z_.]* (?: (?<= [eE] ) [+-] [0-9A-Za-z_.]* )* )
    | .""",
    re.VERBOSE | re.DOTALL,
)
_CONTENT = {"string": b"''", "dollar": b"$$$$"}
_QUOTED = {b"'", b'"', b"$"}
_QUOTES = re.compile(rb"'+")
_QUOTES_AND_ESCAPES = re.compile(rb"\\.|'+", re.DOTALL)
_NAME_QUOTES = re.compile(rb'"+')
_WIDE = re.compile(rb"[\x80-\xff].", re.DOTALL)
_WIDE_OR_FOUR = re.compile(rb"[\x80-\xff][0-9]..|[\x80-\xff].", re.DOTALL)
# Encodings of clients only: no server stores text in them. The first byte of a character gives its length.
_CHARACTERS = {
    "big5": _WIDE,
    "gb18030": _WIDE_OR_FOUR,
    "gbk": _WIDE,
    "johab": _WIDE,
    "mskanji": (_SHIFTED := re.compile(rb"[\x80-\xa0\xe0-\xff].", re.DOTALL)),
    "shiftjis": _SHIFTED,
    "shiftjis2004": _SHIFTED,
    "sjis": _SHIFTED,
    "uhc": _WIDE,
    "win932": _SHIFTED,
    "win936": _WIDE,
    "win949": _WIDE,
    "win950": _WIDE,
    "windows932": _SHIFTED,
    "windows936": _WIDE,
    "windows949": _WIDE,
    "windows950": _WIDE,
}
_NO_LETTER = re.compile(r"[^a-z0-9]")


class UnreadableError(ValueError):
    """A statement that cannot be read, or can be read in two ways; the message names the reason."""


@dataclass(frozen=True, slots=True)
class StringSyntax:
    """The settings under which a statement is read.

    Attributes:
        encoding: ``client_encoding``, by any of its names.
        standard: ``standard_conforming_strings``: whether a backslash in a plain string is an ordinary character; None
            if unknown.
    """

    encoding: str = "UTF8"
    standard: bool | None = None

    def ascii(self, statement: bytes) -> bytes:
        """The statement, with each multi-byte character replaced, so that every ASCII byte is a character by itself."""
        characters = _CHARACTERS.get(_NO_LETTER.sub("", self.encoding.lower()))
        return characters.sub(_filled, statement) if characters else statement


def _filled(character: re.Match[bytes]) -> bytes:
    return b"\xff" * len(character[0])


def tokens(statement: bytes, syntax: StringSyntax) -> Iterator[bytes]:
    """The words of a statement, as it spells them: ``"A b"``, ``E'x'``, ``$$x$$``, and the two signs of ``->``.

    A long string is yielded empty, because its content is not judged.

    Raises:
        UnreadableError: a quote or comment does not end, a name is longer than any, two strings stand side by side
            (servers join them in different ways), or it is unknown whether a backslash escapes a quote.
    """
    text = syntax.ascii(statement)
    at, follows_string = 0, False
    while found := _TOKEN.match(text, at):
        start, at = found.span()
        kind = found.lastgroup
        if kind == "space":
            if found["comment"]:
                at = _ended(lexer.end_of_comment(text, at), "a comment")
            continue
        if kind == "string":
            if follows_string:
                raise UnreadableError("two strings side by side")
            at = _end_of_string(text, at, found, syntax)
        elif kind is not None:
            at = _end_of_other(text, at, kind, found[0])
        follows_string = kind == "string"
        if at - start > NAME_BYTES and kind in _CONTENT:
            yield _CONTENT[kind]
        else:
            yield text[start:at]


def _end_of_other(text: bytes, at: int, kind: str, opening: bytes) -> int:
    """Offset after a word, number, name or dollar quote that began with `opening`, which ends at `at`."""
    if kind == "dollar":
        return _ended(text.find(opening, at), "a dollar quote") + len(opening)
    end = _ended(_end_of_quoted(text, at, _NAME_QUOTES), "a quoted name") if kind == "name" else at
    if kind != "number" and end - at + len(opening) > NAME_BYTES:
        raise UnreadableError("a name longer than any")
    if kind == "number" and text[at : at + 1] in _QUOTED:
        raise UnreadableError("a quote in a number")  # servers read it in different ways
    return end


def _ended(end: int, what: str) -> int:
    if end == lexer.UNFINISHED:
        raise UnreadableError(f"{what} that does not end")
    return end


def _end_of_string(text: bytes, at: int, opening: re.Match[bytes], syntax: StringSyntax) -> int:
    """Offset after the string whose first character is at `at`."""
    if opening["escapes"] or (syntax.standard is False and not opening["other"]):
        return _ended(_end_of_escaped(text, at), "a string")
    end = _ended(_end_of_quoted(text, at, _QUOTES), "a string")
    if syntax.standard is None and text.find(b"\\'", at, end) >= 0 and text.find(b"'", end) >= 0:
        raise UnreadableError("a backslash before a quote, where nobody knows what it means")
    return end


def _end_of_quoted(text: bytes, at: int, quotes: re.Pattern[bytes]) -> int:
    """Offset after a quoted text: it ends with an odd number of quotes in a row, because two stand for one."""
    quote = text[at - 1 : at]
    # find, not an expression, because it runs at memory speed.
    while (start := text.find(quote, at)) >= 0:
        run = quotes.match(text, start)
        at = run.end() if run else start
        if (at - start) % 2:
            return at
    return lexer.UNFINISHED


def _end_of_escaped(text: bytes, at: int) -> int:
    """Offset after a string in which a backslash escapes the next character."""
    runs = (found for found in _QUOTES_AND_ESCAPES.finditer(text, at) if found[0][:1] == b"'")
    return next((run.end() for run in runs if len(run[0]) % 2), lexer.UNFINISHED)
