"""The entries of a dump's SQL: what stands between two ``-- Name: …; Type: …`` lines, and what each of them locks.

Source: pg_dump's plain format (pg_backup_archiver.c, _printTocEntry); PostgreSQL documentation, "Explicit Locking".
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from app.archive.pg_dump import IDENTIFIER, QUALIFIED, EntryHeader, headers_in

_INDEX = re.compile(rb"CREATE (?:UNIQUE )?INDEX " + IDENTIFIER + rb" ON (?:ONLY )?(" + QUALIFIED + rb")[ \n]")
_ALTER = re.compile(rb"ALTER TABLE (?:ONLY )?(" + QUALIFIED + rb")\s")
_REFERENCES = re.compile(rb"\sREFERENCES (" + QUALIFIED + rb")\s?\(")
# Their order among themselves is free; an entry of the second kind needs what those of the first have made.
PARALLEL = {b"INDEX": 1, b"CONSTRAINT": 1, b"FK CONSTRAINT": 2}


@dataclass(frozen=True, slots=True)
class Locks:
    """Tables that an entry locks: `shared` by CREATE INDEX, which lets another CREATE INDEX beside it."""

    shared: frozenset[bytes] = frozenset()
    exclusive: frozenset[bytes] = frozenset()

    @property
    def tables(self) -> frozenset[bytes]:
        """All of them."""
        return self.shared | self.exclusive

    def conflicts(self, other: Locks) -> bool:
        """Whether one of the two has to wait for the other."""
        return bool(self.exclusive & other.tables or self.tables & other.exclusive)


@dataclass(slots=True)
class Entry:
    """An entry that may run beside others, and the state of the session that it belongs to."""

    type: bytes
    name: str
    state: dict[bytes, bytes]
    statements: list[bytes] = field(default_factory=list)

    @property
    def locks(self) -> Locks | None:
        """What it locks; None where that cannot be told, so that it must run alone."""
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
    """Type and name in the last entry header among the comments before `end`; None where there is none."""
    named: EntryHeader | None = None
    for header in headers_in(unit, end):
        named = named if header.data else header
    if named is None:
        return None
    # A schema or owner may be called like the rest of a header; what such an entry is, nobody can tell.
    type_ = b"ENTRY" if b"; Type: " in named.name else named.type
    return type_, named.name.decode(errors="backslashreplace")
