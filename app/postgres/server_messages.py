"""What a server says beside its message: which key, which row, which function.

DETAIL, HINT and CONTEXT may quote rows. They are shown to who sits at the terminal, and are not in the error's own
words, which go into the log and the catalog.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg

_LONGEST = 400  # of each; a failing row may be a book
_VALUE = re.compile(r': ".*"\Z|(?<=value) ".*"(?= is out of range)| "(?:[^"]|"")*"\Z', re.DOTALL)
_LONGEST_MESSAGE = 2000  # letters
_ABOUT_VALUES = "22"  # the class of errors that quote them
# As libpq puts them for programs, whose language is set: to the next thing that is said. A row may have lines too.
_DETAILS = re.compile(
    r"^(?:DETAIL|CONTEXT|QUERY|STATEMENT):  (?!Cannot enlarge string buffer).*?"
    r"(?=^(?:(?:DETAIL|HINT|CONTEXT|QUERY|STATEMENT|LOCATION|ERROR|FATAL|PANIC|WARNING|NOTICE):  |LINE \d+: "
    r"|(?:pg_[a-z]+|psql):)|\Z)",
    re.MULTILINE | re.DOTALL,
)
_FUNCTION = re.compile(r"^((?:PL/\w+|SQL) function [^\n]*)", re.MULTILINE)
_COPY_PLACE = re.compile(r"COPY .*?, line (\d+)(?:, column ([^:]+))?")


def message_of(error: psycopg.Error) -> str:
    """The server's message in one line, without the values that it quotes, and nothing that it says beside it."""
    said = " ".join((error.diag.message_primary or str(error)).split())
    if (error.sqlstate or "").startswith(_ABOUT_VALUES):
        # An expression takes a long value's length squared.
        said = said.partition('"')[0] if len(said) > _LONGEST_MESSAGE else _VALUE.sub("", said)
    return said[:_LONGEST_MESSAGE]


def without_details(said: str) -> str:
    """What a program tells of a server's refusal, without what may quote rows."""
    return _DETAILS.sub("", said).strip()


def failed_function(error: psycopg.Error) -> str | None:
    """The innermost function that failed, and at which line; None if none did. It quotes no row."""
    found = _FUNCTION.search(error.diag.context or "")
    return _shortened(found[1]) if found else None


def details_of(error: psycopg.Error) -> list[str]:
    """A line for each thing that the server said beside its message, shortened."""
    parts = (
        ("DETAIL", error.diag.message_detail),
        ("HINT", error.diag.message_hint),
        ("CONTEXT", error.diag.context),
    )
    return [f"{name}: {_shortened(text)}" for name, text in parts if text]


def details_behind(error: BaseException) -> list[str]:
    """The same of the server's error that an error of ours was made of; none if it was made of none."""
    return next(
        (lines for cause in _causes(error) if isinstance(cause, psycopg.Error) and (lines := details_of(cause))), []
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def message_without_values(error: psycopg.Error) -> str:
    """The server's message and, for rows, where they stand in their COPY; never what they hold."""
    said = message_of(error)
    place = _COPY_PLACE.search(error.diag.context or "")
    if place is None:
        return said
    return f"{said} (line {place[1]} of its rows" + (f", column {place[2]})" if place[2] else ")")
