"""Sequences in a merge: advanced to the backup's value, never set back.

A replace of chosen tables sets a sequence to the backup's value, also back, if only the chosen tables draw from it: the
tables become what they were, and a sequence that was exhausted by mistake can be used again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

from app.archive import lexer
from app.archive.index import SegmentKind, TableName
from app.archive.pg_dump import SEARCH_PATH, SETVAL, python_encoding, string_value, with_schema
from app.archive.reader import Archive
from app.archive.scanner import Chunk, scan
from app.domain.changes import MergeRequest
from app.postgres.merge.sequence_users import SequenceUsers, sequence_users
from app.postgres.merge.session import MergeSession
from app.postgres.merge.table_names import encoding_of
from app.postgres.quoting import literal

_LIVE = """
    SELECT c.oid::bigint, format('%I.%I', nspname, relname), s.seqincrement, s.seqmin, s.seqmax,
           pg_has_role(c.relowner, 'USAGE'), has_sequence_privilege(c.oid, 'SELECT')
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = {oid}"""


@dataclass(frozen=True, slots=True)
class SequencePosition:
    """The state of a sequence: the next value is `value`, or the one after it if `called`."""

    value: int
    called: bool

    def coming(self, increment: int) -> int:
        """The next value, if it is within the sequence's limits."""
        return self.value + increment * self.called


@dataclass(frozen=True, slots=True)
class SequenceAdvance:
    """A sequence that is set to the backup's value.

    Attributes:
        sequence: its name as SQL.
        was, to: its positions before and after.
        increment, least, most: of the live sequence.
        owned: whether the role may alter it.
        back: whether it may be set back.
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
        """Whether the value is within the live sequence's limits."""
        return self.least <= self.to.value <= self.most

    @property
    def done(self) -> bool:
        """Whether the sequence will be set."""
        return self.owned and self.fits

    @property
    def backwards(self) -> bool:
        """Whether it is set back."""
        return self.done and not ahead(self.to, self.was, self.increment)

    def __str__(self) -> str:
        coming = self.to.coming(self.increment)
        in_backup = f"its next value in the backup is {coming}"
        if not self.owned:
            return f"sequence {self.sequence} is not changed, because the role does not own it; {in_backup}"
        if not self.fits:
            limits = f"between {self.least} and {self.most}"
            return f"sequence {self.sequence} is not changed, because its values are {limits}; {in_backup}"
        if not self.least <= coming <= self.most:
            return f"sequence {self.sequence} is exhausted, as it was in the backup"
        return f"sequence {self.sequence} {'goes back, and ' if self.backwards else ''}goes on from {coming}"


@dataclass(frozen=True, slots=True)
class MergedTables:
    """Tables of a merge, by their live names.

    Attributes:
        tables: all tables of the merge.
        growing: those that get new rows.
        left: tables of migration tools, and those that are left out: they are not changed.
        followed: oids of live sequences, by the backup's names, of columns that have another name now.
    """

    tables: set[TableName]
    growing: set[TableName]
    left: set[TableName]
    followed: Mapping[str, int] = field(default_factory=dict)

    def takes(self, users: SequenceUsers, sequence: int, *, chosen: bool) -> bool:
        """Whether a sequence is part of the merge: one of the chosen tables draws from it, or any but those left."""
        if chosen:
            return users.used_by(sequence, self.tables)
        return not users.tables[sequence] or not users.tables[sequence] <= self.left


@dataclass(frozen=True, slots=True)
class SequenceAdvances:
    """Sequences that a merge sets, and notes."""

    sequence_advances: tuple[SequenceAdvance, ...]
    notes: tuple[str, ...]


def sequence_advances(
    session: MergeSession, archive: Archive, request: MergeRequest, taking: MergedTables
) -> SequenceAdvances:
    """The sequences to set."""
    with session.catalogs():
        return _sequence_advances(session, archive, request, taking)


def _sequence_advances(
    session: MergeSession, archive: Archive, request: MergeRequest, taking: MergedTables
) -> SequenceAdvances:
    users = sequence_users(session)
    advances: list[SequenceAdvance] = []
    notes: list[str] = []
    seen: set[int] = set()
    for name, position in sequences_in(archive):
        of_name = session.query(f"SELECT to_regclass({literal(name)})::oid::bigint", f"sequence {name}")[0][0]
        oid = taking.followed.get(name, of_name)
        seen.add(oid)
        if oid is None:
            notes += [f"sequence {name} is not in the live database"] if not request.tables else []
        elif taking.takes(users, oid, chosen=bool(request.tables)):
            back = request.exact and not users.used_by_others(oid, taking.tables)
            advance = _advance_of(session, oid, position, back=back)
            if advance is None:
                coming = f"its last value in the backup is {position.value}"
                notes.append(f"sequence {name} is not changed, because the role may not read it; {coming}")
            elif _is_wanted(advance, advance.was):
                advances.append(advance)
            elif request.exact and advance.to != advance.was and not advance.back:
                notes.append(f"sequence {advance.sequence} is not set back: other tables draw from it, or may")
    notes += _notes_on_unknown_sequences(session, users, taking, seen)
    for table in sorted(taking.tables & users.unknown.keys()):
        notes += [f"{table}: {what}; that sequence is not changed" for what in sorted(users.unknown[table])]
    return SequenceAdvances(tuple(advances), (*map(str, advances), *notes))


def advance_sequence(session: MergeSession, advance: SequenceAdvance) -> SequenceAdvance | None:
    """Set a sequence, in the transaction.

    Returns:
        The advance with the position that it had now; None if it was not set.
    """
    if not advance.done:
        return None
    what = f"sequence {advance.sequence}"
    # Changes nothing, but locks the sequence, so that its value stays as it is read next.
    session.execute(f"ALTER SEQUENCE {advance.sequence} INCREMENT BY {advance.increment}", what)
    now = _position_of(session, advance.sequence)
    if not _is_wanted(advance, now):
        return None
    for statement in position_statements(advance.sequence, advance.to):
        session.execute(statement, what)
    return replace(advance, was=now)


def position_statements(sequence: str, place: SequencePosition) -> tuple[str, str]:
    """The statements that set a sequence. setval alone would not be rolled back with the transaction."""
    called = "true" if place.called else "false"
    return (
        f"ALTER SEQUENCE {sequence} RESTART",
        f"SELECT pg_catalog.setval({literal(sequence)}::pg_catalog.regclass, {place.value}, {called})",
    )


def ahead(one: SequencePosition, other: SequencePosition, increment: int) -> bool:
    """Whether one position is further on than another."""
    coming, other_coming = one.coming(increment), other.coming(increment)
    return coming > other_coming if increment > 0 else coming < other_coming


def _notes_on_unknown_sequences(
    session: MergeSession, users: SequenceUsers, taking: MergedTables, seen: set[int]
) -> Iterator[str]:
    """Notes on sequences that the backup does not have, if tables that draw from them get rows."""
    for oid, tables in sorted(users.tables.items()):
        if oid not in seen and (drawing := tables & taking.growing):
            name = session.query(_LIVE.format(oid=oid), "a sequence")[0][1]
            listed = ", ".join(sorted(map(str, drawing)))
            unchanged = "is not changed, because the backup has none of that name: check it"
            yield f"sequence {name}, which {listed} uses, {unchanged}"


def _advance_of(session: MergeSession, oid: int, position: SequencePosition, *, back: bool) -> SequenceAdvance | None:
    """The advance of a sequence; None if the role may not read it."""
    _, sequence, increment, least, most, owned, readable = session.query(_LIVE.format(oid=oid), "a sequence")[0]
    if not readable:
        return None
    return SequenceAdvance(sequence, _position_of(session, sequence), position, increment, least, most, owned, back)


def _is_wanted(advance: SequenceAdvance, now: SequencePosition) -> bool:
    current, coming = now.coming(advance.increment), advance.to.coming(advance.increment)
    return coming != current if advance.back else ahead(advance.to, now, advance.increment)


def _position_of(session: MergeSession, sequence: str) -> SequencePosition:
    return SequencePosition(*session.query(f"SELECT last_value, is_called FROM {sequence}", f"sequence {sequence}")[0])


def sequences_in(archive: Archive) -> Iterator[tuple[str, SequencePosition]]:
    """The sequences in the backup, by name as SQL."""
    encoding = python_encoding(encoding_of(archive))
    schema: bytes | None = None
    for chunk in _chunks(archive, SegmentKind.SEQUENCES):
        # Not in the comments before it, which hold the sequence's name: that may look like a statement.
        if found := SETVAL.match(chunk.data, lexer.start_of(chunk.data)):
            name, value, called = found.groups()
            if b"." not in name and schema is None:
                schema = _schema_of_bare_names(archive)
            full = with_schema(name, schema or b"")
            yield string_value(full, encoding), SequencePosition(int(value), called == b"true")


def _schema_of_bare_names(archive: Archive) -> bytes:
    """The schema of names without one, in a dump by a pg_dump before 2018; the last one that the dump sets."""
    schema = b""
    for kind in (SegmentKind.BEFORE, SegmentKind.SEQUENCES):
        for chunk in _chunks(archive, kind):
            if path := SEARCH_PATH.match(chunk.data, lexer.start_of(chunk.data)):
                schema = path[1] or b""
    return schema


def _chunks(archive: Archive, kind: SegmentKind) -> Iterator[Chunk]:
    text = (archive.text(segment) for segment in archive.index.segments if segment.kind is kind)
    return scan(chain.from_iterable(text))
