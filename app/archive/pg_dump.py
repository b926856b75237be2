r"""What the text of a plain dump looks like: names, the comment before each entry, and the statements that we read.

All expressions that look for something in a dump are made here, or of `IDENTIFIER`. They match a statement without the
comments before it (see `app.archive.lexer.start_of`), because a comment or a string may hold anything.

pg_dump writes this comment before each entry; a name in it may hold anything but a line break, so the last text that
looks like the rest of the header is the right one:

    -- Name: people; Type: TABLE; Schema: public; Owner: postgres

Source: pg_dump.c, pg_backup_archiver.c (_printTocEntry) and string_utils.c (fmtId) of PostgreSQL 9.1 to 18.
"""

from __future__ import annotations

import codecs
import re
import string
from collections.abc import Iterator
from typing import NamedTuple

END_MARKER = b"-- PostgreSQL database dump complete"
END_MARKER_LINE = re.compile(b"^" + END_MARKER, re.MULTILINE)
# Supabase's command line takes all comments out of a dump, and writes this behind it.
RESET_ALL = b"RESET ALL;"

# A quoted or a plain name. No name that a server takes is longer, and no table has more columns.
IDENTIFIER = rb"""(?:"(?:[^"]|""){1,1000}"|[A-Za-z_\x80-\xff][\w$\x80-\xff]{0,999}(?![\w$\x80-\xff]))"""
NAME = re.compile(IDENTIFIER)
QUALIFIED = IDENTIFIER + rb"(?:\." + IDENTIFIER + rb")?"
_COLUMN_LIST = IDENTIFIER + rb"\s*(?:,\s*" + IDENTIFIER + rb"\s*){0,1599}"

# Groups: schema or table, table if there is a schema, columns. The rest of the statement is not matched.
COPY = re.compile(
    rb"COPY\s+(" + IDENTIFIER + rb")(?:\.(" + IDENTIFIER + rb"))?"
    rb"(?:\s*\(\s*((?:" + _COLUMN_LIST + rb")?)\))?\s+FROM\s+stdin\b",
    re.IGNORECASE,
)
CLIENT_ENCODING = re.compile(rb"SET client_encoding = '([\w-]+)'")
# Group: the first schema, in which names without one are: pg_dump before 2018 writes such. None for an empty path.
SEARCH_PATH = re.compile(
    rb"(?:SET search_path = (?:(" + IDENTIFIER + rb")|'')|SELECT pg_catalog\.set_config\('search_path', '')"
)
SESSION_AUTHORIZATION = re.compile(rb"SET SESSION AUTHORIZATION ('(?:[^']|'')+')")
TRANSACTION = re.compile(rb"(BEGIN|COMMIT)\s*;\s*\Z", re.IGNORECASE)
# Groups: the sequence's name as a literal, its value, whether that was called.
SETVAL = re.compile(rb"SELECT (?:pg_catalog\.)?setval\(\s*(E?'(?:[^']|'')*'), (\d+|-\d+), (true|false)\)")
LO_OPEN = re.compile(rb"SELECT (?:pg_catalog\.)?lo_open\('(\d+)'")
# The digits that follow, which may be many, are not matched.
LO_WRITE = re.compile(rb"SELECT (?:pg_catalog\.)?lowrite\(0, (?:E'\\\\x|'\\x)")
# In a comment at the top of the file. Groups: of what, and its major version.
VERSION = re.compile(rb"^-- Dumped (from database|by pg_dump) version (\d+)", re.MULTILINE)

_HEADER = re.compile(rb"^-- (Data for |Statistics for )?Name: (.*)", re.MULTILINE)
_HEADER_TYPE = re.compile(rb"; Type: ([A-Z ]+); Schema: ")
_NEEDS_NONE = re.compile(rb'"[a-z_][a-z0-9_]*"')
_TYPE_MARK, _OWNER_MARK = b"; Type: ", b"; Owner: "
_HEADER_BYTES = 64 << 10  # a function may have 100 arguments, with long names of long types
_FOLDED = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)  # what the server does without quotes


class EntryHeader(NamedTuple):
    """The comment before an entry.

    Attributes:
        data: whether it says ``Data for Name``, or ``Statistics for Name``.
        schema: None if no owner follows it, because then its end cannot be known.
    """

    data: bool
    name: bytes
    type: bytes
    schema: bytes | None


def headers_in(text: bytes, end: int) -> Iterator[EntryHeader]:
    """The entry headers among the comments before `end`, in order. Lines longer than any header are skipped."""
    for line in _HEADER.finditer(text, 0, end):
        if line.end() - line.start() <= _HEADER_BYTES and (header := _parse_header(line[2], data=bool(line[1]))):
            yield header


def last_header(text: bytes, end: int) -> EntryHeader | None:
    """The last entry header among the comments before `end`; None if there is none."""
    last: EntryHeader | None = None
    for header in headers_in(text, end):
        last = header
    return last


def _parse_header(text: bytes, *, data: bool) -> EntryHeader | None:
    owner = text.rfind(_OWNER_MARK)
    before_owner = None if owner < 0 else _type_before(text, owner)
    found = before_owner or _type_before(text, len(text))
    if found is None:
        return None
    return EntryHeader(data, text[: found.start()], found[1], text[found.end() : owner] if before_owner else None)


def _type_before(text: bytes, end: int) -> re.Match[bytes] | None:
    """The last ``; Type: …; Schema: `` that ends before `end`."""
    at = text.rfind(_TYPE_MARK, 0, end)
    while at >= 0:
        if found := _HEADER_TYPE.match(text, at, end):
            return found
        at = text.rfind(_TYPE_MARK, 0, at)
    return None


def unquoted(identifier: bytes, encoding: str) -> str:
    """A name as the server stores it, from an identifier as SQL spells it.

    Args:
        identifier: with its quotes, if it has any.
        encoding: of the dump, by Python's name; bytes that it does not know are shown escaped.
    """
    name = identifier.decode(encoding, errors="backslashreplace")
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.translate(_FOLDED)


def plainly_quoted(text: bytes) -> bytes:
    """Text with names in it, as without ``--quote-all-identifiers``: ``"public"."t"`` -> ``public.t``.

    Keywords lose their quotes too, so it is for comparisons only.
    """
    return NAME.sub(lambda name: name[0][1:-1] if _NEEDS_NONE.fullmatch(name[0]) else name[0], text)


def with_schema(literal: bytes, schema: bytes) -> bytes:
    """The literal of a name as ``setval`` takes it, with a schema in front if it has none.

    Args:
        literal: ``'people_id_seq'`` or ``'public.people_id_seq'``.
        schema: as SQL spells it; empty for none.
    """
    first = NAME.match(literal, literal.index(b"'") + 1)
    if not schema or first is None or literal[first.end() : first.end() + 1] == b".":
        return literal
    return literal[: first.start()] + schema.replace(b"'", b"''") + b"." + literal[first.start() :]


def string_value(literal: bytes, encoding: str) -> str:
    r"""The text of a string literal: ``'it''s'``, or ``E'a\\b'`` from a server without standard_conforming_strings."""
    text = literal.decode(encoding, errors="backslashreplace")
    escaped = text.startswith("E")
    value = text[1 + escaped : -1].replace("''", "'")
    return value.replace("\\\\", "\\") if escaped else value


def python_encoding(name: str) -> str:
    """Python's name of a PostgreSQL encoding; UTF-8 for an encoding that Python does not have."""
    spelled = re.sub(r"\AWIN(?=\d)", "cp", re.sub(r"\AKOI8(?=[RU])", "koi8-", name))
    try:
        b"a".decode(spelled, errors="backslashreplace")
        return codecs.lookup(spelled).name
    except (LookupError, ValueError):
        return "utf-8"
