r"""Judges what `pg_dump --create` writes about the database itself: it is skipped, if it is about one database.

A restore makes the database, like the live one. So CREATE DATABASE, ALTER DATABASE, DROP DATABASE (``--clean``), rights
on the database and ``\connect`` have nothing to do. A file about several databases is one of pg_dumpall: all tables
would come into one database.

Source: pg_dump.c (dumpDatabase), pg_backup_archiver.c (_reconnectToDB) of PostgreSQL 9.1 to 18.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.archive.inspect.cursor import NAME, UNKNOWN, require

ONE_DATABASE = "dump one database by itself: pg_dump -d NAME --file=dump.sql"
_SEVERAL = "a statement about another database than the file began with"
_KEPT = "is passed over: the restore makes the database, and the live one's settings stay"
_PLAIN_CONNECT = re.compile(rb'\\c(?:onnect)? ("(?:[^"]|"")+"|[^\s"\'=-][^\s"\'=]*)\s*\Z')
_ODD_CONNECT = re.compile(rb"""\\connect -reuse-previous=on "dbname='((?:[^'\\]|\\.)+)'"\s*\Z""")


class DatabaseStatements:
    """Judges the statements about the database of one file, in their order."""

    def __init__(self) -> None:
        self._name: bytes | None = None

    def judge(self, keyword: bytes, words: Iterator[bytes]) -> str:
        """Judge ``CREATE | ALTER | DROP DATABASE name …``, or what follows ON in a GRANT; return why it is skipped.

        Args:
            keyword: its first word.
            words: those after DATABASE.

        Raises:
            NoDumpError: it is about another database than the statements before.
        """
        name = next(words, b"")
        if keyword == b"DROP" and name.upper() == b"IF":
            require(next(words, b"").upper() == b"EXISTS")
            name = next(words, b"")
        require(NAME.match(name), UNKNOWN)
        self._require_same(name)
        return f"{keyword.decode()} DATABASE {_KEPT}"

    def connect(self, command: bytes) -> str:
        r"""Judge ``\connect name``; return why it is skipped.

        Raises:
            NoDumpError: it leads to another database, or says more than a name.
        """
        plain, odd = _PLAIN_CONNECT.match(command), _ODD_CONNECT.match(command)
        require(plain or odd, "a psql command to connect elsewhere", ONE_DATABASE)
        if plain:
            self._require_same(plain[1])
        elif odd:
            self._require_same(b'"' + re.sub(rb"\\(.)", rb"\1", odd[1]).replace(b'"', b'""') + b'"')
        return "\\connect is passed over: everything is loaded into one database"

    def _require_same(self, name: bytes) -> None:
        spelled = name if name.startswith(b'"') else b'"' + name.lower() + b'"'
        require(self._name in {None, spelled}, _SEVERAL, ONE_DATABASE)
        self._name = spelled
