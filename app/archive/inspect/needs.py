"""Finds what a dump needs on the server that it is restored on: extensions, roles, collations, tablespaces.

pg_dump writes keywords in capitals, and quotes every name that has a capital; so a word in capitals is a keyword.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from app.archive import lexer
from app.archive.index import SegmentKind
from app.archive.inspect.content import dropped_role
from app.archive.inspect.tokens import StringSyntax, UnreadableError, tokens
from app.archive.large_objects import owned
from app.archive.pg_dump import CLIENT_ENCODING, SESSION_AUTHORIZATION, python_encoding, string_value, unquoted
from app.archive.reader import Archive
from app.archive.scanner import Chunk, scan

_NAME = re.compile(rb'["A-Za-z_\x80-\xff]')
_READ = re.compile(rb"(?:CREATE|ALTER|GRANT|REVOKE|SET)\s")
_MOST_WORDS = 500_000
# pg_dump writes a user mapping for all roles as one for "public", which is no valid name of a role.
_NOBODY = {b"PUBLIC", b"public", b"CURRENT_USER", b"CURRENT_ROLE", b"SESSION_USER", b"DEFAULT"}
_EVERYWHERE = {"default", "C", "POSIX"}
_NO_TABLESPACES = {"", "pg_default", "pg_global"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Names as the server stores them.

    Attributes:
        collations: that the dump uses and does not create, as ``schema.name``.
        tablespaces: of its tables and indexes.
        owners: roles that the restoring role must be able to become, or to act for.
    """

    extensions: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    collations: frozenset[str] = frozenset()
    tablespaces: frozenset[str] = frozenset()
    owners: frozenset[str] = frozenset()


def needs_of(archive: Archive, also: Callable[[bytes], object] = lambda _: None) -> Needs:
    """Find what an archive needs by reading its SQL. Rows are not read if its segments have places in the file.

    Args:
        archive: the dump.
        also: called with each statement that is not about large objects, so that the file is read once.

    Raises:
        BackupReadError, BackupValidationError: it cannot be read, or differs from its index.
    """
    found = _Found()
    for chunk in _chunks(archive):
        if chunk.objects:
            found.take_run(chunk.data)
        else:
            found.take(chunk.data)
            also(chunk.data)
    return found.needs()


def _chunks(archive: Archive) -> Iterator[Chunk]:
    """The statements that may need something, with the comments before them."""
    if not archive.seekable:
        yield from (chunk for chunk in scan(archive.whole()) if chunk.header.table is None)
        return
    for segment in archive.index.segments:
        if segment.kind not in {SegmentKind.DATA, SegmentKind.SEQUENCES}:
            yield from scan(archive.text(segment))


class _Found:
    """Collects names, statement by statement."""

    def __init__(self) -> None:
        self._encoding = "utf-8"
        self._extensions: set[str] = set()
        self._roles: set[str] = set()
        self._owners: set[str] = set()
        self._tablespaces: set[str] = set()
        self._used: set[tuple[str, str]] = set()
        self._made: set[tuple[str, str]] = set()

    def take(self, unit: bytes) -> None:
        """Read one statement, with the comments before it."""
        start = lexer.start_of(unit)
        if not _READ.match(unit, start):
            return
        if encoding := CLIENT_ENCODING.match(unit, start):
            self._encoding = python_encoding(encoding[1].decode())
        elif session := SESSION_AUTHORIZATION.match(unit, start):
            self._roles.add(string_value(session[1], self._encoding))
        else:
            with suppress(UnreadableError):  # the lint refuses it
                words = tokens(unit[start:], StringSyntax(self._encoding, standard=True))
                self._read([word for word in islice(words, _MOST_WORDS) if not word.endswith((b"'", b"$"))])

    def take_run(self, run: bytes) -> None:
        """Read a run of statements about large objects, which need their owners."""
        for role in {role for _, role in owned(run)}:
            self._name_owner([role], 0)

    def needs(self) -> Needs:
        """All names that were collected."""
        made = {name for _, name in self._made}
        return Needs(
            extensions=frozenset(self._extensions),
            roles=frozenset(self._roles),
            # Without a schema it is a system collation, or an old dump relied on its search_path.
            collations=frozenset(
                f"{schema or 'pg_catalog'}.{name}"
                for schema, name in self._used - self._made
                if not (schema in {"", "pg_catalog"} and name in _EVERYWHERE) and not (not schema and name in made)
            ),
            tablespaces=frozenset(self._tablespaces - _NO_TABLESPACES),
            owners=frozenset(self._owners),
        )

    def _read(self, tokens: Sequence[bytes]) -> None:
        if tokens[-1] != b";" or tokens[1] == b";":
            return  # not a whole statement, or longer than any that needs something
        first, second = tokens[0], tokens[1]
        if first == b"SET":
            self._setting(tokens)
        elif (first, second) == (b"CREATE", b"EXTENSION"):
            self._extensions.add(self._name(tokens[5 if tokens[2:5] == [b"IF", b"NOT", b"EXISTS"] else 2]))
        elif (first, second) == (b"CREATE", b"COLLATION"):
            self._made.add(self._qualified(tokens, 2))
        else:
            self._rights(tokens)
            self._places(tokens)

    def _setting(self, tokens: Sequence[bytes]) -> None:
        if tokens[1] == b"default_tablespace" and tokens[2] != b";" and _NAME.match(tokens[3]):
            self._tablespaces.add(self._name(tokens[3]))
        elif tokens[1:3] == [b"SESSION", b"AUTHORIZATION"]:
            self._name_roles(tokens, 3)

    def _rights(self, tokens: Sequence[bytes]) -> None:
        """Roles that are owners, have rights, or are named in policies and user mappings."""
        kind = tokens[1]
        if tokens[0] in {b"GRANT", b"REVOKE"}:
            if not dropped_role(b" ".join(tokens)):
                self._name_roles(tokens, _last(tokens, b"TO" if tokens[0] == b"GRANT" else b"FROM"))
        elif tokens[:3] == [b"ALTER", b"DEFAULT", b"PRIVILEGES"]:
            self._name_owner(tokens, _first(tokens, b"ROLE"))
            self._name_roles(tokens, _last(tokens, b"TO" if b"GRANT" in tokens else b"FROM"))
        elif tokens[0] == b"ALTER" and tokens[-4:-2] == [b"OWNER", b"TO"]:
            self._name_owner(tokens, len(tokens) - 2)
        elif kind == b"SCHEMA":
            self._name_owner(tokens, _first(tokens, b"AUTHORIZATION"))
        elif kind == b"POLICY":
            end = min(
                (tokens.index(keyword) for keyword in (b"USING", b"WITH") if keyword in tokens), default=len(tokens)
            )
            self._name_roles(tokens[:end], _first(tokens[:end], b"TO"))
        elif tokens[1:3] == [b"USER", b"MAPPING"]:
            self._name_roles(tokens, _first(tokens, b"FOR"))

    def _places(self, tokens: Sequence[bytes]) -> None:
        """Collations and tablespaces."""
        for at, token in enumerate(tokens[:-1]):
            if token == b"COLLATE":
                self._used.add(self._qualified(tokens, at + 1))
            elif token == b"TABLESPACE":
                self._tablespaces.add(self._name(tokens[at + 1]))
            elif token == b"collation" and tokens[1] == b"TYPE" and tokens[at + 1] == b"=":  # of a range type
                self._used.add(self._qualified(tokens, at + 2))

    def _name_owner(self, tokens: Sequence[bytes], at: int | None) -> None:
        self._name_roles(tokens, at)
        if at is not None and _NAME.match(tokens[at]) and tokens[at] not in _NOBODY:
            self._owners.add(self._name(tokens[at]))

    def _name_roles(self, tokens: Sequence[bytes], at: int | None) -> None:
        """Add the roles of a list that begins at this token."""
        while at is not None and at < len(tokens) and _NAME.match(tokens[at]):
            if tokens[at] == b"GROUP":
                at += 1
            if tokens[at] not in _NOBODY:
                self._roles.add(self._name(tokens[at]))
            at = at + 2 if tokens[at + 1 : at + 2] == [b","] else None

    def _name(self, token: bytes) -> str:
        return unquoted(token, self._encoding)

    def _qualified(self, tokens: Sequence[bytes], at: int) -> tuple[str, str]:
        if tokens[at + 1 : at + 2] == [b"."]:
            return self._name(tokens[at]), self._name(tokens[at + 2])
        return "", self._name(tokens[at])


def _first(tokens: Sequence[bytes], keyword: bytes) -> int | None:
    """Index of the token after the first such keyword; None if there is none."""
    return tokens.index(keyword) + 1 if keyword in tokens else None


def _last(tokens: Sequence[bytes], keyword: bytes) -> int | None:
    return len(tokens) - list(reversed(tokens)).index(keyword) if keyword in tokens else None
