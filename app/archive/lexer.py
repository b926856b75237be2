"""Finds the start and end of an SQL statement: quotes, dollar quotes, comments, parentheses, BEGIN ATOMIC bodies.

psql takes any BEGIN in a CREATE FUNCTION for the start of a body, so that a function called begin makes it read on past
the statement. Here only BEGIN ATOMIC starts a body, as in the server.

Source: PostgreSQL documentation, "Lexical Structure"; psql's psqlscan.l.
"""

from __future__ import annotations

import re

_SPECIAL = re.compile(rb"""['"$;()]|--|/\*""")
_IN_FUNCTION = re.compile(
    _SPECIAL.pattern + rb"|(?<![\w$\x80-\xff])(?:BEGIN\s+ATOMIC|CASE|END)(?![\w$\x80-\xff])", re.IGNORECASE
)
_FUNCTION = re.compile(rb"CREATE\s+(?:OR\s+REPLACE\s+)?(?:FUNCTION|PROCEDURE)\s", re.IGNORECASE)
_DOLLAR = re.compile(rb"\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$")
_HALF_DOLLAR = re.compile(rb"\$[A-Za-z0-9_\x80-\xff]*\Z")
# Third branch: two strings with a line break between them are one string, so the escapes go on.
_IN_ESCAPED = re.compile(rb"""\\.|''|'[ \t\f\v]*[\r\n]\s*'|'""", re.DOTALL)
_COMMENT = re.compile(rb"/\*|\*/")
_WORD = rb"[A-Za-z0-9_$\x80-\xff]"
_ENDS_WORD = re.compile(_WORD + rb"\Z")
_ESCAPE_PREFIX = re.compile(rb"(?<!" + _WORD + rb")[eE]\Z")
_SPACE = re.compile(rb"(?:\s|\xef\xbb\xbf)+")  # psql skips a byte order mark
UNFINISHED = -1


def start_of(unit: bytes) -> int:
    """Offset of a unit's statement, after the comments before it; the unit's length if it has only comments.

    A unit is a statement with the space and comments before it, as `app.archive.scanner` reads a dump.
    """
    start = statement_start(unit, 0, whole=True)
    return len(unit) if start == UNFINISHED else start


def statement_start(text: bytes, at: int, *, whole: bool = False) -> int:
    """Offset of the first byte from `at` on that is neither space nor comment; UNFINISHED if the text ends before it.

    Unless the text is `whole`, one more byte must follow, because "-" may be half of "--".
    """
    last = len(text) if whole else len(text) - 1
    while True:
        if space := _SPACE.match(text, at):
            at = space.end()
        if text.startswith(b"--", at):
            at = _end_of_line(text, at)
        elif text.startswith(b"/*", at):
            at = end_of_comment(text, at + 2)
        else:
            return at if at < last else UNFINISHED
        if at == UNFINISHED:
            return at


def statement_end(text: bytes, at: int) -> int:
    """Offset just after the ``;`` that ends the statement around `at`; UNFINISHED if the text ends before it.

    `at` must be outside of quotes and comments.
    """
    special = _IN_FUNCTION if _FUNCTION.match(text, at) else _SPECIAL
    parentheses = blocks = 0
    while found := special.search(text, at):
        token, at = found[0], found.end()
        if token == b";":
            if not parentheses and not blocks:
                return at
        elif token == b"(":
            parentheses += 1
        elif token == b")":
            parentheses = max(0, parentheses - 1)
        elif token[:1].isalpha():
            blocks = blocks if parentheses else _blocks_after(token, blocks)
        elif (at := _end_of_quoted(text, found)) == UNFINISHED:
            break
    return UNFINISHED


def _blocks_after(word: bytes, blocks: int) -> int:
    """The depth in BEGIN … END and CASE … END after a word."""
    if word[:1] in b"bB":
        return blocks + 1
    if not blocks:
        return 0
    return blocks + 1 if word[:1] in b"cC" else blocks - 1


def _end_of_quoted(text: bytes, opening: re.Match[bytes]) -> int:
    """Offset after the string, quoted name or comment that begins with `opening`."""
    start, at = opening.span()
    if opening[0] == b"--":
        return _end_of_line(text, at)
    if opening[0] == b"/*":
        return end_of_comment(text, at)
    if opening[0] == b"$":
        return _end_of_dollar_quote(text, start)
    if opening[0] == b"'" and _ESCAPE_PREFIX.search(text, max(0, start - 1), start):
        end = _end_of_escaped(text, at)
        # A quote at the end of the text may be half of a doubled one.
        return end if end < len(text) else UNFINISHED
    return text.find(opening[0], at) + 1 or UNFINISHED


def _end_of_escaped(text: bytes, at: int) -> int:
    """Offset after the quote that ends the string with escapes around `at`; UNFINISHED if the text ends before it.

    It goes from quote to quote, because an expression for the whole string would remember each escape to backtrack to.
    """
    quotes = (found.end() for found in _IN_ESCAPED.finditer(text, at) if found[0] == b"'")
    return next(quotes, UNFINISHED)


def _end_of_line(text: bytes, at: int) -> int:
    # Two finds, not one expression for both, because find runs at memory speed.
    newline = text.find(b"\n", at)
    carriage_return = text.find(b"\r", at, newline if newline >= 0 else len(text))
    return (carriage_return if carriage_return >= 0 else newline) + 1 or UNFINISHED


def end_of_comment(text: bytes, at: int) -> int:
    """Offset after the comment whose ``/*`` ends at `at`, with nested comments; UNFINISHED if the text ends first."""
    depth = 1
    while depth:
        found = _COMMENT.search(text, at)
        if found is None:
            return UNFINISHED
        depth += 1 if found[0] == b"/*" else -1
        at = found.end()
    return at


def _end_of_dollar_quote(text: bytes, start: int) -> int:
    """Offset after the dollar quote at `start`, or after the dollar sign if it opens no quote (``a$1$b``).

    UNFINISHED if the text ends before that is known.
    """
    if _ENDS_WORD.search(text, max(0, start - 1), start):
        return start + 1
    tag = _DOLLAR.match(text, start)
    if tag is None:
        return UNFINISHED if _HALF_DOLLAR.match(text, start) else start + 1
    end = text.find(tag[0], tag.end())
    return UNFINISHED if end < 0 else end + len(tag[0])
