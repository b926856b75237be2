"""The rows that stand in the way of blocked ones: looked up for samples only, after the plan is made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.archive.index import TableName
from app.domain.changes import SHOWN_CHARACTERS, Obstacle, SampleKind, Values
from app.domain.readable import shortened
from app.postgres.merge.plan import Planner
from app.postgres.merge.reasons import BACKUP, LIVE, Reason
from app.postgres.merge.session import MergeSession
from app.postgres.merge.sql import TEXT
from app.postgres.merge.staged import StagedTable
from app.postgres.merge.texts import Texts
from app.postgres.quoting import SAME, literal, quoted


@dataclass(frozen=True, slots=True)
class Blocked:
    """A blocked row.

    Attributes:
        place: its ctid in the backup's rows; None if only the live table has it.
        live: tableoid and ctid of the live row; None if there is none.
        way: the place of the row in the way, as the plan has it.
        values: column -> both values.
        reason: the number of the reason.
    """

    place: str | None
    live: tuple[int, str] | None
    way: str | None
    values: dict[str, Values]
    reason: int | None


@dataclass(frozen=True, slots=True)
class Obstacles:
    """Finds the rows in the way of those of one table."""

    session: MergeSession
    planner: Planner
    table: StagedTable

    def of(self, rows: Sequence[Blocked]) -> list[Obstacle | None]:
        """For each blocked row, the row in its way; None if there is none."""
        found: dict[int, Obstacle] = {}
        by_reason: defaultdict[int, list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            by_reason[row.reason or 0].append(number)
        for reason_number, numbers in by_reason.items():
            reason = self.planner.reasons.known[reason_number]
            chosen = [(number, rows[number]) for number in numbers]
            if reason.kind is SampleKind.UNIQUE:
                found |= self._at_places(chosen)
            elif reason.kind is SampleKind.PARENT:
                found |= self._missing(chosen, reason)
            elif reason.kind is SampleKind.REFERENCED:
                found |= self._referring(chosen, reason)
        return [found.get(number) for number in range(len(rows))]

    def _at_places(self, rows: Sequence[tuple[int, Blocked]]) -> dict[int, Obstacle]:
        """The rows whose places the plan has."""
        match = self.table.match
        keys: dict[str, dict[str, str | None]] = {}
        for side, source, alias in ((LIVE, match.live.rows, "l"), (BACKUP, self.table.rows, "s")):
            places = [row.way for _, row in rows if row.way and row.way.startswith(side)]
            if not places:
                continue
            place = f"pg_catalog.concat_ws(' ', '{side}', {'l.tableoid, ' if side == LIVE else ''}{alias}.ctid)"
            rowids = ", ".join(sorted({literal(place.rpartition(" ")[2]) for place in places}))
            here = f"{alias}.ctid {SAME} ANY (ARRAY[{rowids}]::pg_catalog.tid[])"
            text_of = self.table.live_text if side == LIVE else self.table.backup_text
            columns = match.key_columns or match.columns
            keys |= self._keys(place, f"{source} {alias} WHERE {here}", {name: text_of(name) for name in columns})
        return {
            number: Obstacle(table=str(match.name), key=keys[row.way], side=row.way.partition(" ")[0])
            for number, row in rows
            if row.way in keys
        }

    def _missing(self, rows: Sequence[tuple[int, Blocked]], reason: Reason) -> dict[int, Obstacle]:
        """The parents that rows refer to. One that the backup has is blocked itself."""
        foreign = reason.foreign
        if foreign is None:
            return {}
        parent = self.planner.table(foreign.parent)
        blocked: set[str] = set()
        if parent is not None and set(foreign.referenced) <= set(parent.match.columns):
            places = ", ".join(literal(row.place) for _, row in rows if row.place)
            query = (
                f"SELECT s.ctid::{TEXT} FROM {self.table.rows} s"
                f" WHERE s.ctid {SAME} ANY (ARRAY[{places}]::pg_catalog.tid[])"
                f" AND EXISTS (SELECT FROM {parent.rows} r WHERE {foreign.same('r', 's')})"
            )
            blocked = {place for (place,) in self.session.query(query, f"parents in {foreign.parent}")}
        pairs = list(zip(foreign.referenced, foreign.columns, strict=True))
        return {
            number: Obstacle(
                table=str(foreign.parent),
                key={name: row.values[column].backup for name, column in pairs if column in row.values},
                side=BACKUP if row.place in blocked else None,
            )
            for number, row in rows
        }

    def _referring(self, rows: Sequence[tuple[int, Blocked]], reason: Reason) -> dict[int, Obstacle]:
        """A row for each that refers to it."""
        foreign = reason.foreign
        if foreign is None:
            return {}
        found: dict[tuple[int, str], Obstacle] = {}
        places = {row.live for _, row in rows if row.live is not None}
        ctids = ", ".join(sorted({literal(ctid) for _, ctid in places}))
        here = f"l.ctid {SAME} ANY (ARRAY[{ctids}]::pg_catalog.tid[])"
        for side, referring in self.planner.references.referring_rows(foreign):
            names = self._key_of(foreign.root, foreign.columns, side)
            source = f"{self.table.match.live.rows} l CROSS JOIN LATERAL (SELECT c.* FROM {referring}) c WHERE {here}"
            place = "pg_catalog.concat_ws(' ', l.tableoid, l.ctid)"
            keys = self._keys(place, source, {name: f"c.{quoted(name)}::{TEXT}" for name in names})
            for text, key in keys.items():
                part, _, ctid = text.partition(" ")
                found.setdefault((int(part), ctid), Obstacle(table=str(foreign.child), key=key, side=side))
        return {number: found[row.live] for number, row in rows if row.live in found}

    def _key_of(self, name: TableName, otherwise: Sequence[str], side: str) -> Sequence[str]:
        """The columns that identify the rows of a table on one side: those of a key, or `otherwise` without one."""
        live, staged = self.planner.live.tables.get(name), self.planner.table(name)
        known = set(staged.match.columns) if side == BACKUP and staged else set(live.columns) if live else set()
        for key in live.keys if live else ():
            if live and key.plain and key.not_null and key.columns <= known:
                return [column for column in live.columns if column in key.columns]
        return otherwise

    def _keys(self, place: str, source: str, columns: dict[str, str]) -> dict[str, dict[str, str | None]]:
        """Keys of rows, by their places as text; one for each place."""
        texts = Texts(self.session)
        array = texts.array([texts.of(text, SHOWN_CHARACTERS + 1) for text in columns.values()])
        query = f"SELECT DISTINCT ON (1) {place}, {array} FROM {source} ORDER BY 1"
        return {at: dict(self._shortened(columns, key)) for at, key in self.session.query(query, "rows in the way")}

    @staticmethod
    def _shortened(columns: dict[str, str], key: Sequence[str | bytes | None]) -> Iterator[tuple[str, str | None]]:
        for name, value in zip(columns, key, strict=True):
            yield name, shortened(Texts.read(value), SHOWN_CHARACTERS)
