"""Judges whether pg_dump writes a statement, by its words and by lists of what is allowed.

The bodies of functions are not judged: they are the user's, and run with the rights of the role that loads the dump.
But no statement of the file itself can reach anything outside of the database: roles, other databases, the server's
settings, files, or the server's own tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice

from app.archive.inspect import grammar_ddl, grammar_rows
from app.archive.inspect.cursor import NAME, UNKNOWN, NoDumpError, is_string, require
from app.archive.inspect.grammar_database import ONE_DATABASE, DatabaseStatements
from app.archive.inspect.single import AGAIN, SingleStatement
from app.archive.inspect.tokens import StringSyntax, UnreadableError, tokens

_RESTRICT = re.compile(rb"\\(?:un)?restrict [A-Za-z0-9]+\s*\Z")
_CONNECT = re.compile(rb"\\(?:c|connect)\b")
_ON = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}
_TAIL_BYTES = 1000  # in which the end of a statement must be
_RIGHTS_WORDS = 12_800  # of a GRANT of all rights on each of 1600 columns
_ON_DATABASES = frozenset({b"CREATE", b"ALTER", b"DROP"})
_SETTING_WORDS = 500  # a search_path may be long


class Judge:
    """Judges the statements of a file, in their order.

    Attributes:
        syntax: how the next statement is read; follows the settings in the file.
    """

    def __init__(self, syntax: StringSyntax | None = None) -> None:
        self.syntax = syntax or StringSyntax()
        self._database = DatabaseStatements()

    def judge(self, statement: bytes) -> str | None:
        """Judge one statement.

        Args:
            statement: without the comments before it.

        Returns:
            Why it is skipped; None if it is to be run.

        Raises:
            NoDumpError: no dump has it.
        """
        require(b"\0" not in statement, "a statement with a zero byte")
        if statement.startswith(b"\\"):
            if _CONNECT.match(statement):
                return self._database.connect(statement)
            require(_RESTRICT.match(statement), "a psql command")
            return None
        require(statement[-_TAIL_BYTES:].rstrip().endswith(b";"), "not a whole statement")
        if grammar_rows.is_plain_insert(statement):
            return None
        try:
            words = SingleStatement(tokens(statement, self.syntax))
            found = self._by_words(statement, iter(words))
            words.finish()
        except UnreadableError as error:
            raise NoDumpError(str(error), AGAIN) from error
        return found

    def _by_words(self, statement: bytes, words: Iterator[bytes]) -> str | None:
        first = next(words, b"").upper()
        if first == b"COPY":
            grammar_rows.copy(statement)
            return None
        if first == b"SET":
            self._set(list(islice(words, _SETTING_WORDS)))
            return None
        judge = _BY_WORD.get(first)
        if judge is None:
            raise NoDumpError(UNKNOWN)
        if first in _ON_DATABASES:
            second = next(words, b"")
            if second.upper() == b"DATABASE":
                return self._database.judge(first, words)
            words = chain([second], words)
        if first in {b"GRANT", b"REVOKE"}:
            return self._grant(first, words)
        return judge(words)

    def _grant(self, first: bytes, words: Iterator[bytes]) -> str | None:
        """Judge GRANT and REVOKE of rights on an object. Without ON, it would be the membership of a role."""
        for word in islice(words, _RIGHTS_WORDS):
            upper = word.upper()
            if upper == b"ON":
                kind = next(words, b"")
                if kind.upper() == b"DATABASE":
                    return self._database.judge(first, words)
                grammar_ddl.granted(chain([kind], words))
                return None
            if upper in {b"TO", b"FROM", b";"}:
                break
        raise NoDumpError("a statement for the whole server", ONE_DATABASE)

    def _set(self, words: list[bytes]) -> None:
        """``SET name = value, …;``, ``SET SESSION AUTHORIZATION name;``, ``SET ROLE name;``."""
        match [word.upper() for word in words]:
            case [b"SESSION", b"AUTHORIZATION", _, b";"] | [b"ROLE", _, b";"]:
                pass
            case [b"SESSION", _, b"=" | b"TO", _, *_, b";"]:
                self._follow(words[1], words[3:-1])
            case [_, b"=" | b"TO", _, *_, b";"]:
                self._follow(words[0], words[2:-1])
            case _:
                raise NoDumpError(UNKNOWN)

    def _follow(self, name: bytes, value: list[bytes]) -> None:
        """Apply a setting to how the next statements are read, as the server does."""
        require(all(map(_is_plain, value)))
        # A newer pg_dump may switch off limits that this version does not know.
        require(grammar_rows.is_setting(name) or value in ([b"0"], [b"'0'"]))
        text = b"".join(value).strip(b"'\"").decode("latin-1").lower()
        if name.lower() == b"client_encoding":
            self.syntax = replace(self.syntax, encoding=text)
        elif name.lower() == b"standard_conforming_strings":
            self.syntax = replace(self.syntax, standard=_ON.get(text))


def _is_plain(word: bytes) -> bool:
    """Whether a word may be in the value of a setting: a word, name, number, string, comma or sign."""
    return word in {b",", b"-", b"+", b"."} or NAME.match(word) is not None or word[:1].isdigit() or is_string(word)


def _reset(words: Iterator[bytes]) -> str | None:
    rest = [word.upper() for word in islice(words, 4)]
    if rest == [b"ALL", b";"]:
        return "RESET ALL is passed over: settings of the file are those of its session"
    require(rest in ([b"SESSION", b"AUTHORIZATION", b";"], [b"ROLE", b";"]))
    return None


def _alone(words: Iterator[bytes]) -> None:
    require(list(islice(words, 2)) == [b";"])


_BY_WORD: dict[bytes, Callable[[Iterator[bytes]], str | None]] = {
    b"ALTER": grammar_ddl.alter,
    b"BEGIN": _alone,
    b"COMMENT": grammar_ddl.comment,
    b"COMMIT": _alone,
    b"CREATE": grammar_ddl.create,
    b"DROP": grammar_ddl.drop,
    b"GRANT": grammar_ddl.granted,
    b"INSERT": grammar_rows.insert,
    b"REFRESH": grammar_ddl.refresh,
    b"RESET": _reset,
    b"REVOKE": grammar_ddl.granted,
    b"SECURITY": grammar_ddl.label,
    b"SELECT": grammar_rows.call,
}
