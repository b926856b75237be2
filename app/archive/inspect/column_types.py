"""The types of a dump's columns, as its CREATE TABLE statements write them.

Source: dumpTableSchema in pg_dump.c: ``name type COLLATE … DEFAULT … NOT NULL``, in this order. The type is what
format_type says, so a live column's type reads the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import xxhash

from app.archive import lexer
from app.archive.index import Segment, SegmentKind, TableName
from app.archive.inspect.tokens import StringSyntax, UnreadableError, tokens
from app.archive.pg_dump import CLIENT_ENCODING, SEARCH_PATH, python_encoding, unquoted
from app.archive.reader import Archive
from app.archive.scanner import scan

_SYNTAX = StringSyntax(standard=True)
_AFTER_TYPE = {b"COLLATE", b"COMPRESSION", b"CONSTRAINT", b"DEFAULT", b"GENERATED", b"NOT", b"NULL", b"STORAGE"}
_NO_COLUMN = {b"CHECK", b"CONSTRAINT", b"EXCLUDE", b"FOREIGN", b"LIKE", b"PRIMARY", b"UNIQUE"}
_OPENING, _CLOSING = (b"(", b"["), (b")", b"]")
_RESTRICT = re.compile(rb"^\\restrict \w+\n", re.MULTILINE)
_TABLES = (b"CREATE TABLE ", b"CREATE UNLOGGED TABLE ")

Types = dict[TableName, dict[str, str]]


def column_types(archive: Archive) -> Types:
    """The types by table and column. Columns that a table inherits, or has of a composite type, are not among them."""
    return _types(_definitions(archive))


def differing_types(one: Archive, other: Archive) -> tuple[Types, Types]:
    """The types of both archives, without the tables that both define in the same words."""
    if _digest(_schema_text(one)) == _digest(_schema_text(other)):
        return {}, {}
    known = {_digest(definition) for definition in _definitions(one)}
    common = {digest for definition in _definitions(other) if (digest := _digest(definition)) in known}

    def others(archive: Archive) -> Iterator[_Definition]:
        return (definition for definition in _definitions(archive) if _digest(definition) not in common)

    return _types(others(one)), _types(others(other))


def same_type(backup: str, live: str) -> bool:
    """Whether both are one type. Dumps of before 2018 name types of their own schema without it."""
    one, other = _words(backup), _words(live)
    return one == other or (b"." not in one and one == other[2:] and other[1:2] == [b"."])


_Definition = tuple[bytes, bytes, bytes]  # client_encoding, schema of names without one, statement


def _digest(texts: Iterable[bytes]) -> bytes:
    digest = xxhash.xxh3_128()
    for text in texts:
        digest.update(text)
    return digest.digest()


def _schema_text(archive: Archive) -> Iterator[bytes]:
    """The text before the data, without the key that a pg_dump of 2025 and later makes up at its beginning."""
    blocks = archive.joined(_schema_segments(archive))
    yield _RESTRICT.sub(b"", next(blocks, b""), count=1)
    yield from blocks


def _schema_segments(archive: Archive) -> Iterator[Segment]:
    return (segment for segment in archive.index.segments if segment.kind is SegmentKind.BEFORE)


def _definitions(archive: Archive) -> Iterator[_Definition]:
    """The CREATE TABLE statements."""
    encoding, path = b"utf-8", b""
    for chunk in scan(archive.joined(_schema_segments(archive))):
        statement = chunk.data[lexer.start_of(chunk.data) :]
        if found := CLIENT_ENCODING.match(statement):
            encoding = python_encoding(found[1].decode()).encode()
        elif found := SEARCH_PATH.match(statement):
            path = found[1] or b""
        elif statement.startswith(_TABLES):
            yield encoding, path, statement


def _types(definitions: Iterable[_Definition]) -> Types:
    types: Types = {}
    for encoding, path, statement in definitions:
        _add(types, statement, path, encoding.decode())
    return types


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
