"""The tables that a dump makes, and those whose rows it brings: dumps of a part of a database lack some."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from app.archive import lexer
from app.archive.index import TableName
from app.archive.pg_dump import CLIENT_ENCODING, IDENTIFIER, SEARCH_PATH, headers_in, python_encoding, unquoted

_NAMED = rb"(" + IDENTIFIER + rb")(?:\.(" + IDENTIFIER + rb"))?"
_CREATE = re.compile(rb"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?" + _NAMED, re.IGNORECASE)
_INSERT = re.compile(rb"INSERT INTO " + _NAMED, re.IGNORECASE)
_OF_TABLE = re.compile(rb"CREATE (?:UNIQUE )?INDEX |ALTER TABLE ONLY ", re.IGNORECASE)
_DATA_MARK = b"-- Data for Name: "
_TABLE_DATA = b"TABLE DATA"


@dataclass(slots=True)
class TablesInFile:
    """What the SQL of a dump says of its tables; the index knows those whose rows it has by COPY.

    Attributes:
        made: tables that the dump creates.
        described: tables whose rows, perhaps none, are in it as INSERT statements.
        inserts: whether there is such a row.
        completes: whether it makes indexes or keys, perhaps of tables that it does not make.
    """

    made: set[TableName] = field(default_factory=set)
    described: set[TableName] = field(default_factory=set)
    inserts: bool = False
    completes: bool = False
    _encoding: str = "utf-8"
    _schema: bytes = b""  # of names without one

    def take(self, unit: bytes) -> TableName | None:
        """Read one statement, with the comments before it; return the table that it makes for a second time."""
        again: TableName | None = None
        start = lexer.start_of(unit)
        if inserted := _INSERT.match(unit, start):
            self.inserts = True
            self.described.add(self._name(inserted))
        elif made := _CREATE.match(unit, start):
            table = self._name(made)
            again = table if table in self.made else None
            self.made.add(table)
        elif _OF_TABLE.match(unit, start):
            self.completes = True
        elif encoding := CLIENT_ENCODING.match(unit, start):
            self._encoding = python_encoding(encoding[1].decode())
        elif path := SEARCH_PATH.match(unit, start):
            self._schema = path[1] or b""
        if unit.find(_DATA_MARK, 0, start) >= 0:
            self._headers(unit, start)
        return again

    def _headers(self, unit: bytes, end: int) -> None:
        """Note tables of which the dump has no row: then nothing but the comment stands there."""
        for header in headers_in(unit, end):
            if header.data and header.type == _TABLE_DATA and header.schema:
                names = (header.schema, header.name)
                self.described.add(TableName(*(name.decode(self._encoding, "backslashreplace") for name in names)))

    def _name(self, found: re.Match[bytes]) -> TableName:
        schema, name = (found[1], found[2]) if found[2] else (self._schema, found[1])
        return TableName(unquoted(schema, self._encoding), unquoted(name, self._encoding))
