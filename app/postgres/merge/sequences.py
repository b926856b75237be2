"""Sequences in a merge: moved forward to where the backup had them, never back.

A replace of chosen tables gives a sequence the backup's value, back too, if nobody but the chosen tables draws from it:
the tables become what they were, and a sequence that an accident used up serves again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

from app.archive.index import SegmentKind, TableName
from app.archive.pg_dump import SETVAL, python_encoding, string_value
from app.archive.reader import Archive
from app.archive.scanner import scan
from app.domain.changes import MergeRequest
from app.postgres.merge.match import encoding_of
from app.postgres.merge.sequence_users import SequenceUsers, sequence_users
from app.postgres.merge.session import MergeSession
from app.postgres.quoting import literal

_LIVE = """
    SELECT c.oid::bigint, format('%I.%I', nspname, relname), s.seqincrement, s.seqmin, s.seqmax,
           pg_has_role(c.relowner, 'USAGE'), has_sequence_privilege(c.oid, 'SELECT')
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = {oid}"""


@dataclass(frozen=True, slots=True)
class SequencePosition:
    """Where a sequence is: the next value is `value`, or the one after it if that was `called`."""

    value: int
    called: bool

    def coming(self, increment: int) -> int:
        """The next value, if there is one."""
        return self.value + increment * self.called


@dataclass(frozen=True, slots=True)
class SequenceAdvance:
    """A sequence that goes to where the backup had it.

    Attributes:
        sequence: its name as SQL.
        was, to: the places.
        increment, least, most: of the live one.
        owned: whether the role may alter it.
        back: whether it may go back.
    """

    sequence: str
    was: SequencePosition
    to: SequencePosition
    increment: int
    least: int
    most: int
    owned: bool
    back: bool

    @property
    def fits(self) -> bool:
        """Whether the live sequence may have that value."""
        return self.least <= self.to.value <= self.most

    @property
    def done(self) -> bool:
        """Whether it is made."""
        return self.owned and self.fits

    @property
    def backwards(self) -> bool:
        """Whether it goes back."""
        return self.done and not ahead(self.to, self.was, self.increment)

    def __str__(self) -> str:
        coming = self.to.coming(self.increment)
        there = f"the backup's goes on from {coming}"
        if not self.owned:
            return f"sequence {self.sequence} stays, since the role does not own it; {there}"
        if not self.fits:
            limits = f"between {self.least} and {self.most}"
            return f"sequence {self.sequence} stays, since its values are {limits}; {there}"
        if not self.least <= coming <= self.most:
            return f"sequence {self.sequence} is used up, as it was in the backup"
        return f"sequence {self.sequence} {'goes back, and ' if self.backwards else ''}goes on from {coming}"


@dataclass(frozen=True, slots=True)
class MergedTables:
    """Tables of a merge, by their live names.

    Attributes:
        tables: all.
        growing: those that get rows.
        left: of migration tools, which are left alone.
    """

    tables: set[TableName]
    growing: set[TableName]
    left: set[TableName]

    def takes(self, users: SequenceUsers, sequence: int, *, chosen: bool) -> bool:
        """Whether a sequence takes part: of chosen tables what they draw from, else all but what is left alone."""
        if chosen:
            return users.used_by(sequence, self.tables)
        return not users.tables[sequence] or not users.tables[sequence] <= self.left


@dataclass(frozen=True, slots=True)
class SequenceAdvances:
    """What a merge does with sequences: those that move, and what else is to be said of them."""

    sequence_advances: tuple[SequenceAdvance, ...]
    notes: tuple[str, ...]


def sequence_advances(
    session: MergeSession, archive: Archive, request: MergeRequest, taking: MergedTables
) -> SequenceAdvances:
    """The sequences that are to move."""
    with session.catalogs():
        return _sequence_advances(session, archive, request, taking)


def _sequence_advances(
    session: MergeSession, archive: Archive, request: MergeRequest, taking: MergedTables
) -> SequenceAdvances:
    users = sequence_users(session)
    found: list[SequenceAdvance] = []
    notes: list[str] = []
    seen: set[int] = set()
    for name, place in _of(archive):
        oid = session.query(f"SELECT to_regclass({literal(name)})::oid::bigint", f"sequence {name}")[0][0]
        seen.add(oid)
        if oid is None:
            notes += [f"sequence {name} is not in the live database"] if not request.tables else []
        elif taking.takes(users, oid, chosen=bool(request.tables)):
            back = request.exact and not users.used_by_others(oid, taking.tables)
            advance = _move(session, oid, place, back=back)
            if advance is None:
                coming = f"the backup's last value is {place.value}"
                notes.append(f"sequence {name} stays, since the role may not read it; {coming}")
            elif _wanted(advance, advance.was):
                found.append(advance)
            elif request.exact and advance.to != advance.was and not advance.back:
                notes.append(f"sequence {advance.sequence} does not go back: others draw from it too, or may")
    notes += _staying(session, users, taking, seen)
    for table in sorted(taking.tables & users.unknown.keys()):
        notes += (
            [f"{table}: {what}; that sequence stays" for what in sorted(users.unknown[table])] if request.tables else []
        )
    return SequenceAdvances(tuple(found), (*map(str, found), *notes))


def advance_sequence(session: MergeSession, advance: SequenceAdvance) -> SequenceAdvance | None:
    """Move a sequence, in the transaction.

    Returns:
        From where it was moved by now; None if it stays.
    """
    if not advance.done:
        return None
    what = f"sequence {advance.sequence}"
    # Changes nothing but keeps others from drawing, so that what is looked at next stays so.
    session.execute(f"ALTER SEQUENCE {advance.sequence} INCREMENT BY {advance.increment}", what)
    now = _place(session, advance.sequence)
    if not _wanted(advance, now):
        return None
    for statement in position_statements(advance.sequence, advance.to):
        session.execute(statement, what)
    return replace(advance, was=now)


def position_statements(sequence: str, place: SequencePosition) -> tuple[str, str]:
    """The statements that put a sequence somewhere; setval alone would stay when the transaction is rolled back."""
    called = "true" if place.called else "false"
    return (
        f"ALTER SEQUENCE {sequence} RESTART",
        f"SELECT pg_catalog.setval({literal(sequence)}::pg_catalog.regclass, {place.value}, {called})",
    )


def ahead(one: SequencePosition, other: SequencePosition, increment: int) -> bool:
    """Whether one place is further on than another."""
    coming, there = one.coming(increment), other.coming(increment)
    return coming > there if increment > 0 else coming < there


def _staying(session: MergeSession, users: SequenceUsers, taking: MergedTables, seen: set[int]) -> Iterator[str]:
    """Sequences that the backup does not have, though rows come back that drew from them, or from others then."""
    for oid, tables in sorted(users.tables.items()):
        if oid not in seen and (by := tables & taking.growing):
            name = session.query(_LIVE.format(oid=oid), "a sequence")[0][1]
            listed = ", ".join(sorted(map(str, by)))
            yield f"sequence {name} stays, since the backup has none of that name: {listed} draws from it, look at it"


def _move(session: MergeSession, oid: int, place: SequencePosition, *, back: bool) -> SequenceAdvance | None:
    """Where a sequence is, and is to go; None if the role may not look."""
    _, sequence, increment, least, most, owned, readable = session.query(_LIVE.format(oid=oid), "a sequence")[0]
    if not readable:
        return None
    return SequenceAdvance(sequence, _place(session, sequence), place, increment, least, most, owned, back)


def _wanted(advance: SequenceAdvance, now: SequencePosition) -> bool:
    there, coming = now.coming(advance.increment), advance.to.coming(advance.increment)
    return coming != there if advance.back else ahead(advance.to, now, advance.increment)


def _place(session: MergeSession, sequence: str) -> SequencePosition:
    return SequencePosition(*session.query(f"SELECT last_value, is_called FROM {sequence}", f"sequence {sequence}")[0])


def _of(archive: Archive) -> Iterator[tuple[str, SequencePosition]]:
    """The backup's sequences, by name as SQL."""
    encoding = python_encoding(encoding_of(archive))
    text = (archive.text(each) for each in archive.index.segments if each.kind is SegmentKind.SEQUENCES)
    for chunk in scan(chain.from_iterable(text)):
        for name, value, called in SETVAL.findall(chunk.data):
            yield string_value(name, encoding), SequencePosition(int(value), called == b"true")
