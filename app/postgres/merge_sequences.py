"""Sequences in a merge: moved forward to where the backup had them, never back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from app.archive.index import Kind, TableName
from app.archive.reader import Archive
from app.archive.scanner import python_encoding, scan
from app.postgres.merge_match import encoding_of
from app.postgres.merge_session import MergeSession

_SETVAL = re.compile(rb"SELECT\s+(?:pg_catalog\.)?setval\('((?:[^']|'')+)', (-?\d+), (true|false)\);")
# `owner` is the table that a serial or identity column draws from it for.
_LIVE = """
    SELECT c.oid::regclass::text, s.seqincrement, s.seqmin, s.seqmax, on_.nspname, o.relname,
           pg_has_role(c.relowner, 'USAGE')
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
        LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
            AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
        LEFT JOIN pg_class o ON o.oid = d.refobjid LEFT JOIN pg_namespace on_ ON on_.oid = o.relnamespace
    WHERE c.oid = to_regclass({name})"""


@dataclass(frozen=True, slots=True)
class Move:
    """A sequence that goes on from `start`, by steps of `increment`."""

    sequence: str
    start: int
    increment: int
    owned: bool

    def __str__(self) -> str:
        if self.owned:
            return f"sequence {self.sequence} goes on from {self.start}"
        return f"sequence {self.sequence} stays, since the role does not own it; the backup's goes on from {self.start}"


def moves(session: MergeSession, archive: Archive, tables: set[TableName] | None) -> list[Move]:
    """The sequences that the backup had further on than they are now.

    Args:
        session: on the live database.
        archive: the backup.
        tables: only sequences that belong to one of these; None means all.
    """
    return [
        move for name, value, called in _of(archive) if (move := _move(session, name, value, tables, called=called))
    ]


def move_on(session: MergeSession, move: Move) -> None:
    """Move a sequence, in the transaction: setval would stay moved when that is rolled back."""
    if not move.owned:
        return
    what = f"sequence {move.sequence}"
    # Changes nothing but keeps others from drawing, so that what is looked at next stays so.
    session.do(f"ALTER SEQUENCE {move.sequence} INCREMENT BY {move.increment}", what)
    last, called = session.ask(f"SELECT last_value, is_called FROM {move.sequence}", what)[0]
    coming = last + move.increment * called
    if move.start > coming if move.increment > 0 else move.start < coming:
        session.do(f"ALTER SEQUENCE {move.sequence} RESTART WITH {move.start}", what)


def _of(archive: Archive) -> Iterator[tuple[str, int, bool]]:
    encoding = python_encoding(encoding_of(archive))
    text = (archive.text(each) for each in archive.index.segments if each.kind is Kind.SEQUENCES)
    for piece in scan(chain.from_iterable(text)):
        for name, value, called in _SETVAL.findall(piece.data):
            yield name.decode(encoding, errors="backslashreplace"), int(value), called == b"true"


def _move(session: MergeSession, name: str, value: int, tables: set[TableName] | None, *, called: bool) -> Move | None:
    found = session.ask(_LIVE.format(name=f"'{name}'"), f"sequence {name}")
    if not found:
        return None
    sequence, increment, least, most, schema, table, owned = found[0]
    if tables is not None and TableName(schema or "", table or "") not in tables:
        return None
    last, is_called = session.ask(f"SELECT last_value, is_called FROM {sequence}", f"sequence {name}")[0]
    coming = last + increment * is_called
    start = value + increment * called
    ahead = start > coming if increment > 0 else start < coming
    # One that is used up stays where it is: the live one is no further on than its last value either.
    return Move(sequence, start, increment, owned) if ahead and least <= start <= most else None
