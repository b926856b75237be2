"""Where a statement of SQL ends: quotes, dollar quotes, comments, parentheses and BEGIN ATOMIC bodies.

Source: PostgreSQL documentation, "Lexical Structure"; psql's psqlscan.l, which takes any BEGIN in a CREATE FUNCTION for
that of a body, so that a function of that name swallows what follows it.
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
# The third branch: strings with a line break between them are one string, and the escapes go on.
_IN_ESCAPED = re.compile(rb"""\\.|''|'[ \t\f\v]*[\r\n]\s*'|'""", re.DOTALL)
_COMMENT = re.compile(rb"/\*|\*/")
_WORD = rb"[A-Za-z0-9_$\x80-\xff]"
_ENDS_WORD = re.compile(_WORD + rb"\Z")
_ESCAPE_PREFIX = re.compile(rb"(?<!" + _WORD + rb")[eE]\Z")
_SPACE = re.compile(rb"(?:\s|\xef\xbb\xbf)+")  # psql passes over a byte order mark
UNFINISHED = -1


def start_of(unit: bytes) -> int:
    """Where the statement of a unit begins, behind the comments before it; its length if there are comments alone."""
    start = statement_start(unit, 0, whole=True)
    return len(unit) if start == UNFINISHED else start


def statement_start(text: bytes, at: int, *, whole: bool = False) -> int:
    """Offset of the first byte at or after `at` that is neither space nor comment; UNFINISHED where text ends first.

    If it is not `whole`, one more byte must be there: it tells "-" from "--".
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
    """Offset just after the ``;`` that ends the statement which `at` is in, or UNFINISHED where text ends first.

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
    """How deep in BEGIN … END and CASE … END a word leaves the text."""
    if word[:1] in b"bB":
        return blocks + 1
    if not blocks:
        return 0
    return blocks + 1 if word[:1] in b"cC" else blocks - 1


def _end_of_quoted(text: bytes, opening: re.Match[bytes]) -> int:
    """Offset after the quoted thing or comment that begins at `opening`."""
    start, at = opening.span()
    if opening[0] == b"--":
        return _end_of_line(text, at)
    if opening[0] == b"/*":
        return end_of_comment(text, at)
    if opening[0] == b"$":
        return _end_of_dollar_quote(text, start)
    if opening[0] == b"'" and _ESCAPE_PREFIX.search(text, max(0, start - 1), start):
        end = _end_of_escaped(text, at)
        # A quote at the very end may be the first half of a doubled one.
        return end if end < len(text) else UNFINISHED
    return text.find(opening[0], at) + 1 or UNFINISHED


def _end_of_escaped(text: bytes, at: int) -> int:
    """Offset after the quote that ends the string of escapes which `at` is in, or UNFINISHED if text ends first.

    Quote by quote, because an expression for the whole string would keep a way back for each of its escapes.
    """
    quotes = (found.end() for found in _IN_ESCAPED.finditer(text, at) if found[0] == b"'")
    return next(quotes, UNFINISHED)


def _end_of_line(text: bytes, at: int) -> int:
    # Not one expression for both, because a plain find runs at memory speed.
    newline = text.find(b"\n", at)
    carriage_return = text.find(b"\r", at, newline if newline >= 0 else len(text))
    return (carriage_return if carriage_return >= 0 else newline) + 1 or UNFINISHED


def end_of_comment(text: bytes, at: int) -> int:
    """Offset after the comment, and those within it, whose ``/*`` ends at `at`; UNFINISHED where text ends first."""
    depth = 1
    while depth:
        found = _COMMENT.search(text, at)
        if found is None:
            return UNFINISHED
        depth += 1 if found[0] == b"/*" else -1
        at = found.end()
    return at


def _end_of_dollar_quote(text: bytes, start: int) -> int:
    """A dollar sign inside a word (``a$1$b``) opens nothing; one at the very end may yet become an opening."""
    if _ENDS_WORD.search(text, max(0, start - 1), start):
        return start + 1
    tag = _DOLLAR.match(text, start)
    if tag is None:
        return UNFINISHED if _HALF_DOLLAR.match(text, start) else start + 1
    end = text.find(tag[0], tag.end())
    return UNFINISHED if end < 0 else end + len(tag[0])
