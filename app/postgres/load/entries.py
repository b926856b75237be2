"""The entries of a dump's SQL, each after its ``-- Name: …; Type: …`` header, and the locks that they take.

Source: pg_dump's plain format (pg_backup_archiver.c, _printTocEntry); PostgreSQL documentation, "Explicit Locking".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from app.archive.pg_dump import IDENTIFIER, QUALIFIED, EntryHeader, headers_in

_INDEX = re.compile(rb"CREATE (?:UNIQUE )?INDEX " + IDENTIFIER + rb" ON (?:ONLY )?(" + QUALIFIED + rb")[ \n]")
_ALTER = re.compile(rb"ALTER TABLE (?:ONLY )?(" + QUALIFIED + rb")\s")
_REFERENCES = re.compile(rb"\sREFERENCES (" + QUALIFIED + rb")\s?\(")
# Entries of one kind have no order among them; those of kind 2 need the objects of kind 1.
PARALLEL = {b"INDEX": 1, b"CONSTRAINT": 1, b"FK CONSTRAINT": 2}


@dataclass(frozen=True, slots=True)
class Locks:
    """Tables that an entry locks: `shared` by CREATE INDEX, which does not conflict with another CREATE INDEX."""

    shared: frozenset[bytes] = frozenset()
    exclusive: frozenset[bytes] = frozenset()

    @property
    def tables(self) -> frozenset[bytes]:
        """All locked tables."""
        return self.shared | self.exclusive

    def __or__(self, other: Locks) -> Locks:
        return Locks(self.shared | other.shared, self.exclusive | other.exclusive)

    def conflicts(self, other: Locks) -> bool:
        """Whether one of the two entries would wait for the other."""
        return bool(self.exclusive & other.tables or self.tables & other.exclusive)


@dataclass(slots=True)
class Entry:
    """An entry that may run beside others, with the session settings that it needs."""

    type: bytes
    name: str
    state: dict[bytes, bytes]
    statements: list[bytes] = field(default_factory=list)

    @property
    def locks(self) -> Locks | None:
        """Its locks; None if they are unknown, so that it must run alone."""
        shared: set[bytes] = set()
        exclusive: set[bytes] = set()
        for statement in self.statements:
            if index := _INDEX.match(statement):
                shared.add(index[1])
            elif table := _ALTER.match(statement):
                exclusive |= {table[1], *_REFERENCES.findall(statement)}
            else:
                return None
        return Locks(frozenset(shared), frozenset(exclusive))


def entry_header(unit: bytes, end: int) -> tuple[bytes, str] | None:
    """Type and name of the last entry header among the comments before `end`; None if there is none."""
    last: EntryHeader | None = None
    for header in headers_in(unit, end):
        last = last if header.data else header
    if last is None:
        return None
    # The name of a schema or owner may look like the rest of a header; the type of such an entry is unknown.
    type_ = b"ENTRY" if b"; Type: " in last.name else last.type
    return type_, last.name.decode(errors="backslashreplace")
