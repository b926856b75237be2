"""The types of a dump's columns, as its CREATE TABLE statements write them.

Source: dumpTableSchema in pg_dump.c: ``name type COLLATE … DEFAULT … NOT NULL``, in this order. The type is what
format_type says, so a live column's type reads the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from app.archive import lexer
from app.archive.index import SegmentKind, TableName
from app.archive.inspect.tokens import StringSyntax, UnreadableError, tokens
from app.archive.pg_dump import CLIENT_ENCODING, SEARCH_PATH, python_encoding, unquoted
from app.archive.reader import Archive
from app.archive.scanner import scan

_SYNTAX = StringSyntax(standard=True)
_AFTER_TYPE = {b"COLLATE", b"COMPRESSION", b"CONSTRAINT", b"DEFAULT", b"GENERATED", b"NOT", b"NULL", b"STORAGE"}
_NO_COLUMN = {b"CHECK", b"CONSTRAINT", b"EXCLUDE", b"FOREIGN", b"LIKE", b"PRIMARY", b"UNIQUE"}
_OPENING, _CLOSING = (b"(", b"["), (b")", b"]")
_TABLES = (b"CREATE TABLE ", b"CREATE UNLOGGED TABLE ")

Types = dict[TableName, dict[str, str]]


def column_types(archive: Archive) -> Types:
    """The types by table and column. Columns that a table inherits, or has of a composite type, are not among them."""
    types: Types = {}
    encoding, path = "utf-8", b""
    segments = (segment for segment in archive.index.segments if segment.kind is SegmentKind.BEFORE)
    for chunk in scan(archive.joined(segments)):
        statement = chunk.data[lexer.start_of(chunk.data) :]
        if found := CLIENT_ENCODING.match(statement):
            encoding = python_encoding(found[1].decode())
        elif found := SEARCH_PATH.match(statement):
            path = found[1] or b""
        elif statement.startswith(_TABLES):
            _add(types, statement, path, encoding)
    return types


def same_type(backup: str, live: str) -> bool:
    """Whether both are one type. Dumps of before 2018 name types of their own schema without it."""
    one, other = _words(backup), _words(live)
    return one == other or (b"." not in one and one == other[2:] and other[1:2] == [b"."])


def _add(types: Types, statement: bytes, path: bytes, encoding: str) -> None:
    try:
        words = list(tokens(statement, _SYNTAX))
    except UnreadableError:
        return  # its types are unknown
    if b"(" not in words:
        return
    opening = words.index(b"(")
    *schema, name = [word for word in words[words.index(b"TABLE") + 1 : opening] if word != b"."]
    if name.upper() in {b"OF", b"BY"} or len(schema) > 1:
        return  # CREATE TABLE … OF type, or PARTITION OF
    table = TableName(*(unquoted(part, encoding) for part in (*(schema or [path]), name)))
    columns = types.setdefault(table, {})
    for column, *rest in _items(words[opening + 1 :]):
        if column.upper() not in _NO_COLUMN:
            columns[unquoted(column, encoding)] = _spelled(_type(rest)).decode(encoding, errors="backslashreplace")


def _items(words: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The items of a list in parentheses, whose opening one is passed."""
    item: list[bytes] = []
    depth = 1
    for word in words:
        depth += (word in _OPENING) - (word in _CLOSING)
        if depth and not (depth == 1 and word == b","):
            item.append(word)
            continue
        if item:
            yield item
        if not depth:
            return
        item = []


def _type(words: Iterable[bytes]) -> Iterator[bytes]:
    for word in words:
        if word in _AFTER_TYPE:
            return
        yield word


def _spelled(words: Iterable[bytes]) -> bytes:
    """Words as format_type writes them: a blank stands between two words alone."""
    text, last = b"", b"("
    for word in words:
        is_word = word[:1].isalnum() or word[:1] in {b"_", b'"'} or word >= b"\x80"
        after_word = last[-1:].isalnum() or last[-1:] in {b"_", b'"', b")", b"]"} or last >= b"\x80"
        text += (b" " if is_word and after_word else b"") + word
        last = word
    return text


def _words(text: str) -> list[bytes]:
    """The words of a type's name, without the quotes that ``--quote-all-identifiers`` adds."""
    try:
        words = list(tokens(text.encode(errors="surrogateescape"), _SYNTAX))
    except UnreadableError:
        return [text.encode(errors="surrogateescape")]
    return [unquoted(word, "utf-8").encode() if word.startswith(b'"') else word for word in words]
