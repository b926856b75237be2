"""Messages of the server and their details: which key, which row, which function.

DETAIL, HINT and CONTEXT may quote rows. They are shown on the terminal, and are no part of our errors' messages, which
go into the log and the catalog.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg

_LONGEST = 400  # characters of each; a failing row may be long
_VALUE = re.compile(r': ".*"\Z|(?<=value) ".*"(?= is out of range)| "(?:[^"]|"")*"\Z', re.DOTALL)
_LONGEST_MESSAGE = 2000  # characters
_ABOUT_VALUES = "22"  # class of SQLSTATEs (data exception) whose messages quote values
# As libpq prints them, in English, up to the next field. A quoted row may have several lines.
_DETAILS = re.compile(
    r"^(?:DETAIL|CONTEXT|QUERY|STATEMENT):  (?!Cannot enlarge string buffer).*?"
    r"(?=^(?:(?:DETAIL|HINT|CONTEXT|QUERY|STATEMENT|LOCATION|ERROR|FATAL|PANIC|WARNING|NOTICE):  |LINE \d+: "
    r"|(?:pg_[a-z]+|psql):)|\Z)",
    re.MULTILINE | re.DOTALL,
)
_FUNCTION = re.compile(r"^((?:PL/\w+|SQL) function [^\n]*)", re.MULTILINE)
_COPY_PLACE = re.compile(r"COPY .*?, line (\d+)(?:, column ([^:]+))?")


def message_of(error: psycopg.Error) -> str:
    """The server's message in one line, without quoted values and details."""
    message = " ".join((error.diag.message_primary or str(error)).split())
    if (error.sqlstate or "").startswith(_ABOUT_VALUES):
        # The expression takes quadratic time on a long value.
        message = message.partition('"')[0] if len(message) > _LONGEST_MESSAGE else _VALUE.sub("", message)
    return message[:_LONGEST_MESSAGE]


def without_details(output: str) -> str:
    """The error output of a program, without the details of the server that may quote rows."""
    return _DETAILS.sub("", output).strip()


def failed_function(error: psycopg.Error) -> str | None:
    """The innermost function that failed, with the line; None if none did. The text quotes no row."""
    match = _FUNCTION.search(error.diag.context or "")
    return _shortened(match[1]) if match else None


def details_of(error: psycopg.Error) -> list[str]:
    """A line for each detail of the server's message, shortened."""
    parts = (
        ("DETAIL", error.diag.message_detail),
        ("HINT", error.diag.message_hint),
        ("CONTEXT", error.diag.context),
    )
    return [f"{name}: {_shortened(text)}" for name, text in parts if text]


def details_behind(error: BaseException) -> list[str]:
    """The details of the server's error that caused an error of this service; none if there is no such cause."""
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
    """The server's message and the line of the row in its COPY, without the row's values."""
    message = message_of(error)
    place = _COPY_PLACE.search(error.diag.context or "")
    if place is None:
        return message
    return f"{message} (line {place[1]} of its rows" + (f", column {place[2]})" if place[2] else ")")
